// A document to look at. What is long is cut and says so.
//
//   jsonView(text, limit)     indented, with colours;   treeView(text)    opens branch by branch
//   cell(text, item)          the start of an item of itemsOf, for a table
//   sizeOf(text), saveFile(name, text)

import { button } from "../../dialog.js";
import { h } from "../../dom.js";
import { bytes, count } from "../../format.js";
import { itemsOf, JsonError, plain, print, seen } from "./json.js";

export const SHOWN = 100_000;
const VALUE_SHOWN = 1000;
const CELL_SHOWN = 80;
const BRANCHES = 100;

export const sizeOf = (text) => bytes(new Blob([text]).size);

export function saveFile(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: `${name.replace(/[^\w.-]+/g, "_").slice(0, 80)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function jsonView(text, limit = SHOWN) {
  const box = h("pre", { class: "json" });
  let rest = "";
  let isWhole = true;
  try {
    isWhole = print(text, (kind, part) => {
      if (kind === "") {
        rest += part;
      } else {
        box.append(rest, h("bdi", { class: `j-${kind}` }, seen(part)));
        rest = "";
      }
    }, limit);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    rest += seen(text, limit);
  }
  box.append(rest, isWhole ? "" : "…");
  return isWhole ? box : [box, h("p", { class: "muted small-text" }, `Cut: the first ${count(limit)} characters of ${sizeOf(text)}.`)];
}

export function treeView(text, from = 0, list = h("ul", { class: "tree" })) {
  const { items } = itemsOf(text);
  list.append(...items.slice(from, from + BRANCHES).map((item, i) => branch(text.slice(item.from, item.to), item, item.name ?? String(from + i))));
  const rest = items.length - from - BRANCHES;
  if (rest > 0) {
    const more = h("li", null, button(`${count(rest)} more`, () => {
      more.remove();
      treeView(text, from + BRANCHES, list);
      list.children[from + BRANCHES].querySelector("summary")?.focus();
    }, "small ghost"));
    list.append(more);
  }
  return list;
}

function branch(text, { kind, name }, label) {
  const title = h("bdi", { class: name === undefined ? "muted" : "j-name" }, seen(label, 200));
  if (kind !== "{" && kind !== "[") {
    const value = h("bdi", { class: `j-${kind}` }, seen(text, VALUE_SHOWN));
    const all = text.length > VALUE_SHOWN ? button(`All ${count(text.length)} characters`, () => {
      all.remove();
      value.textContent = seen(text, SHOWN);
    }, "small ghost") : null;
    return h("li", { class: "leaf" }, title, ": ", value, all);
  }
  const details = h("details", null, h("summary", null, title, " ", h("span", { class: "muted" }, text.length > 40 ? `${kind} ${sizeOf(text)} ${kind === "{" ? "}" : "]"}` : seen(text))));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(treeView(text));
  });
  return h("li", null, details);
}

export function cell(text, item) {
  if (!item) return h("span", { class: "muted" }, "–");
  const literal = text.slice(item.from, item.to);
  const shown = seen(item.kind === "string" && literal.length < 10_000 ? plain(literal) : literal, CELL_SHOWN);
  return h("bdi", { class: `j-${item.kind}`, title: shown }, shown);
}
