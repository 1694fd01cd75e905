// One document: to look at, to change, to delete, and what it was.
//
//   documentView(place, id, context)     { element, leave() }; id: null for a new one

import { button, confirm, failure } from "../../dialog.js";
import { copyButton, fill, h, setText } from "../../dom.js";
import { live } from "../../live.js";
import { draftOf, editor } from "./editor.js";
import { historyView } from "./history.js";
import { seen } from "./json.js";
import { jsonView, saveFile, SHOWN, sizeOf, treeView } from "./show.js";
import { href, nameOf, readDocument, remove, undo } from "./store.js";

const LOOKS = { json: "JSON", tree: "Tree", raw: "Raw", history: "History" };
// A text field for more than this is slow.
const EDITED = 2 << 20;

export function documentView(place, id, context) {
  const { feed, bar, isReadOnly } = context;
  const leaving = new AbortController();
  const on = (target, event, then) => target.addEventListener(event, then, { signal: leaving.signal });
  const back = href(place.db, place.col);
  let doc = null;
  let look = "json";
  let editing = null;
  let isKnown = false;

  const facts = h("span", { class: "row muted small-text", id: "doc-facts" });
  const actions = h("div", { class: "row" });
  const looks = h("div", { class: "row", role: "group", "aria-label": "Show as" }, Object.entries(LOOKS).map(([name, label]) =>
    h("button", { type: "button", class: "small", data: { look: name }, onclick: () => {
      look = name;
      draw();
    } }, label)));
  const content = h("div", { id: "document" }, h("p", { class: "empty" }, h("span", { class: "spinner" }), " Asking the node …"));
  const element = h("section", { class: "panel document", "aria-labelledby": "doc-title" },
    h("div", { class: "panel-head" }, h("div", null, h("h1", { id: "doc-title", tabindex: "-1" }, id === null ? "New document" : h("bdi", { class: "mono" }, seen(id))), facts), actions),
    looks, content);

  const inner = { ...context, changed: load };

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
    for (const one of looks.children) one.setAttribute("aria-pressed", String(one.dataset.look === look));
    looks.hidden = doc === null;
    setText(facts, doc ? `revision ${doc.rev} · ${sizeOf(doc.text)}` : "");
    const draft = draftOf(place, id);
    fill(actions, isReadOnly ? h("span", { class: "chip" }, "read-only") : doc === null ? button("Undo the deletion", () => undo(place, id, inner).then(load), "primary")
      : [button(draft ? "Go on editing" : "Edit", edit, "primary"), button("Delete", drop)]);
    if (doc === null) fill(content, h("p", { class: "callout warn" }, "There is no such document: it was deleted, or never was. What is kept of it:"), historyView(place, id, null, inner));
    else if (look === "history") fill(content, historyView(place, id, doc, inner));
    else fill(content, look === "json" ? jsonView(doc.text) : look === "tree" ? treeView(doc.text) : raw());
  }

  function raw() {
    const shown = doc.text.slice(0, SHOWN);
    return [h("pre", { class: "json" }, seen(shown, SHOWN)), h("p", { class: "row small-text muted" }, shown === doc.text ? null : `Cut: all of it are ${sizeOf(doc.text)}.`,
      button("Save as a file", () => saveFile(id, doc.text), "small"), shown === doc.text ? copyButton(doc.text) : null)];
  }

  async function edit() {
    if (doc?.text.length > EDITED && !await confirm({ title: "Edit a large document?", confirm: "Edit it here",
      text: `It has ${sizeOf(doc.text)}, and a browser is slow with that. Save it as a file and PUT it with curl instead.` })) return;
    looks.hidden = true;
    fill(actions);
    editing = editor({ place, id, base: doc, context, done: (saved) => {
      editing = null;
      if (id !== null) return load();
      location.hash = saved === null ? back : href(place.db, place.col, saved);
    } });
    fill(content, editing.element);
    editing.focus();
  }

  async function drop() {
    try {
      await remove(place, id, doc.rev);
      bar.tell(`${nameOf(id)} is deleted.`, { name: "Undo", run: () => undo(place, id, inner) });
      if (!feed.isHeard) load();
    } catch (error) {
      bar.fail(error.code === "conflict" ? new Error("Someone else has changed it meanwhile: look at it again.") : error);
      load();
    }
  }

  on(feed, "changes", ({ detail }) => {
    const change = detail.find((one) => one.id === id);
    if (!change || !isKnown) return;
    if (editing) return setText(facts, "Someone else has saved it meanwhile: saving shows you both.");
    if (change.rev === doc?.rev) return;
    if (!change.isGone && change.text === undefined) return load();
    doc = change.isGone ? null : change;
    draw();
    content.firstChild.classList?.add("changed");
  });
  on(live, "connection", () => {
    if (!live.isDown && !editing && id !== null) load();
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
