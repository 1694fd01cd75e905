// A document to look at: jsonView and treeView of its text, cell of an item of itemsOf. What is long is cut and says so.

import { button } from "../../dialog.js";
import { h } from "../../dom.js";
import { bytes, count } from "../../format.js";
import { itemsOf, plain, print, seen } from "./json.js";

const SHOWN = 100_000;
const VALUE_SHOWN = 1000;
const CELL_SHOWN = 80;
const BRANCHES = 100;

// Buttons of which one is pressed.
export function choices(names, first, choose) {
  const press = (name) => {
    for (const one of element.children) one.setAttribute("aria-pressed", String(one.textContent === name));
  };
  const element = h("div", { class: "row", role: "group", "aria-label": "Show as" }, names.map((name) => button(name, () => {
    press(name);
    choose(name);
  }, "small")));
  press(first);
  return element;
}

export const waiting = () => h("p", { class: "empty" }, h("span", { class: "spinner" }), " Asking the node …");
export const sizeOf = (text) => bytes(new Blob([text]).size);

export function saveFile(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: `${name.replace(/[^\w.-]+/g, "_").slice(0, 80)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function jsonView(text, limit = SHOWN) {
  const box = h("pre", { class: "data-json" });
  let rest = "";
  const isWhole = print(text, (kind, part) => {
    if (kind) {
      box.append(rest, h("bdi", { class: `data-json-${kind}` }, seen(part)));
      rest = "";
    } else rest += part;
  }, limit);
  box.append(rest, isWhole ? "" : "…");
  return isWhole ? box : [box, h("p", { class: "muted small-text" }, `Cut: the first ${count(limit)} characters of ${sizeOf(text)}.`)];
}

export function treeView(text, from = 0, list = h("ul", { class: "data-tree" })) {
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
  const title = h("bdi", { class: name === undefined ? "muted" : "data-json-name" }, seen(label, 200));
  if (kind !== "{" && kind !== "[") {
    const value = h("bdi", { class: `data-json-${kind}` }, seen(text, VALUE_SHOWN));
    return h("li", { class: "data-leaf" }, title, ": ", value);
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
  return h("bdi", { class: `data-json-${item.kind}`, title: shown }, shown);
}
