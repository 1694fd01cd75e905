// The Cluster page: is it well, who is who, what can be done about it, what happened.
//
//   clusterPage(main)     put together from the parts in cluster/: each is { element, update() }
//
//   verdict    one line in words, and what the doctor found
//   self       this node
//   map        the nodes, as cards under their leader
//   peers      the table with the actions
//   plots      15 minutes of figures
//   journal    what happened, newest first

import { fill, h, setClass } from "../dom.js";
import { live } from "../live.js";
import { journalPart } from "./cluster/journal.js";
import { mapPart } from "./cluster/map.js";
import { peersPart } from "./cluster/peers.js";
import { plotsPart } from "./cluster/plots.js";
import { selfPart } from "./cluster/self.js";
import { verdictPart } from "./cluster/verdict.js";

export function clusterPage(main) {
  const all = [verdictPart, selfPart, mapPart, peersPart, plotsPart, journalPart].map((part) => part());
  const [verdict, self, map, peers, plots, journal] = all;
  const columns = h("div", { class: "columns narrow-first" }, self.element, map.element);
  const waiting = h("p", { class: "empty" }, h("span", { class: "spinner" }), " Asking the node …");
  const members = h("div", { class: "stack" }, peers.element, plots.element, journal.element);
  const whole = h("div", { class: "stack", hidden: true }, h("h1", { class: "visually-hidden" }, "Cluster"), verdict.element,
    columns, members);
  fill(main, waiting, whole);

  const listeners = new AbortController();
  const on = (event, parts) => {
    const update = () => {
      if (!live.cluster) return;
      const isFirst = whole.hidden;
      waiting.hidden = true;
      whole.hidden = false;
      // A node that belongs to no cluster has itself to show, and its figures.
      const isMember = (live.cluster.nodes ?? []).length > 0;
      setClass(columns, "alone", !isMember);
      plots.element.hidden = live.cluster.enabled && !isMember;
      map.element.hidden = peers.element.hidden = journal.element.hidden = !isMember;
      for (const part of isFirst ? all : parts) part.update();
    };
    live.addEventListener(event, update, { signal: listeners.signal });
    update();
  };
  on("cluster", [verdict, self, map, peers]);
  on("samples", [plots]);
  on("doctor", [verdict]);
  on("events", [journal]);
  on("connection", [verdict]);
  return () => {
    listeners.abort();
    for (const part of all) part.leave?.();
  };
}
