// Sign in with a name and a password; in protected mode, seen from another machine, why that is not possible.
//
//   signInPage(main)

import { session } from "../api.js";
import { fill, h, setText } from "../dom.js";

export function signInPage(main) {
  if (session.refusal) {
    fill(main, h("section", { class: "panel sign-in", "aria-labelledby": "refused" },
      h("h1", { id: "refused" }, "This node lets nobody in from here"),
      h("p", null, session.refusal),
      h("p", null, h("button", { type: "button", class: "primary", onclick: () => session.probe().catch(() => {}) }, "Try again"))));
    return () => {};
  }
  const name = h("input", { type: "text", name: "username", autocomplete: "username", value: session.user ?? "admin", spellcheck: "false", required: true });
  const password = h("input", { type: "password", name: "password", autocomplete: "current-password", required: true });
  const wrong = h("p", { class: "field-error", role: "alert", id: "sign-in-error" });
  const enter = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", { class: "panel sign-in", "aria-labelledby": "sign-in-title", novalidate: true },
    h("h1", { id: "sign-in-title" }, "Sign in"),
    h("label", { class: "field" }, h("span", null, "User"), name),
    h("label", { class: "field" }, h("span", null, "Password"), password),
    wrong, enter);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    enter.disabled = true;
    setText(wrong, "");
    try {
      await session.signIn(name.value, password.value);
    } catch (error) {
      const said = error.status === 401 ? "The name or the password is wrong." : error.message;
      setText(wrong, said);
      password.value = "";
      password.focus();
    } finally {
      enter.disabled = false;
    }
  });
  fill(main, form);
  password.focus();
  return () => {};
}
