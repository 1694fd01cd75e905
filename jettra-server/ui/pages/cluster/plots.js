// Two plots that move: what the cluster commits, and how far its followers are behind.
//
//   plotsPart()    { element, update() }

import { h, setClass } from "../../dom.js";
import { live } from "../../live.js";
import { Plot } from "../../plot.js";

const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];

export function plotsPart() {
  const commits = new Plot({
    label: "Writes per second and commit latency over the last 15 minutes",
    lanes: [
      { name: "Writes", unit: "per second", height: 86, floor: 10, series: [{ name: "writes", colour: "--series-1", fill: true }] },
      { name: "Commit latency", unit: "ms", height: 86, floor: 1, series: [{ name: "median", colour: "--series-3" }, { name: "p99", colour: "--series-2", dashed: true }] },
    ],
  });
  const lag = new Plot({
    label: "Replication lag of each peer over the last 15 minutes",
    lanes: [{ name: "Lag", unit: "entries", height: 206, floor: 10, series: [] }],
  });
  const panel = (id, title, plot) => h("section", { class: "panel", "aria-labelledby": id }, h("div", { class: "panel-head" }, h("h2", { id }, title)), plot.element);
  // A name keeps its colour while the page is open, whoever comes and goes.
  const colours = new Map();
  const colour = (name) => {
    if (!colours.has(name)) colours.set(name, COLOURS[colours.size % COLOURS.length]);
    return colours.get(name);
  };
  const lagPanel = panel("lag-title", "Replication lag", lag);
  const element = h("div", { class: "columns" }, panel("writes-title", "Writes", commits), lagPanel);
  return {
    element,
    update() {
      lagPanel.hidden = !live.cluster?.enabled;
      setClass(element, "alone", lagPanel.hidden);
      const { samples } = live;
      const times = samples.map((s) => s.time);
      commits.draw(times, [[samples.map((s) => s.writesPerSecond)],
        [samples.map((s) => s.commitMs?.p50 ?? null), samples.map((s) => s.commitMs?.p99 ?? null)]]);
      const members = (live.cluster?.nodes ?? []).map((n) => n.id);
      members.forEach(colour);
      const peers = [...new Set([...members, ...samples.flatMap((s) => Object.keys(s.lag))])].filter((name) => samples.some((s) => name in s.lag)).sort();
      lag.setSeries(0, peers.map((name) => ({ name, colour: colour(name) })));
      lag.draw(times, [peers.map((name) => samples.map((s) => s.lag[name] ?? null))]);
    },
  };
}
