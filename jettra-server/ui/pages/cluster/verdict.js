// One line in words: well, or what is wrong, since when, and the next safe step.
//
//   verdictPart()    { element, update() }

import { fill, h, keyed, say, setText, svg, withCommand } from "../../dom.js";
import { timeOf } from "../../format.js";
import { live } from "../../live.js";
import { verdict, votes } from "./words.js";

const ICONS = {
  good: "M5 12.5l4.5 4.5L19 7.5",
  warn: "M12 6v7.5M12 17.25v.5",
  bad: "M7 7l10 10M17 7L7 17",
};

export function verdictPart() {
  const icon = svg("path", { fill: "none", stroke: "currentColor", "stroke-width": 2.6, "stroke-linecap": "round", "stroke-linejoin": "round" });
  const title = h("p", { class: "cluster-verdict-title", id: "verdict" });
  const text = h("p", { class: "muted", id: "verdict-text" });
  const findings = h("ol", { class: "cluster-findings", id: "findings" });
  const element = h("section", { class: "panel cluster-verdict", "aria-label": "State of the cluster" },
    svg("svg", { viewBox: "0 0 24 24", class: "cluster-verdict-icon", "aria-hidden": "true" }, icon),
    h("div", { class: "cluster-verdict-words" }, title, text, findings));
  let since = null;
  let before = null;

  return {
    element,
    update() {
      const own = verdict(live.cluster);
      const found = live.doctor?.findings ?? [];
      // The doctor looks every few seconds, the picture is newer: what both say counts most.
      const kind = own.kind === "bad" ? "bad" : found.length && own.kind === "good" ? "warn" : own.kind;
      const { voters, active, failureTolerance } = votes(live.cluster);
      const line = found.length && own.kind === "good"
        ? `${found.length === 1 ? "One thing" : `${found.length} things`} to look at: ${active} of ${voters} voters, can lose ${failureTolerance || "none"}` : own.title;
      if (before !== own.title) since = before === null ? null : Date.now();
      if (before !== own.title) say(own.title);
      before = own.title;
      element.className = `panel cluster-verdict ${kind}`;
      icon.setAttribute("d", ICONS[kind]);
      setText(title, line);
      setText(text, found.length ? "" : [own.text, since && kind !== "good" ? `Since ${timeOf(since)}.` : "", own.next ? `Next: ${own.next}` : ""].filter(Boolean).join(" "));
      // A sentence that counts seconds is still the same finding, and keeps its focus.
      keyed(findings, found, (f) => `${f.since}/${f.what.replace(/\d+/g, "")}`, makeFinding, updateFinding);
    },
  };
}

function makeFinding() {
  const pieces = { what: h("span"), since: h("span", { class: "muted cluster-finding-since" }), works: h("dd"), risk: h("dd"), next: h("dd") };
  const item = h("li", null, h("p", { class: "cluster-finding-what" }, pieces.what, pieces.since),
    h("dl", null, h("dt", null, "Works"), pieces.works, h("dt", null, "At risk"), pieces.risk, h("dt", null, "Next"), pieces.next));
  item.pieces = pieces;
  return item;
}

function updateFinding({ pieces }, f) {
  setText(pieces.what, f.what);
  setText(pieces.since, f.since ? ` · since ${timeOf(f.since)}` : "");
  setText(pieces.works, f.works);
  setText(pieces.risk, f.at_risk);
  if (pieces.next.dataset.text !== f.next) {
    pieces.next.dataset.text = f.next;
    fill(pieces.next, withCommand(f.next));
  }
}
