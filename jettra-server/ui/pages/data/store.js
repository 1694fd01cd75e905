// What the Data page asks the API for. A place is { db, col }; a document { id, text }: its JSON as the node wrote it;
// `rev` what a write replaces, null: nothing.

import { api, ApiError } from "../../api.js";
import { itemsOf, plain, seen } from "./json.js";

// Characters of a page after which it is cut: a page of large documents would fill the memory.
const PAGE = 6 << 20;

export const href = (...parts) => `#/${["data", ...parts].map(encodeURIComponent).join("/")}`;
export const nameOf = (id) => seen(id, 40);
export const LOCAL = { consistency: "local" };
export const databases = (here) => api.get("/api/dbs", here);
export const collections = (db, here) => api.get(`/api/dbs/${encodeURIComponent(db)}/cols`, here);
export const count = async (place, here) => (await api.get("/api/count", { ...place, ...here })).count;

function documentOf(text) {
  const id = itemsOf(text).items.find((item) => item.name === "_id");
  return { id: id ? plain(text.slice(id.from, id.to)) : "", text };
}

export async function readDocuments(place, { after, limit, signal }) {
  let found = null;
  const read = async (answer) => {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const chunks = [];
    let [size, enough] = [0, PAGE];
    for (;;) {
      const { value, done } = await reader.read();
      if (!done) {
        chunks.push(value);
        size += value.length;
        if (size < enough) continue;
      }
      const text = chunks.join("");
      const { items, isWhole } = itemsOf(text);
      if (done && !isWhole) throw new ApiError("unreachable", "the node broke off its answer");
      if (done || items.length > 0) {
        found = { docs: items.map(({ from, to }) => documentOf(text.slice(from, to))), isLast: isWhole && items.length < limit };
        if (!done) await reader.cancel();
        return "";
      }
      enough *= 2;
    }
  };
  await api.request("GET", "/api/query", { query: { ...place, limit, after: after || null }, signal, read });
  return found;
}

export async function readDocument(place, id) {
  try {
    const { text, etag } = await api.request("GET", "/api/doc", { query: { ...place, id } });
    return { id, text, rev: etag };
  } catch (error) {
    if (error.code === "not_found") return null;
    throw error;
  }
}

const condition = (rev) => (rev === null ? { "If-None-Match": "*" } : { "If-Match": `"${rev}"` });

async function write(method, path, query, body, rev) {
  return (await api.request(method, path, { query, body, headers: condition(rev) })).data;
}

export const create = (place, text) => write("POST", "/api/doc", place, text, null);
export const replace = (place, id, text, rev) => write("PUT", "/api/doc", { ...place, id }, text, rev);
export const remove = (place, id, rev) => write("DELETE", "/api/doc", { ...place, id }, undefined, rev);
export const restore = (place, id, version, rev) => write("POST", "/api/restore-version", {}, { ...place, id, version }, rev);
export const versions = (place, id) => api.get("/api/versions", { ...place, id });
export const readVersion = async (place, id, version) => (await api.request("GET", "/api/version", { query: { ...place, id, version } })).text;

export async function undo(place, id, { bar }) {
  try {
    const [newest] = await versions(place, id);
    if (!newest) throw new Error(`No version of ${nameOf(id)} is kept.`);
    await restore(place, id, newest, null);
    bar.tell(`${nameOf(id)} is back.`);
  } catch (error) {
    bar.fail(error);
  }
}

export function compareIds(a, b) {
  const [x, y] = [[...a], [...b]];
  const i = x.findIndex((c, at) => c !== y[at]);
  return i < 0 ? x.length - y.length : x[i].codePointAt(0) - (y[i]?.codePointAt(0) ?? -1);
}
