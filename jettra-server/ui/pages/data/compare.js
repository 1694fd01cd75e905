// Two documents against one another, line by line, indented.
//
//   unified(a, b)                       one column; long stretches that are alike are folded
//   sideBySide(a, b, [nameA, nameB])    two columns, line against line

import { button } from "../../dialog.js";
import { h } from "../../dom.js";
import { count } from "../../format.js";
import { diffLines, pairs } from "./diff.js";
import { pretty, seen } from "./json.js";

// Characters that are compared, lines that are shown, characters of a line, lines around a difference.
const [COMPARED, LINES, LINE, AROUND] = [1_500_000, 3000, 2000, 3];
const SIGNS = { same: " ", less: "−", more: "+" };
const SPOKEN = { same: "", less: "gone: ", more: "new: " };

function compare(a, b) {
  const [left, right] = [pretty(a, COMPARED), pretty(b, COMPARED)];
  const note = left.isCut || right.isCut ? h("p", { class: "callout warn" }, `Only the first ${count(COMPARED)} characters are compared.`) : null;
  return { changes: diffLines(left.text, right.text), note };
}

const line = (change, number) => h("div", { class: `line ${change.kind}` }, h("span", { class: "line-number", "aria-hidden": "true" }, number),
  h("span", { class: "line-sign", "aria-hidden": "true" }, SIGNS[change.kind]), h("span", { class: "visually-hidden" }, SPOKEN[change.kind]),
  h("bdi", null, seen(change.text, LINE)));
const box = (name, ...lines) => h("div", { class: "diff", tabindex: "0", role: "group", "aria-label": name }, h("div", null, lines));

export function unified(a, b) {
  const { changes, note } = compare(a, b);
  const differs = changes.map((change) => change.kind !== "same");
  if (!differs.includes(true)) return [note, h("p", { class: "empty" }, "No difference.")];
  const row = (change) => line(change, change.right ?? change.left);
  const lines = [];
  for (let i = 0; i < changes.length && lines.length < LINES;) {
    let end = i;
    while (end < changes.length && !differs.slice(Math.max(0, end - AROUND), end + AROUND + 1).includes(true)) end += 1;
    const alike = changes.slice(i, end);
    if (end > i) {
      const fold = h("div", null, button(`${count(alike.length)} lines alike`, () => fold.replaceWith(...alike.slice(0, LINES).map(row)), "small ghost"));
      lines.push(fold);
      i = end;
    } else {
      lines.push(row(changes[i]));
      i += 1;
    }
  }
  return [note, box("Difference", lines), lines.length < LINES ? null : h("p", { class: "muted" }, "Cut: there is more.")];
}

export function sideBySide(a, b, [nameA, nameB]) {
  const { changes, note } = compare(a, b);
  const rows = pairs(changes).slice(0, LINES);
  const column = (name, side) => h("section", { "aria-label": name }, h("h3", null, name),
    box(name, rows.map((row) => (row[side] ? line(row[side], row[side][side]) : h("div", { class: "line filler" }, "\u00a0")))));
  return h("div", null, note, h("div", { class: "sides" }, column(nameA, "left"), column(nameB, "right")));
}
