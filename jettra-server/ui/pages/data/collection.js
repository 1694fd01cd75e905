// The documents of a collection, page by page: as a table, as JSON, as trees; filtered; followed as they change.
// A page begins after an _id, so each document is met once, however many come and go meanwhile. The ways back are remembered.

import { button, failure } from "../../dialog.js";
import { fill, h, keyed, setText } from "../../dom.js";
import { count as figure } from "../../format.js";
import { filterOf, search } from "./filter.js";
import { itemsOf, seen } from "./json.js";
import { collectionActions } from "./places.js";
import { cell, choices, jsonView, sizeOf, treeView, waiting } from "./show.js";
import { compareIds, count, href, LOCAL, readDocument, readDocuments, undo } from "./store.js";

const [COLUMNS, JSON_SHOWN] = [5, 1500];
// So long a first page waits for the feed.
const FEED_WAIT_MS = 400;
// For all collections.
const chosen = { size: 50, look: "Table", isLive: true };

export function collectionView(place, context) {
  const { feed, isReadOnly } = context;
  const leaving = new AbortController();
  const on = (target, event, then) => target.addEventListener(event, then, { signal: leaving.signal });
  let test = null;
  // Where the pages begin that were gone through, and what lies before them; a page that is shown keeps its own.
  let starts = [{ after: "", before: 0 }];
  let page = { docs: [], way: starts, isLast: false, stoppedAt: null };
  let [columns, total, asking, frame, counting] = [[], null, null, null, null];

  const totalText = h("span", { class: "muted", id: "doc-total" });
  const looks = choices(["Table", "JSON", "Tree"], chosen.look, (name) => {
    chosen.look = name;
    draw();
  });
  const following = h("input", { type: "checkbox", id: "live", onchange: () => {
    chosen.isLive = following.checked;
    feed.turn(following.checked);
  } });
  const heard = h("span", { id: "live-state" });
  const sizes = h("select", { id: "page-size", class: "small", onchange: () => {
    chosen.size = Number(sizes.value);
    load();
  } }, [20, 50, 100, 200].map((n) => h("option", { value: n }, n)));
  sizes.value = chosen.size;
  const box = h("input", { type: "search", id: "filter", placeholder: "Filter by words", "aria-label": "Filter", "aria-describedby": "filter-note" });
  const form = h("form", { class: "row data-filter", role: "search", onsubmit: (event) => {
    event.preventDefault();
    test = filterOf(box.value);
    turn(-starts.length);
  } }, box, h("button", { type: "submit" }, "Find"));
  const progress = h("span");
  const searching = h("p", { class: "row", hidden: true, id: "searching" }, h("span", { class: "spinner" }), progress, button("Stop", () => asking.abort("stopped"), "small"));
  const outcome = h("div");
  const content = h("div", { class: "data-documents", id: "documents" }, waiting());
  const [first, back, next] = [["First", -Infinity], ["Previous", -1], ["Next", 1]].map(([name, step]) => button(name, () => turn(step)));
  const range = h("span", { class: "muted", id: "range", "aria-live": "polite" });
  const element = h("section", { class: "panel", "aria-labelledby": "col-title" },
    h("div", { class: "panel-head" }, h("div", { class: "row" }, h("h1", { id: "col-title", tabindex: "-1" }, place.col), totalText),
      h("div", { class: "row" }, isReadOnly ? h("span", { class: "chip" }, "read-only")
        : [button("New document", () => { location.hash = href(place.db, place.col, "", "new"); }, "primary"), collectionActions(place, context)])),
    h("div", { class: "row spread" }, form, h("div", { class: "row" }, looks, h("label", { class: "row" }, following, "Live"), heard)),
    h("p", { id: "filter-note", class: "muted small-text" }, "The node does not filter: this page reads on until it has a page that matches."),
    searching, outcome, content,
    h("div", { class: "row spread data-pager" }, h("div", { class: "row" }, first, back, next), range, h("label", { class: "row" }, "Rows", sizes)));

  // --- reading
  async function load() {
    clearTimeout(waited);
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    content.setAttribute("aria-busy", "true");
    fill(outcome);
    const way = [...starts];
    const { after } = way.at(-1);
    try {
      const found = test ? await find(after, mine.signal) : await readDocuments(place, { after, limit: chosen.size + 1, signal: mine.signal });
      if (mine !== asking) return;
      const docs = found.docs.slice(0, chosen.size).map((doc) => ({ mark: "", turn: 0, ...doc }));
      page = { ...found, docs, way, isLast: found.isLast && docs.length === found.docs.length };
      columns = columnsOf(docs);
      draw();
      recount();
    } catch (error) {
      if (mine !== asking || leaving.signal.aborted) return;
      fill(outcome, mine.signal.aborted ? h("p", { class: "callout" }, "Stopped: this is from before.") : [failure(error), button("Try again", load)]);
      draw();
    } finally {
      if (mine === asking) {
        asking = null;
        searching.hidden = true;
        content.removeAttribute("aria-busy");
      }
    }
  }

  function find(after, signal) {
    const onProgress = (looked, matching) => setText(progress, `${figure(looked)} documents looked at, ${figure(matching)} match …`);
    onProgress(0, 0);
    searching.hidden = false;
    return search(place, { test, after, wanted: chosen.size, signal, onProgress });
  }

  async function recount() {
    try {
      total = await count(place, LOCAL);
      setText(totalText, `${figure(total)} ${total === 1 ? "document" : "documents"}`);
      drawRange();
    } catch { /* what is wrong is said when the page is read */ }
  }

  async function turn(step) {
    // Behind what is shown, also where another page is being read.
    if (step > 0) starts = [...page.way, { after: page.stoppedAt ?? page.docs.at(-1).id, before: page.way.at(-1).before + alive() }];
    else starts.length = Math.max(1, starts.length + step);
    await load();
    element.scrollIntoView({ block: "nearest" });
  }

  // --- showing
  const alive = () => page.docs.filter((doc) => doc.mark !== "deleted").length;
  const shown = (id) => [...content.querySelectorAll("[data-doc]")].find((item) => item.dataset.doc === id)?.querySelector("a").focus();

  function draw() {
    if (page.docs.length === 0) {
      frame = null;
      fill(content, outcome.firstChild ? null : empty());
    } else {
      const kind = JSON.stringify([chosen.look, columns]);
      if (frame?.kind !== kind) {
        frame = { kind, ...(chosen.look === "Table" ? table() : blocks(chosen.look === "JSON" ? (text) => jsonView(text, JSON_SHOWN) : treeView)) };
        fill(content, frame.element);
      }
      const held = document.activeElement.closest("[data-doc]");
      keyed(frame.list, page.docs, (doc) => `${doc.turn}/${doc.mark}/${doc.id}`, frame.make);
      if (held && !held.isConnected) shown(held.dataset.doc);
    }
    first.disabled = back.disabled = starts.length === 1;
    next.disabled = page.isLast || (page.docs.length === 0 && !page.stoppedAt);
    drawRange();
  }

  function drawRange() {
    const [n, { before }] = [alive(), page.way.at(-1)];
    const from = n === 0 ? "" : `${figure(before + 1)}–${figure(before + n)}`;
    if (page.looked >= 0) setText(range, `${from ? `${from} that match; ` : ""}${figure(page.looked)} looked at${page.isLast ? "" : page.stoppedAt ? "; “Next” looks further" : ", not all"}`);
    else setText(range, from && total !== null ? `${from} of ${figure(Math.max(total, before + n))}` : from);
  }

  const link = (doc) => h("a", { href: href(place.db, place.col, doc.id) }, h("bdi", { class: "mono" }, seen(doc.id)));
  const KINDS = { deleted: "bad", changed: "accent", new: "good" };
  const state = (doc) => (doc.mark ? [h("span", { class: `chip ${KINDS[doc.mark]}` }, doc.mark),
    doc.mark === "deleted" && !isReadOnly ? button("Undo", () => undo(place, doc.id, context), "small") : null] : null);

  function table() {
    const list = h("tbody");
    const head = (name) => h("th", { scope: "col" }, h("bdi", null, seen(name, 40)));
    const make = (doc) => {
      const { items } = itemsOf(doc.text);
      return h("tr", { data: { doc: doc.id }, class: `data-item ${doc.mark}` }, h("th", { scope: "row" }, h("div", { class: "row" }, link(doc), state(doc))),
        columns.map((name) => h("td", { class: "data-cell", "data-label": seen(name, 40) }, cell(doc.text, items.findLast((item) => item.name === name)))));
    };
    return { list, make, element: h("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Documents" },
      h("table", { class: "cards" }, h("thead", null, h("tr", null, head("_id"), columns.map(head))), list)) };
  }

  function blocks(view) {
    const list = h("ul", { class: "data-blocks" });
    return { list, element: list, make: (doc) => h("li", { data: { doc: doc.id }, class: `data-item ${doc.mark}` },
      h("div", { class: "row spread" }, link(doc), h("span", { class: "row muted small-text" }, state(doc), sizeOf(doc.text))), view(doc.text)) };
  }

  const empty = () => h("p", { class: "empty" }, page.stoppedAt ? "Nothing found so far." : test || starts.length > 1 ? "There is no such document." : "There is no document here yet.");

  // --- following
  function take({ id, text, isGone }) {
    const { docs } = page;
    const at = docs.findIndex((doc) => doc.id === id);
    const known = docs[at];
    if (isGone) {
      if (known) known.mark = "deleted";
    } else if (known) {
      if (known.text !== text || known.mark === "deleted") docs[at] = { id, text, mark: "changed", turn: known.turn + 1 };
    } else if (belongs(id) && (!test || test({ text }))) {
      const after = docs.findIndex((doc) => compareIds(doc.id, id) > 0);
      docs.splice(after < 0 ? docs.length : after, 0, { id, text, mark: "new", turn: 0 });
      while (alive() > chosen.size) {
        docs.pop();
        page.isLast = false;
      }
    }
  }

  function belongs(id) {
    const end = page.stoppedAt ?? page.docs.at(-1)?.id;
    return compareIds(id, page.way.at(-1).after) > 0 && (page.isLast || (end !== undefined && compareIds(id, end) < 0));
  }

  on(feed, "changes", async ({ detail }) => {
    for (const change of detail) {
      if (!change.isGone && change.text === undefined) Object.assign(change, await readDocument(place, change.id).catch(() => null) ?? { isGone: true });
      if (!asking) take(change);
    }
    if (columns.length === 0) columns = columnsOf(page.docs);
    if (!asking) draw();
    clearTimeout(counting);
    counting = setTimeout(recount, 250);
  });
  on(feed, "missed", load);
  const tell = () => {
    following.checked = feed.isOn;
    setText(heard, feed.isOn ? (feed.isHeard ? "following" : "connecting …") : "not followed");
    heard.className = `chip ${feed.isHeard ? "good" : ""}`;
    // What came before it is read.
    if (feed.isHeard) load();
  };
  on(feed, "state", tell);
  feed.turn(chosen.isLive);
  tell();
  const waited = setTimeout(() => asking ?? load(), feed.isOn ? FEED_WAIT_MS : 0);

  return {
    element,
    shown,
    leave() {
      leaving.abort();
      asking?.abort();
      clearTimeout(counting);
      clearTimeout(waited);
    },
  };
}

// The names that most documents have, in the order in which they are met.
function columnsOf(docs) {
  const found = new Map();
  for (const { text } of docs) {
    for (const { name } of itemsOf(text).items) if (name !== "_id") found.set(name, (found.get(name) ?? 0) + 1);
  }
  const most = [...found].sort((a, b) => b[1] - a[1]).slice(0, COLUMNS).map(([name]) => name);
  return [...found.keys()].filter((name) => most.includes(name));
}
