// What happened to the cluster, newest first.
//
//   journalPart()    { element, update() }

import { fill, h, keyed, setText } from "../../dom.js";
import { dateOf } from "../../format.js";
import { eventKey, live } from "../../live.js";

const KINDS = { alarm: "bad", silent: "bad", removed: "warn", demoted: "warn", paused: "warn", stopped: "warn", elected: "accent", promoted: "good", returned: "good", alarm_over: "good", resumed: "good", joined: "good" };
const SHOWN = 50;

export function journalPart() {
  const words = h("input", { type: "search", placeholder: "Filter by word or node", "aria-label": "Filter the journal", id: "journal-filter", autocomplete: "off" });
  const kind = h("select", { "aria-label": "Kind of event", id: "journal-kind" }, h("option", { value: "" }, "All kinds"));
  const list = h("ol", { class: "cluster-journal", id: "journal" });
  const empty = h("p", { class: "empty" });
  const more = h("button", { type: "button", class: "ghost", hidden: true });
  let shown = SHOWN;
  const element = h("section", { class: "panel", "aria-labelledby": "journal-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "journal-title" }, "Journal"), h("div", { class: "cluster-journal-tools" }, words, kind)),
    list, empty, h("div", { class: "row" }, more));
  const update = () => {
    const kinds = [...new Set(live.events.map((e) => e.kind))].sort();
    if (kinds.join() !== [...kind.options].slice(1).map((o) => o.value).join()) {
      const chosen = kind.value;
      fill(kind, h("option", { value: "" }, "All kinds"), kinds.map((k) => h("option", { value: k }, k.replaceAll("_", " "))));
      kind.value = kinds.includes(chosen) ? chosen : "";
    }
    const wanted = words.value.trim().toLowerCase();
    const found = live.events.filter((e) => (!kind.value || e.kind === kind.value)
      && (!wanted || `${e.kind} ${e.node ?? ""} ${e.message} ${e.by ?? ""}`.toLowerCase().includes(wanted)));
    keyed(list, found.slice(0, shown), eventKey, makeEvent);
    setText(empty, found.length ? "" : live.events.length ? "No event of the journal is like that." : "Nothing has happened yet.");
    empty.hidden = found.length > 0;
    more.hidden = found.length <= shown;
    setText(more, `Show ${Math.min(SHOWN, found.length - shown)} more`);
  };
  words.addEventListener("input", update);
  kind.addEventListener("change", update);
  more.addEventListener("click", () => {
    shown += SHOWN;
    update();
  });
  update();
  return { element, update };
}

function makeEvent(e) {
  return h("li", null,
    h("time", { class: "muted", datetime: new Date(e.time).toISOString() }, dateOf(e.time)),
    h("span", null, h("span", { class: `chip ${KINDS[e.kind] ?? ""}` }, e.kind.replaceAll("_", " "))),
    h("span", { class: "cluster-journal-words" }, e.message, e.by ? h("span", { class: "muted" }, ` · by ${e.by}`) : null));
}
