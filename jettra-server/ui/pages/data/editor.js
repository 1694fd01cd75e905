// Writing a document: its JSON is checked while it is typed, and nothing that someone else saved is overwritten unseen.
//
//   editor({ place, id, base, context, done })      id: null for a new one; base: { text, rev }, or null; done(id) when it is
//                                                   saved, done(null) when given up
//   draftOf(place, id)                              what was typed and not saved, kept as long as the tab

import { session } from "../../api.js";
import { button, failure } from "../../dialog.js";
import { fill, h, setText } from "../../dom.js";
import { comparison } from "./compare.js";
import { fault, pretty } from "./json.js";
import { create, nameOf, readDocument, replace } from "./store.js";

const NEW = "{\n  \n}";
// Larger texts are checked when the typing pauses.
const [AT_ONCE, PAUSE_MS] = [100_000, 400];

const drafts = new Map();
const keyOf = (place, id) => JSON.stringify([place, id]);
export const draftOf = (place, id) => drafts.get(keyOf(place, id));
addEventListener("beforeunload", (event) => { if (drafts.size) event.preventDefault(); });
session.addEventListener("change", () => { if (session.mode === "signed-out") drafts.clear(); });

export function editor({ place, id, base, context, done }) {
  const key = keyOf(place, id);
  const begun = base ? pretty(base.text).text : NEW;
  const draft = drafts.get(key);
  let rev = draft ? draft.rev : base?.rev ?? null;
  let [wrong, checking] = [null, null];

  const area = h("textarea", { id: "editor", spellcheck: "false", rows: Math.min(Math.max(12, begun.split("\n").length + 1), 30), "aria-label": "The document's JSON", "aria-describedby": "json-state" });
  area.value = draft?.text ?? begun;
  const [verdict, outcome] = [h("span", { id: "json-state", role: "status" }), h("div")];
  const there = button("Go there", () => {
    area.focus();
    area.setSelectionRange(wrong.at, wrong.at + 1);
  }, "small");
  const save = button("Save", () => write(rev), "primary");
  const form = h("div", { class: "stack" }, area, h("p", { class: "row" }, verdict, there), outcome, h("div", { class: "row" }, save, button("Cancel", () => finish(null), "ghost")));
  const element = h("div", null, form);

  function check() {
    wrong = fault(area.value);
    setText(verdict, wrong ? `Line ${wrong.line}, column ${wrong.column}: ${wrong.message}` : "This is JSON.");
    verdict.className = wrong ? "field-error" : "muted";
    area.setAttribute("aria-invalid", String(wrong !== null));
    there.hidden = wrong === null;
    save.disabled = wrong !== null;
  }

  area.addEventListener("input", () => {
    if (area.value === begun) drafts.delete(key);
    else drafts.set(key, { text: area.value, rev });
    clearTimeout(checking);
    checking = setTimeout(check, area.value.length > AT_ONCE ? PAUSE_MS : 0);
  });
  check();

  function finish(saved) {
    drafts.delete(key);
    done(saved);
  }

  // `over`: the revision to replace, null: there is none.
  async function write(over) {
    check();
    if (wrong) return;
    save.disabled = true;
    fill(outcome);
    try {
      const saved = id === null ? (await create(place, area.value)).id : (await replace(place, id, area.value, over), id);
      context.bar.tell(`${nameOf(saved)} is saved.`);
      finish(saved);
    } catch (error) {
      if (error.code === "conflict" && id !== null) return conflict();
      edit(failure(error));
    }
  }

  function edit(said) {
    fill(element, form);
    fill(outcome, said);
    save.disabled = wrong !== null;
    area.focus();
  }

  async function conflict() {
    try {
      const theirs = await readDocument(place, id);
      const over = theirs?.rev ?? null;
      const edited = button("Edit", () => {
        rev = over;
        if (drafts.has(key)) drafts.set(key, { text: area.value, rev });
        edit();
      });
      fill(element, h("div", { class: "stack", id: "conflict" }, h("div", { class: "callout warn", role: "alert" }, `Someone else has ${theirs ? "saved" : "deleted"} it since you began. Nothing of yours is saved yet.`),
        comparison(theirs?.text ?? "{}", area.value, [theirs ? `Theirs, revision ${over}` : "Theirs: deleted", "Yours"]),
        h("div", { class: "row" }, button("Keep mine", () => write(over), "primary"), button("Take theirs", () => finish(id)), edited)));
      edited.focus();
    } catch (error) {
      edit(failure(error));
    }
  }

  const focus = () => {
    area.focus();
    area.setSelectionRange(0, 0);
  };
  return { element, focus, leave: () => clearTimeout(checking) };
}
