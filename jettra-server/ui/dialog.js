// Dialogs: modal, closed by Escape, focus goes back to where it came from.
//
//   openDialog({ title, content, wide })       → { element, body, actions, close(value), closed: Promise }
//   confirm({ title, text, confirm: "Delete", danger: true })      → true | false
//   prompt({ title, text, label, value, confirm, check })          → text | null; check(text) → what is wrong with it, or null
//   button(label, onclick, kind)               kind: "primary" | "danger" | "ghost"
//   failure(error)                             an element that shows an ApiError

import { fill, h, setText, withCommand } from "./dom.js";

let count = 0;

export function button(label, onclick, kind = "") {
  return h("button", { type: "button", class: kind, onclick }, label);
}

export function openDialog({ title, content, wide = false }) {
  const before = document.activeElement;
  const id = `dialog-title-${++count}`;
  const body = h("div", { class: "dialog-body" }, content);
  const actions = h("div", { class: "dialog-actions" });
  const element = h("dialog", { class: wide ? "dialog-wide" : "", "aria-labelledby": id },
    h("div", { class: "dialog-head" }, h("h2", { id }, title)), body, actions);
  let give;
  const closed = new Promise((resolve) => { give = resolve; });
  let value = null;
  element.addEventListener("close", () => {
    element.remove();
    if (before?.isConnected) before.focus();
    give(value);
  });
  document.body.append(element);
  element.showModal();
  const close = (result = null) => {
    value = result;
    element.close();
  };
  return { element, body, actions, close, closed };
}

export async function confirm({ title, text, confirm: label = "Go on", danger = false, content = null }) {
  const dialog = openDialog({ title, content: [text ? h("p", null, text) : null, content] });
  const cancel = button("Cancel", () => dialog.close(false), "ghost");
  fill(dialog.actions, cancel, button(label, () => dialog.close(true), danger ? "danger" : "primary"));
  // What destroys is never one press of Enter away.
  (danger ? cancel : dialog.actions.lastChild).focus();
  return (await dialog.closed) === true;
}

export async function prompt({ title, text, label, value = "", confirm: name = "Save", check = () => null }) {
  const wrong = h("p", { class: "field-error", id: `wrong-${count + 1}`, "aria-live": "polite" });
  const input = h("input", { type: "text", value, autocomplete: "off", spellcheck: "false", "aria-describedby": wrong.id });
  const form = h("form", { novalidate: true }, text ? h("p", null, text) : null,
    h("label", { class: "field" }, h("span", null, label), input), wrong);
  const dialog = openDialog({ title, content: form });
  const done = () => {
    const problem = check(input.value);
    setText(wrong, problem);
    if (problem) input.focus();
    else dialog.close(input.value);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    done();
  });
  fill(dialog.actions, button("Cancel", () => dialog.close(null), "ghost"), button(name, done, "primary"));
  input.select();
  return dialog.closed;
}

export function failure(error) {
  return h("div", { class: "callout bad", role: "alert" },
    h("p", null, error.message), error.details?.next ? h("p", null, h("strong", null, "Next: "), withCommand(error.details.next)) : null);
}
