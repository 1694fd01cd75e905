// The nodes as cards, the leader above the others, joined by lines: solid where it is heard, broken where it is silent.
//
//   mapPart()    { element, update(), leave() }

import { h, keyed, setClass, setText, svg, fill } from "../../dom.js";
import { bytes, count, duration, percent, UNKNOWN } from "../../format.js";
import { live } from "../../live.js";
import { standing } from "./words.js";

const METERS = [["cpu", "CPU"], ["ram", "Memory"], ["disk", "Disk"]];

export function mapPart() {
  const lines = svg("svg", { class: "cluster-map-lines", "aria-hidden": "true" });
  const top = h("ul", { class: "cluster-map-top" });
  const rest = h("ul", { class: "cluster-map-rest" });
  const nobody = h("p", { class: "cluster-map-nobody", hidden: true }, "no leader");
  const map = h("div", { class: "cluster-map" }, lines, nobody, top, rest);
  const element = h("section", { class: "panel", "aria-labelledby": "map-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "map-title" }, "Nodes")), map);
  let drawn = "";
  const draw = () => {
    const frame = map.getBoundingClientRect();
    const head = (top.firstElementChild ?? nobody).getBoundingClientRect();
    if (frame.width === 0) return;
    const paths = [...rest.children].map((card) => {
      const to = card.getBoundingClientRect();
      const alone = to.width > frame.width * .6;
      // Beside each other: a bus between the two rows. Below each other: a rail on the left.
      const bus = head.bottom - frame.top + 11;
      const [x, y] = [to.left - frame.left + to.width / 2, to.top - frame.top];
      const d = alone
        ? `M6 ${head.bottom - frame.top - 14}V${y + to.height / 2}H${to.left - frame.left}`
        : `M${head.left - frame.left + head.width / 2} ${head.bottom - frame.top}V${bus}H${x}V${y}`;
      return { d, silent: card.classList.contains("bad") };
    });
    const wanted = JSON.stringify([paths, frame.width, frame.height]);
    if (wanted === drawn) return;
    drawn = wanted;
    lines.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    fill(lines, paths.map((p) => svg("path", { d: p.d, class: `cluster-map-line ${p.silent ? "silent" : ""}` })));
  };
  const observer = new ResizeObserver(draw);
  observer.observe(map);
  const cards = new Map();
  const card = (node) => {
    if (!cards.has(node.id)) cards.set(node.id, makeCard());
    return cards.get(node.id);
  };

  return {
    element,
    update() {
      const nodes = live.cluster.nodes ?? [];
      const leads = (n) => n.id === live.cluster.leaderId;
      const update = (e, node) => updateCard(e, node, node.id === live.cluster.nodeId);
      nobody.hidden = nodes.some(leads);
      // A card moves, and stays the same element, when its node comes to lead.
      keyed(rest, nodes.filter((n) => !leads(n)), (n) => n.id, card, update);
      keyed(top, nodes.filter(leads), (n) => n.id, card, update);
      for (const id of cards.keys()) if (!nodes.some((n) => n.id === id)) cards.delete(id);
      draw();
    },
    leave: () => observer.disconnect(),
  };
}

function makeCard() {
  const part = { name: h("span", { class: "cluster-card-name" }), chip: h("span", { class: "chip" }), here: h("span", { class: "muted small-text" }),
    about: h("p", { class: "cluster-card-about muted small-text" }), lag: h("dd"), contact: h("dd"), meters: {} };
  const meters = METERS.map(([key, label]) => {
    const bar = svg("rect", { height: 6, class: "cluster-meter-bar" });
    const value = h("span", { class: "cluster-meter-value" });
    part.meters[key] = { bar, value };
    return h("div", { class: "cluster-meter" }, h("span", null, label),
      svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { width: 100, height: 6, class: "cluster-meter-track" }), bar), value);
  });
  const element = h("li", { class: "cluster-card" }, h("div", { class: "row spread cluster-card-head" }, part.name, part.chip), part.about,
    h("dl", { class: "cluster-card-facts" }, h("dt", null, "Lag"), part.lag, h("dt", null, "Last contact"), part.contact), meters);
  element.pieces = part;
  return element;
}

function updateCard(element, node, isHere) {
  const { pieces: part } = element;
  const { word, kind, text } = standing(node);
  element.dataset.node = node.id;
  element.className = `cluster-card ${kind}`;
  setText(part.name, node.id);
  part.name.title = node.id;
  setText(part.chip, word);
  part.chip.className = `chip ${kind}`;
  part.chip.title = text;
  setText(part.about, [isHere ? "this node" : null, node.description].filter(Boolean).join(" · ") || "\u00a0");
  part.about.title = node.description ?? "";
  setText(part.lag, node.joining ? `${count(node.joining.entries)} of ${count(node.joining.of)}` : node.lagEntries === undefined ? UNKNOWN : `${count(node.lagEntries)} entries`);
  setText(part.contact, contact(node));
  const m = node.status === "INACTIVE" ? undefined : node.metrics;
  const figures = {
    cpu: [m?.cpuUsage, ""],
    ram: [m?.ramUsage, m && `${bytes(m.ramUsed)} of ${bytes(m.ramTotal)}`],
    disk: [m?.diskUsage, m && `${bytes(m.diskUsed)} of ${bytes(m.diskTotal)}`],
  };
  for (const [key, [used, title]] of Object.entries(figures)) {
    const { bar, value } = part.meters[key];
    bar.setAttribute("width", Math.min(used ?? 0, 100));
    setClass(bar, "high", used > 90);
    setText(value, percent(used));
    value.title = title || "";
  }
}

export function contact(node) {
  if (node.lastContactMs === undefined) return UNKNOWN;
  // Below a second it is as it should be: heartbeats would only make it flicker.
  return node.lastContactMs < 1000 ? "< 1 s ago" : `${duration(node.lastContactMs)} ago`;
}
