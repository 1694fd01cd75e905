// The Data page: databases, collections, documents.
//
//   dataPage(main, { route })  fills `main`; gives what is called when the page is left, with `go(route)` for another place
//                              on it. A route: db, col, id; or db, col, "", "new" for a document to be made.
//
//   places       the tree, and what is done to databases and collections
//   collection   its documents;   filter    looking for some;   feed    its changes as they happen
//   document     one of them;     editor    writing it;         history, compare, diff    what it was
//   json, show, store             documents as text, to look at, and the API

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
  const trail = h("nav", { class: "trail", "aria-label": "Where this is" });
  const content = h("div");
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
    const ways = [["Data"], ...(db ? [[db, db]] : []), ...(col ? [[col, db, col]] : []), ...(doc ? [[at.id ?? "new", null]] : [])];
    fill(trail, ways.map(([name, ...to], i) => (i === ways.length - 1 ? h("bdi", { "aria-current": "page" }, seen(name, 60)) : [h("a", { href: href(...to) }, name), " / "])));
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
  const text = h("p", { role: "status" });
  const act = h("span", { class: "row" });
  let hiding = null;
  const element = h("div", { class: "bar", hidden: true, id: "data-bar" }, text, act);
  const put = (words, kind, action) => {
    clearTimeout(hiding);
    // What is only said goes by itself.
    if (!kind && !action) hiding = setTimeout(() => { element.hidden = true; }, SAID_MS);
    element.className = `bar ${kind}`;
    element.hidden = false;
    setText(text, words);
    fill(act, action ? button(action.name, () => {
      element.hidden = true;
      action.run();
    }, "small") : null, h("button", { type: "button", class: "small ghost", "aria-label": "Dismiss", onclick: () => { element.hidden = true; } }, "×"));
  };
  return { element, tell: (words, action) => put(words, "", action), fail: (error) => put(error.message, "bad") };
}
