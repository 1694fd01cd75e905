// The table of members, with what can be done to each; and adding one.
//
//   peersPart()    { element, update() }

import { button } from "../../dialog.js";
import { h, keyed, setText } from "../../dom.js";
import { count, UNKNOWN } from "../../format.js";
import { live } from "../../live.js";
import { isWeb } from "../../notices.js";
import { addNode, ACTIONS, actOn } from "./actions.js";
import { contact } from "./map.js";
import { standing } from "./words.js";

export function peersPart() {
  const body = h("tbody");
  const head = (label, kind = "") => h("th", { scope: "col", class: kind }, label);
  const element = h("section", { class: "panel", "aria-labelledby": "peers-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "peers-title" }, "Peers"), button("Add a node", addNode, "primary")),
    h("div", { class: "table-wrap" }, h("table", { class: "cards cluster-peers", id: "peers" },
      h("thead", null, h("tr", null, head("Node ID"), head("URL"), head("Role"), head("Status"), head("Lag", "number"), head("Last contact", "number"), head("Actions"))),
      body)));
  return {
    element,
    update() {
      keyed(body, live.cluster.nodes ?? [], (node) => node.id, makeRow, updateRow);
    },
  };
}

function makeRow(node) {
  const cell = (label, kind = "") => h("td", { "data-label": label, class: kind });
  const part = { id: h("th", { scope: "row", class: "cluster-peer-id" }), url: h("a", { rel: "noreferrer" }), role: cell("Role"), status: h("span", { class: "chip" }),
    lag: cell("Lag", "number"), contact: cell("Last contact", "number") };
  part.buttons = Object.fromEntries(ACTIONS.map((action) => [action.name,
    h("button", { type: "button", class: "small", "aria-label": `${action.label} ${node.id}`, onclick: () => actOn(action, node.id) }, action.label)]));
  const row = h("tr", { data: { node: node.id } }, part.id, h("td", { "data-label": "URL" }, part.url), part.role,
    h("td", { "data-label": "Status" }, part.status), part.lag, part.contact,
    h("td", { "data-label": "" }, h("div", { class: "row cluster-peer-actions" }, Object.values(part.buttons))));
  row.pieces = part;
  return row;
}

function updateRow(row, node) {
  const { pieces: part } = row;
  setText(part.id, node.id === live.cluster.nodeId ? `${node.id} (this node)` : node.id);
  part.id.title = node.description ?? "";
  setText(part.url, node.url);
  if (isWeb(node.url)) part.url.href = node.url;
  else part.url.removeAttribute("href");
  setText(part.role, node.role);
  setText(part.status, node.status);
  part.status.className = `chip ${node.status === "ACTIVE" ? "good" : standing(node).kind}`;
  setText(part.lag, node.lagEntries === undefined ? UNKNOWN : count(node.lagEntries));
  setText(part.contact, contact(node));
  for (const action of ACTIONS) part.buttons[action.name].hidden = !action.fits(node);
}
