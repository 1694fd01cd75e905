// Two documents against one another, line against line; stretches that are alike are folded.

import { h } from "../../dom.js";
import { count } from "../../format.js";
import { diffLines, pairs } from "./diff.js";
import { pretty, seen } from "./json.js";

// Characters that are compared, rows that are shown, characters of a line, rows around a difference.
const [COMPARED, ROWS, LINE, AROUND] = [1_500_000, 3000, 2000, 3];
const SIGNS = { same: " ", less: "−", more: "+" };
const SPOKEN = { same: "", less: "gone: ", more: "new: " };

export function comparison(a, b, [nameA, nameB]) {
  const [left, right] = [pretty(a, COMPARED), pretty(b, COMPARED)];
  const all = pairs(diffLines(left.text, right.text));
  const differs = all.map((row) => row.left !== row.right);
  if (!differs.includes(true)) return h("p", { class: "empty" }, "No difference.");
  const rows = [];
  let alike = 0;
  for (const [i, row] of [...all.entries(), [all.length]]) {
    const isNear = i === all.length || differs.slice(Math.max(0, i - AROUND), i + AROUND + 1).includes(true);
    if (isNear && alike > 0) rows.push(alike === 1 ? all[i - 1] : alike);
    alike = isNear ? 0 : alike + 1;
    if (isNear && row) rows.push(row);
  }
  const line = (row, side) => {
    if (row > 0) return h("div", { class: "data-line filler muted" }, `  … ${count(row)} lines alike`);
    const change = row[side];
    return change ? h("div", { class: `data-line ${change.kind}` }, h("span", { class: "data-line-number", "aria-hidden": "true" }, change[side]),
      h("span", { class: "data-line-sign", "aria-hidden": "true" }, SIGNS[change.kind]), h("span", { class: "visually-hidden" }, SPOKEN[change.kind]),
      h("bdi", null, seen(change.text, LINE))) : h("div", { class: "data-line filler" }, " ");
  };
  const column = (name, side) => h("section", { "aria-label": name }, h("h3", null, name),
    h("div", { class: "data-diff", tabindex: "0", role: "group", "aria-label": name }, h("div", null, rows.slice(0, ROWS).map((row) => line(row, side)))));
  return [left.isCut || right.isCut || rows.length > ROWS ? h("p", { class: "callout warn" }, "Cut: these are too large to be compared as a whole.") : null,
    h("div", { class: "data-sides" }, column(nameA, "left"), column(nameB, "right"))];
}
