// What is said above every page: protected mode, and a node that does not answer.
//
//   protectedNotice(), connectionNotice()    elements that show and hide themselves

import { api, session } from "./api.js";
import { button, failure, openDialog } from "./dialog.js";
import { copyButton, fill, h, say, setText } from "./dom.js";
import { duration } from "./format.js";
import { live } from "./live.js";

export function protectedNotice() {
  const notice = h("section", { class: "notice warn", "aria-label": "Protected mode", id: "protected" },
    h("p", null, h("strong", null, "Protected mode. "),
      "No administrator has a password yet: on this machine everybody may do everything, other machines are refused."),
    button("Set a password", setPassword));
  const turn = () => { notice.hidden = session.mode !== "protected"; };
  session.addEventListener("change", turn);
  turn();
  return notice;
}

function setPassword() {
  const field = (label, properties) => h("label", { class: "field" }, h("span", null, label), h("input", properties));
  const first = field("New password of admin", { type: "password", autocomplete: "new-password", id: "new-password" });
  const again = field("Once more", { type: "password", autocomplete: "new-password", id: "new-password-again" });
  const wrong = h("p", { class: "field-error", role: "alert" });
  const outcome = h("div");
  const curl = `curl -X POST ${location.origin}/api/change-password -d '{"newPassword":"…"}'`;
  const form = h("form", null, h("input", { type: "text", autocomplete: "username", value: "admin", hidden: true }),
    first, again, wrong, outcome,
    h("div", { class: "command" }, h("span", null, "The same with curl, on this machine"), h("pre", null, curl), copyButton(curl)));
  const dialog = openDialog({ title: "Set the administrator's password", content: form });
  const done = async () => {
    const [password, repeated] = [first, again].map((f) => f.querySelector("input").value);
    setText(wrong, new TextEncoder().encode(password).length < 8 ? "A password has 8 bytes or more." : password !== repeated ? "The two differ." : "");
    if (wrong.textContent) return;
    save.disabled = true;
    try {
      await api.post("/api/change-password", { newPassword: password });
      await session.signIn("admin", password);
      dialog.close();
      say("the password is set; signed in as admin");
    } catch (error) {
      fill(outcome, failure(error));
      save.disabled = false;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    done();
  });
  const save = button("Set the password", done, "primary");
  fill(dialog.actions, button("Cancel", () => dialog.close(), "ghost"), save);
  first.querySelector("input").focus();
}

export function connectionNotice() {
  const title = h("strong");
  const text = h("span");
  const others = h("ul", { class: "row" });
  const notice = h("section", { class: "notice bad", "aria-label": "Connection", id: "lost", hidden: true },
    h("p", null, title, " ", text), others);
  const tell = () => {
    const silent = live.error?.isUnreachable !== false;
    setText(title, silent ? "This node does not answer." : "This node tells nothing now.");
    const down = Date.now() - (live.downSince ?? Date.now());
    setText(text, `Since ${down < 1000 ? "a moment ago" : duration(down)}${silent ? "" : `: ${live.error.message}`}. ${
      live.cluster ? "Below is the last picture. " : ""}This page goes on by itself.`);
  };
  let ticking = null;
  live.addEventListener("connection", () => {
    const was = !notice.hidden;
    notice.hidden = !live.isDown;
    if (live.isDown === was) return;
    clearInterval(ticking);
    if (!live.isDown) return say("this node answers again");
    tell();
    ticking = setInterval(tell, 1000);
    say("this node does not answer");
    const known = (live.cluster?.nodes ?? []).filter((n) => n.id !== live.cluster.nodeId && isWeb(n.url));
    fill(others, known.length ? h("li", null, "Other nodes:") : null,
      known.map((n) => h("li", null, h("a", { href: n.url, rel: "noreferrer" }, n.id))));
  });
  return notice;
}

// A URL from data becomes a link only if it leads to a page.
export function isWeb(url) {
  return /^https?:\/\//.test(url);
}
