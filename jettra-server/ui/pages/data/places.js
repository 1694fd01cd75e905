// The databases and collections: the tree, and making, renaming and dropping them. What is dropped has its name typed first.

import { api } from "../../api.js";
import { button, failure, prompt } from "../../dialog.js";
import { copyButton, fill, h, keyed, setText } from "../../dom.js";
import { count as figure } from "../../format.js";
import { live } from "../../live.js";
import { collections, count, databases, href, LOCAL } from "./store.js";

const EVERY_MS = 5000;
// Counts are asked for one by one, so not for more collections of a database than these.
const COUNTED = 100;
const SYSTEM = "_system";

export function placesPart(context) {
  const list = h("ul", { id: "places" });
  const outcome = h("div");
  const element = h("nav", { class: "panel data-places", "aria-label": "Databases and collections" },
    h("div", { class: "panel-head" }, h("h2", null, "Databases"), button("New", () => newDatabase(context), "small")), list, outcome);
  const open = new Set();
  let place = {};
  let asked = 0;

  const makeDatabase = ({ name }) => {
    const toggle = h("button", { type: "button", class: "data-toggle", "aria-label": `Collections of ${name}`, onclick: () => {
      if (!open.delete(name)) open.add(name);
      refresh();
    } });
    return h("li", null, h("div", { class: "data-place" }, toggle, h("a", { href: href(name) }, name)), h("ul"));
  };
  const current = (item, is) => item.querySelector("a").setAttribute("aria-current", is ? "page" : "false");

  // `here`: LOCAL, or nothing after something was done, so that it shows.
  async function refresh(here = LOCAL) {
    const mine = ++asked;
    try {
      const found = await databases(here);
      const inside = new Map(await Promise.all(found.filter((db) => open.has(db.name)).map(async ({ name }) => [name, await collections(name, here)])));
      if (mine !== asked) return;
      context.known = found.map((db) => db.name);
      fill(outcome);
      keyed(list, found.sort((a, b) => (a.name === SYSTEM) - (b.name === SYSTEM)), (db) => db.name, makeDatabase, (item, db) => {
        item.querySelector("button").setAttribute("aria-expanded", String(open.has(db.name)));
        current(item, db.name === place.db && !place.col);
        const cols = (inside.get(db.name) ?? []).sort((a, b) => a.startsWith("_") - b.startsWith("_"));
        keyed(item.lastChild, cols, (col) => col, (col) => h("li", { class: "data-place" }, h("a", { href: href(db.name, col) }, col), h("span", { class: "muted" })),
          (row, col) => current(row, db.name === place.db && col === place.col));
      });
      context.turned();
      for (const [db, cols] of inside) {
        const rows = list.children[found.findIndex(({ name }) => name === db)].lastChild.children;
        for (const [i, col] of cols.slice(0, COUNTED).entries()) setText(rows[i].lastChild, figure(await count({ db, col }, LOCAL)));
      }
    } catch (error) {
      if (mine === asked && !live.isDown) fill(outcome, failure(error));
    }
  }

  const ticking = setInterval(() => {
    if (!document.hidden && !live.isDown) refresh();
  }, EVERY_MS);
  return {
    element,
    refresh,
    select(next) {
      if (next.db && next.db !== place.db) open.add(next.db);
      place = next;
      return refresh();
    },
    leave() {
      asked = -1;
      clearInterval(ticking);
    },
  };
}

export function databaseView(db, context) {
  const { known } = context;
  const panel = (actions, ...content) => h("section", { class: "panel" },
    h("div", { class: "panel-head" }, h("h1", { tabindex: "-1" }, db ?? "Data"), h("div", { class: "row" }, actions)), h("div", { class: "empty data-first" }, content));
  if (db) {
    return known && !known.includes(db) ? panel(null, "There is no such database.") : panel(db === SYSTEM ? h("span", { class: "chip" }, "read-only") : [
      button("New collection", () => newCollection(db, context), "primary"),
      button("Rename", () => rename(context, db, "/api/dbs/rename", {}, (name) => [name])),
      button("Drop", () => drop(context, db, "every collection in it", "/api/dbs", { name: db }, []))], "Choose a collection.");
  }
  if (!known || known.some((name) => name !== SYSTEM)) return panel(null, "Choose a database or a collection.");
  const curl = `curl ${location.origin}/api/dbs -d '{"name":"shop"}'`;
  return panel(null, h("p", { id: "no-databases" }, "There is no database yet. Make one with curl, or here:"),
    h("div", { class: "command" }, h("pre", null, curl), copyButton(curl)), button("Create a database", () => newDatabase(context), "primary"));
}

export const collectionActions = (place, context) => (place.col.startsWith("_") ? null : [
  button("Rename", () => rename(context, place.col, "/api/cols/rename", { database: place.db }, (name) => [place.db, name])),
  button("Drop", () => drop(context, place.col, "every document in it", "/api/cols", { database: place.db, collection: place.col }, [place.db]))]);

function badName(name) {
  if (!/^[\p{L}\p{N}-]/u.test(name)) return "A name begins with a letter, a digit or -.";
  if (name.endsWith(" ")) return "A name does not end with a blank.";
  return /^[\p{L}\p{N}\p{M}_. -]{1,120}$/u.test(name) ? "" : "A name has 120 letters, digits, _ . - and blanks at most.";
}

// Asks for a name, does it, goes to `to(name)` and says so.
async function ask(context, question, act, to, said) {
  const typed = await prompt({ label: "Name", check: (name) => badName(name.normalize("NFC")), ...question });
  if (typed === null) return;
  const name = typed.normalize("NFC");
  try {
    await act(name);
    context.bar.tell(said(name));
    location.hash = href(...to(name));
    await context.refresh();
  } catch (error) {
    context.bar.fail(error);
  }
}

const made = (name) => `${name} is made.`;
const newDatabase = (context) => ask(context, { title: "New database", confirm: "Create" }, (name) => api.post("/api/dbs", { name }), (name) => [name], made);
const newCollection = (database, context) => ask(context, { title: `New collection in ${database}`, confirm: "Create" },
  (collection) => api.post("/api/cols", { database, collection }), (name) => [database, name], made);
const rename = (context, oldName, path, body, to) => ask(context, { title: `Rename ${oldName}`, label: "New name", value: oldName, confirm: "Rename" },
  (newName) => api.post(path, { ...body, oldName, newName }), to, (name) => `${oldName} is ${name} now.`);
const drop = (context, name, what, path, query, to) => ask(context, { title: `Drop ${name}`, text: `With it go ${what} and all versions. This cannot be undone.`,
  label: `Type ${name} to go on`, confirm: "Drop it", check: (typed) => (typed === name ? "" : `Type ${name}, just so.`) },
() => api.delete(path, query), () => to, () => `${name} is gone.`);
