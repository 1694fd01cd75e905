// What can be done to a cluster. Each action shows first what it costs (its dry run), asks, reports, and shows the
// same thing as a line for jettra-shell and for curl.
//
//   ACTIONS                what can be done to a member: { name, label, fits(node) }
//   actOn(action, id)      the dialog for one
//   addNode()              the dialog for a new node

import { api, session } from "../../api.js";
import { button, failure, openDialog } from "../../dialog.js";
import { copyButton, fill, h, say, setText, withCommand } from "../../dom.js";
import { count } from "../../format.js";
import { live } from "../../live.js";

export const ACTIONS = [
  { name: "pause", label: "Pause", fits: (n) => n.status === "ACTIVE" && n.voter,
    about: "It votes and is not elected. If it leads, it hands over first.", done: (id) => `${id} is paused.` },
  { name: "resume", label: "Resume", fits: (n) => n.status === "PAUSED", about: "It may be elected again.", done: (id) => `${id} may be elected again.` },
  { name: "transfer", label: "Make leader", fits: (n) => n.role !== "LEADER" && n.voter && n.status === "ACTIVE",
    about: "The leader hands over to it. Writes wait for a moment.", done: (id) => `${id} leads.` },
  { name: "promote", label: "Promote", fits: (n) => n.role === "REPLICA" && n.status !== "INACTIVE",
    about: "It votes from then on, and may be elected.", done: (id) => `${id} votes.` },
  { name: "demote", label: "Demote", fits: (n) => n.voter,
    about: "It becomes a read replica. If it leads, it hands over first.", done: (id) => `${id} is a read replica.` },
  { name: "stop", label: "Stop", fits: (n) => n.status !== "INACTIVE", danger: true,
    about: "Its process finishes what it has and ends; it stays a member. Start it again on its machine.", done: (id) => `${id} was told to stop.` },
  { name: "deregister", label: "Remove", fits: () => true, danger: true,
    about: "It is a member no more. To use it again, remove its data directory and add it as a new node.", done: (id) => `${id} is a member no more.` },
];

const busy = (what) => h("p", null, h("span", { class: "spinner" }), ` ${what} …`);

export function actOn(action, id) {
  const verdict = h("div", { class: "cluster-plan", "aria-live": "polite" }, busy("Asking what it would cost"));
  const outcome = h("div", { class: "cluster-outcome", role: "status" });
  const dialog = openDialog({
    title: `${action.label} ${id}`,
    content: [h("p", null, action.about), verdict, outcome, commands(`cluster ${action.name}`, [id], action.name, { node: id })],
  });
  const cancel = button("Cancel", () => dialog.close(), "ghost");
  const go = button(`${action.label} ${id}`, run, action.danger ? "danger" : "primary");
  go.disabled = true;
  fill(dialog.actions, cancel, go);
  cancel.focus();
  check();

  async function check() {
    try {
      const plan = await api.post(`/api/cluster/${action.name}`, { node: id }, { dry_run: true });
      fill(verdict, planned(plan));
      go.disabled = !plan.allowed;
    } catch (error) {
      fill(verdict, failure(error));
    }
  }

  async function run() {
    go.disabled = true;
    fill(outcome, busy("Under way"));
    try {
      await api.post(`/api/cluster/${action.name}`, { node: id });
      succeed(dialog, outcome, action.done(id));
    } catch (error) {
      fill(outcome, failure(error));
      // What was known before may not hold any more.
      if (dialog.element.isConnected) check();
    }
  }
}

export function addNode() {
  const url = h("input", { type: "url", id: "add-url", placeholder: "http://node4:8080", autocomplete: "off", spellcheck: "false" });
  const description = h("input", { type: "text", id: "add-description", maxlength: 200, autocomplete: "off" });
  const replica = h("input", { type: "checkbox", id: "add-replica" });
  const verdict = h("div", { class: "cluster-plan", "aria-live": "polite" });
  const outcome = h("div", { class: "cluster-outcome", role: "status" });
  const lines = h("div");
  const form = h("form", { novalidate: true },
    h("label", { class: "field" }, h("span", null, "URL of the new node"), url),
    h("label", { class: "field" }, h("span", null, "Description, if you like"), description),
    h("label", { class: "row cluster-choice" }, replica, h("span", null, "Read replica: never votes")));
  const dialog = openDialog({
    title: "Add a node",
    content: [h("p", null, "Start it with ", h("code", null, "\"distributed\": true"), " and a NodeID of its own. It copies the data first."), form, verdict, outcome, lines],
  });
  const body = () => ({ url: url.value.trim(), description: description.value.trim() || undefined, voter: replica.checked ? false : undefined });
  const show = () => {
    const b = body();
    const words = [b.url, b.description, replica.checked && "--replica"].filter(Boolean);
    fill(lines, b.url ? commands("cluster register", words, "register", b) : null);
  };
  let checked = null;
  const cancel = button("Cancel", () => dialog.close(), "ghost");
  const go = button("Check", () => step(), "primary");
  fill(dialog.actions, cancel, go);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!go.disabled) step();
  });
  form.addEventListener("input", () => {
    checked = null;
    setText(go, "Check");
    fill(verdict);
    fill(outcome);
    show();
  });
  url.focus();

  const step = () => (checked === body().url ? run() : check());

  async function check() {
    if (!url.value.trim()) return url.focus();
    go.disabled = true;
    fill(verdict, busy("Asking what it would cost"));
    try {
      const plan = await api.post("/api/cluster/register", body(), { dry_run: true });
      fill(verdict, planned(plan));
      if (plan.allowed) {
        checked = body().url;
        setText(go, "Add it");
      }
    } catch (error) {
      fill(verdict, failure(error));
    } finally {
      go.disabled = false;
    }
  }

  async function run() {
    go.disabled = url.disabled = description.disabled = replica.disabled = true;
    const words = h("p", null, h("span", { class: "spinner" }), " ");
    const text = h("span", null, "joining …");
    words.append(text);
    fill(outcome, words);
    const wanted = body().url.replace(/\/+$/, "");
    const isIn = (n) => n?.voter || n?.role === "REPLICA";
    const find = () => (live.cluster?.nodes ?? []).find((n) => n.url === wanted || n.id === node);
    let node = null;
    const listening = new AbortController();
    const progress = () => {
      const found = find();
      if (found?.joining) setText(text, `joining: ${count(found.joining.entries)} of ${count(found.joining.of)} entries`);
      if (isIn(found) && node !== null) finish(found.id);
    };
    const finish = (id) => {
      listening.abort();
      const { length } = live.cluster.nodes.filter((n) => n.voter);
      succeed(dialog, outcome, replica.checked ? `${id} is a read replica.` : `${id} votes: ${count(length)} voters now.`);
    };
    live.addEventListener("cluster", progress, { signal: listening.signal });
    dialog.closed.then(() => listening.abort());
    try {
      const answer = await api.post("/api/cluster/register", body());
      node = answer.node?.id ?? wanted;
      // `joining`: it goes on in the background, and the stream tells how far it is.
      if (answer.status === "registered") await seen(() => isIn(find()), listening.signal);
      progress();
    } catch (error) {
      listening.abort();
      fill(outcome, failure(error));
      checked = null;
      setText(go, "Check");
      go.disabled = url.disabled = description.disabled = replica.disabled = false;
    }
  }
}

// Waits until the stream shows it too, some seconds at most.
function seen(condition, signal) {
  return new Promise((resolve) => {
    if (condition()) return resolve();
    const timer = setTimeout(resolve, 5000);
    const look = () => {
      if (!condition()) return;
      clearTimeout(timer);
      resolve();
    };
    live.addEventListener("cluster", look, { signal });
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function succeed(dialog, outcome, text) {
  fill(outcome, h("div", { class: "callout good" }, h("p", null, text)));
  say(text);
  const close = button("Close", () => dialog.close(), "primary");
  fill(dialog.actions, close);
  close.focus();
}

// A dry run as a table: what there is, and what there would be.
function planned({ allowed, before, after, reason, next }) {
  const rows = [["Voters", "voters"], ["Active voters", "active"], ["Majority", "majority"], ["Can lose", "failureTolerance"]];
  return [
    before && after ? h("table", { class: "cluster-plan-table" },
      h("thead", null, h("tr", null, h("td"), h("th", { scope: "col", class: "number" }, "Now"), h("th", { scope: "col", class: "number" }, "Then"))),
      h("tbody", null, rows.map(([label, key]) => h("tr", null, h("th", { scope: "row" }, label), h("td", { class: "number" }, before[key]),
        h("td", { class: `number ${after[key] === before[key] ? "" : "cluster-plan-changed"}` }, after[key]))))) : null,
    h("div", { class: `callout ${allowed ? (after && before && after.failureTolerance < before.failureTolerance ? "warn" : "good") : "bad"}` },
      h("p", null, h("strong", null, allowed ? "Allowed: " : "Refused: "), reason),
      next ? h("p", null, h("strong", null, "Next: "), withCommand(next)) : null),
  ];
}

// The same as lines for a terminal.
function commands(command, words, call, body) {
  const user = session.mode === "signed-in" ? ` -u ${quoted(session.user ?? "admin")}` : "";
  const shell = `jettra-shell${location.origin === "http://localhost:8080" ? "" : ` ${location.origin}`}${user} -c ${quoted([command, ...words.map(word)].join(" "), true)}`;
  const curl = `curl -X POST ${location.origin}/api/cluster/${call}${user} -d ${quoted(JSON.stringify(body), true)}`;
  const line = (name, text) => h("div", { class: "command" }, h("span", null, name), h("pre", null, text), copyButton(text));
  return h("div", { class: "cluster-commands" }, line("The same in the shell", shell), line("The same with curl", curl));
}

// For a POSIX shell; double quotes where nothing in it is special in them.
function quoted(text, always = false) {
  if (!always && /^[\w.@%+=:,/-]+$/.test(text)) return text;
  if (!/["$`\\!]/.test(text)) return `"${text}"`;
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// For jettra-shell.
function word(text) {
  return /^[^\s;'"{[#]+$/.test(text) ? text : `"${text.replaceAll("\\", "\\\\").replaceAll("\"", "\\\"")}"`;
}
