// What the filter box means, and looking for it. The node does not filter: documents are read one after another and
// looked at here.
//
//   filterOf(text)      a test of documents, or null for an empty box. Words, "quoted ones too": all of them stand somewhere
//                       in it, in capitals or not; name=value or address.city=Rome: that field is that value
//   search(place, { test, after, wanted, signal, onProgress })      { docs, isLast, stoppedAt, looked }: up to `wanted` that
//                       pass; `stoppedAt`: the _id at which it gave up for now

import { itemsOf, plain, walk } from "./json.js";
import { readDocuments } from "./store.js";

// One search looks at so much, then asks whether to go on.
const [DOCUMENTS, CHARACTERS, STEP] = [10_000, 64 << 20, 500];

export function filterOf(text) {
  const terms = (text.match(/(?:[^\s"]+|"[^"]*"?)+/g) ?? []).map((term) => term.replaceAll("\"", "")).filter(Boolean);
  return terms.length ? (doc) => terms.every((term) => has(doc.text, term)) : null;
}

function has(text, term) {
  if (words(text).toLowerCase().includes(term.toLowerCase())) return true;
  const [path, ...value] = term.split("=");
  return value.length > 0 && valuesAt(text, path).includes(value.join("="));
}

// Its names and values without escapes.
function words(text) {
  if (!text.includes("\\")) return text;
  const parts = [];
  walk(text, (kind, from, to) => { parts.push(plain(text.slice(from, to))); });
  return parts.join("");
}

// The values at a path as text; elements of arrays are looked at without being named.
function valuesAt(text, path) {
  const inside = text[0] === "[" ? () => path : (name) => (name === path ? "" : path.startsWith(`${name}.`) ? path.slice(name.length + 1) : null);
  if (!/^[[{]/.test(text)) return path === "" ? [plain(text)] : [];
  return itemsOf(text).items.flatMap(({ name, from, to }) => {
    const rest = inside(name);
    return rest === null ? [] : valuesAt(text.slice(from, to), rest);
  });
}

export async function search(place, { test, after, wanted, signal, onProgress }) {
  const found = { docs: [], isLast: false, stoppedAt: null, looked: 0 };
  let [size, at] = [0, after];
  for (;;) {
    const { docs, isLast } = await readDocuments(place, { after: at, limit: STEP, signal });
    for (const doc of docs) {
      // There is one more than wanted: a next page.
      if (test(doc) && found.docs.push(doc) > wanted) return { ...found, docs: found.docs.slice(0, wanted) };
      found.looked += 1;
      size += doc.text.length;
    }
    if (isLast) return { ...found, isLast };
    at = docs.at(-1).id;
    onProgress(found.looked, found.docs.length);
    if (found.looked >= DOCUMENTS || size >= CHARACTERS) return { ...found, stoppedAt: at };
  }
}
