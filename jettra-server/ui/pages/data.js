// The Data page. A route: db, col, id; or db, col, "", "new" for a document to be made.
//
//   places       the tree;         collection, filter, feed               its documents, some of them, their changes
//   document     one of them;      editor, history, compare, diff         writing it, what it was
//   json, show, store              documents as text, to look at, and the API

import { button } from "../dialog.js";
import { fill, h, setText } from "../dom.js";
import { collectionView } from "./data/collection.js";
import { documentView } from "./data/document.js";
import { feedOf } from "./data/feed.js";
import { seen } from "./data/json.js";
import { databaseView, placesPart } from "./data/places.js";
import { href } from "./data/store.js";

const SAID_MS = 8000;

export function dataPage(main, { route }) {
  const bar = outcomeBar();
  const [trail, content] = [h("nav", { class: "data-trail", "aria-label": "Where this is" }), h("div")];
  const context = { bar, known: null, refresh: () => places.refresh({}), turned };
  const places = placesPart(context);
  const element = h("div", { class: "data" }, places.element, h("div", { class: "stack" }, trail, content));
  fill(main, element, bar.element);
  let at = {};
  let [feed, list, doc] = [null, null, null];

  function go([db, col, id, more]) {
    const isOther = db !== at.db || col !== at.col;
    const before = at;
    at = { db, col, id: id || (more === "new" ? null : undefined) };
    element.classList.toggle("inside", Boolean(col));
    doc?.leave();
    doc = null;
    if (isOther) {
      leaveCollection();
      if (col) {
        feed = feedOf({ db, col });
        Object.assign(context, { feed, isReadOnly: db === "_system" });
        list = collectionView({ db, col }, context);
      }
    }
    if (col && at.id !== undefined) doc = documentView({ db, col }, at.id, context);
    if (list) list.element.hidden = doc !== null;
    fill(content, list ? [list.element, doc?.element] : databaseView(db, context));
    const ways = ["Data", db, col, doc ? at.id ?? "new" : null].filter(Boolean);
    const way = (name, i) => (i < ways.length - 1 ? [h("a", { href: href(...ways.slice(1, i + 1)) }, name), " / "] : h("bdi", { "aria-current": "page" }, seen(name, 60)));
    fill(trail, ways.map(way));
    if (!isOther && before.id && !doc) list.shown(before.id);
    else if (before.db !== undefined || db) content.querySelector("section:not([hidden]) h1")?.focus({ preventScroll: true });
    places.select({ db, col });
  }

  // The tree is new: what was shown without a collection may be another.
  function turned() {
    if (at.col || at.drawn === context.known?.join()) return;
    at.drawn = context.known.join();
    fill(content, databaseView(at.db, context));
  }

  function leaveCollection() {
    feed?.turn(false);
    list?.leave();
    [feed, list] = [null, null];
  }

  go(route);
  const leave = () => {
    doc?.leave();
    leaveCollection();
    places.leave();
  };
  return Object.assign(leave, { go });
}

// What came of the last act: one line at the lower edge, so that nothing above it moves. One thing can be done from it.
function outcomeBar() {
  const [text, act] = [h("p", { role: "status" }), h("span", { class: "row" })];
  let hiding = null;
  const element = h("div", { class: "data-bar", hidden: true, id: "data-bar" }, text, act);
  const hide = () => { element.hidden = true; };
  const put = (words, kind, action) => {
    clearTimeout(hiding);
    // What is only said goes by itself.
    if (!kind && !action) hiding = setTimeout(hide, SAID_MS);
    element.className = `data-bar ${kind}`;
    element.hidden = false;
    setText(text, words);
    const run = () => {
      hide();
      action.run();
    };
    fill(act, action ? button(action.name, run, "small") : null, button("Dismiss", hide, "small"));
  };
  return { element, tell: (words, action) => put(words, "", action), fail: (error) => put(error.message, "bad") };
}
