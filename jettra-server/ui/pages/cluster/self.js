// This node: the figures that GET /api/cluster has of it.
//
//   selfPart()    { element, update() }

import { h, setText } from "../../dom.js";
import { count, duration, UNKNOWN } from "../../format.js";
import { live } from "../../live.js";

const nodeName = document.querySelector('meta[name="jettra-node"]').content;

export function selfPart() {
  const values = {};
  const row = (key, label) => {
    values[key] = h("dd", { id: `self-${key}` });
    return [h("dt", null, label), values[key]];
  };
  const element = h("section", { class: "panel", "aria-labelledby": "self-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "self-title" }, "This node")),
    h("dl", { class: "facts" }, row("id", "Node ID"), row("state", "State"), row("term", "Term"), row("leader", "Leader"),
      row("applied", "Applied index"), row("commit", "Commit index"), row("uptime", "Uptime"), row("version", "Version")));
  return {
    element,
    update() {
      const c = live.cluster;
      const isMember = (c.nodes ?? []).length > 0;
      const set = (key, value) => {
        setText(values[key], value ?? UNKNOWN);
        // What a member will know in a moment keeps its place; what others never know has none.
        values[key].hidden = values[key].previousElementSibling.hidden = !isMember && (value ?? null) === null;
      };
      set("id", c.nodeId ?? nodeName);
      const replica = c.nodes?.find((n) => n.id === c.nodeId && n.role === "REPLICA");
      set("state", replica?.role ?? c.state ?? (c.enabled ? UNKNOWN : "STANDALONE"));
      set("term", c.term);
      set("leader", c.leaderId);
      set("applied", c.appliedIndex === undefined ? null : count(c.appliedIndex));
      set("commit", c.commitIndex === undefined ? null : count(c.commitIndex));
      set("uptime", c.uptimeMs === undefined ? null : duration(c.uptimeMs));
      set("version", c.version ? `${c.version}${c.featureLevel ? `, level ${c.featureLevel}` : ""}` : null);
    },
  };
}
