// One document: to look at, to change, to delete, and what it was. `id` is null for a new one.

import { button, confirm, failure } from "../../dialog.js";
import { fill, h, setText } from "../../dom.js";
import { draftOf, editor } from "./editor.js";
import { historyView } from "./history.js";
import { seen } from "./json.js";
import { choices, jsonView, saveFile, sizeOf, treeView, waiting } from "./show.js";
import { href, nameOf, readDocument, remove, undo } from "./store.js";

// A text field for more than this is slow.
const EDITED = 2 << 20;

export function documentView(place, id, context) {
  const { feed, bar, isReadOnly } = context;
  const leaving = new AbortController();
  const on = (target, event, then) => target.addEventListener(event, then, { signal: leaving.signal });
  let [doc, look, editing, isKnown] = [null, "JSON", null, false];

  const facts = h("span", { class: "row muted small-text", id: "doc-facts" });
  const actions = h("div", { class: "row" });
  const looks = choices(["JSON", "Tree", "History"], look, (name) => {
    look = name;
    draw();
  });
  const content = h("div", { id: "document" }, waiting());
  const element = h("section", { class: "panel data-document", "aria-labelledby": "doc-title" },
    h("div", { class: "panel-head" }, h("div", null, h("h1", { id: "doc-title", tabindex: "-1" }, id === null ? "New document" : h("bdi", { class: "mono" }, seen(id))), facts), actions),
    looks, content);

  async function load() {
    try {
      doc = await readDocument(place, id);
      isKnown = true;
      draw();
    } catch (error) {
      fill(content, failure(error), button("Try again", load));
    }
  }

  function draw() {
    if (editing) return;
    looks.hidden = doc === null;
    setText(facts, doc ? `revision ${doc.rev} · ${sizeOf(doc.text)}` : "");
    const raw = doc && button("Save as a file", () => saveFile(id, doc.text), "ghost");
    fill(actions, raw, isReadOnly ? h("span", { class: "chip" }, "read-only") : doc ? [button(draftOf(place, id) ? "Go on editing" : "Edit", edit, "primary"), button("Delete", drop)]
      : button("Undo the deletion", () => undo(place, id, context).then(load), "primary"));
    const history = (current) => historyView(place, id, current, { ...context, changed: load });
    if (doc === null) fill(content, h("p", { class: "callout warn" }, "There is no such document. What is kept of it:"), history(null));
    else fill(content, look === "JSON" ? jsonView(doc.text) : look === "Tree" ? treeView(doc.text) : history(doc));
  }

  async function edit() {
    if (doc?.text.length > EDITED && !await confirm({ title: "Edit it here?", confirm: "Edit",
      text: `Browsers are slow with ${sizeOf(doc.text)}: better save it as a file, and PUT that.` })) return;
    looks.hidden = true;
    fill(actions);
    editing = editor({ place, id, base: doc, context, done: (saved) => {
      editing = null;
      if (id !== null) load();
      else location.hash = saved === null ? href(place.db, place.col) : href(place.db, place.col, saved);
    } });
    fill(content, editing.element);
    editing.focus();
  }

  async function drop() {
    try {
      await remove(place, id, doc.rev);
      bar.tell(`${nameOf(id)} is deleted.`, { name: "Undo", run: () => undo(place, id, context) });
      if (!feed.isHeard) load();
    } catch (error) {
      bar.fail(error);
      load();
    }
  }

  on(feed, "changes", ({ detail }) => {
    const change = detail.find((one) => one.id === id);
    if (!change) return;
    if (editing) return setText(facts, "Someone else has saved it meanwhile.");
    if (!isKnown || (!change.isGone && change.text === undefined)) return load();
    if (change.rev === doc?.rev) return;
    doc = change.isGone ? null : change;
    draw();
    content.firstChild.classList?.add("data-flash");
  });
  if (id === null) edit();
  else load();
  return {
    element,
    leave() {
      leaving.abort();
      editing?.leave();
      if (draftOf(place, id)) bar.tell("What you typed is kept, not saved.", { name: "Back to it", run: () => { location.hash = href(place.db, place.col, ...(id === null ? ["", "new"] : [id])); } });
    },
  };
}
