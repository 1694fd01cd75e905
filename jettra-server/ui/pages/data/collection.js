// The documents of a collection, page by page: as a table, as JSON, as trees; filtered; followed as they change.
//
//   collectionView(place, context)     { element, leave(), shown(id) }
//
// A page begins after an _id, so each document is met once, however many come and go meanwhile. The ways back are remembered.

import { button, failure } from "../../dialog.js";
import { copyButton, fill, h, keyed, setText } from "../../dom.js";
import { count as figure } from "../../format.js";
import { live } from "../../live.js";
import { filterOf, search } from "./filter.js";
import { itemsOf, seen } from "./json.js";
import { collectionActions } from "./places.js";
import { cell, jsonView, sizeOf, treeView } from "./show.js";
import { compareIds, count, href, LOCAL, readDocument, readDocuments, undo } from "./store.js";

const LOOKS = { table: "Table", json: "JSON", tree: "Tree" };
const [COLUMNS, JSON_SHOWN] = [5, 1500];
// So long a first page waits for the feed, which then misses nothing that the page does not show.
const FEED_WAIT_MS = 400;
// What was chosen last holds for all collections.
const chosen = { size: 50, look: "table", isLive: true };

export function collectionView(place, context) {
  const { feed, isReadOnly } = context;
  const leaving = new AbortController();
  const on = (target, event, then) => target.addEventListener(event, then, { signal: leaving.signal });
  let test = null;
  // Where each page begins that was gone through, and how many documents lie before it.
  const starts = [{ after: "", before: 0 }];
  let page = { docs: [], isLast: false, stoppedAt: null };
  let columns = [];
  let total = null;
  let asking = null;
  let frame = null;
  let counting = null;

  const totalText = h("span", { class: "muted", id: "doc-total" });
  const looks = Object.entries(LOOKS).map(([name, label]) => h("button", { type: "button", class: "small", data: { look: name }, onclick: () => {
    chosen.look = name;
    draw();
  } }, label));
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
  const box = h("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false", placeholder: "words, or name=value", "aria-describedby": "filter-note" });
  const form = h("form", { class: "row filter", role: "search", onsubmit: (event) => {
    event.preventDefault();
    test = filterOf(box.value);
    turn(-starts.length);
  } }, h("label", { for: "filter" }, "Filter"), box, h("button", { type: "submit" }, "Find"));
  const progress = h("span");
  const searching = h("p", { class: "row", hidden: true, id: "searching" }, h("span", { class: "spinner" }), progress, button("Stop", () => asking.abort("stopped"), "small"));
  const outcome = h("div");
  const content = h("div", { class: "documents", id: "documents" }, h("p", { class: "empty" }, h("span", { class: "spinner" }), " Asking the node …"));
  const [first, back, next] = [["First", -Infinity], ["Previous", -1], ["Next", 1]].map(([name, step]) => button(name, () => turn(step)));
  const further = button("Look further", () => load(page));
  const range = h("span", { class: "muted", id: "range", "aria-live": "polite" });
  const element = h("section", { class: "panel", "aria-labelledby": "col-title" },
    h("div", { class: "panel-head" }, h("div", { class: "row" }, h("h1", { id: "col-title", tabindex: "-1" }, place.col), totalText),
      h("div", { class: "row" }, isReadOnly ? h("span", { class: "chip" }, "read-only")
        : [h("a", { class: "button", href: href(place.db, place.col, "", "new"), id: "new-document" }, "New document"), collectionActions(place, context)])),
    h("div", { class: "row spread" }, form, h("div", { class: "row" }, h("div", { class: "row", role: "group", "aria-label": "Show as" }, looks),
      h("label", { class: "row" }, following, "Live"), heard)),
    h("p", { id: "filter-note", class: "muted small-text" }, "The node does not filter: this page reads on and looks, document by document, until it has a page that matches."),
    searching, outcome, content,
    h("div", { class: "row spread pager" }, h("div", { class: "row" }, first, back, next, further), range, h("label", { class: "row" }, "Rows", sizes)));

  // --- reading
  async function load(earlier = null) {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    content.setAttribute("aria-busy", "true");
    fill(outcome);
    const { after } = starts.at(-1);
    try {
      const found = test ? await find(earlier, after, mine.signal) : await readDocuments(place, { after, limit: chosen.size + 1, signal: mine.signal });
      if (mine !== asking) return;
      const docs = found.docs.slice(0, chosen.size).map((doc) => ({ mark: "", turn: 0, ...doc }));
      page = { ...found, docs, isLast: found.isLast && docs.length === found.docs.length };
      columns = columnsOf(docs);
      draw();
      recount();
    } catch (error) {
      if (mine !== asking || leaving.signal.aborted) return;
      if (mine.signal.aborted) fill(outcome, h("p", { class: "callout" }, "Stopped. What is below is from before."));
      else fill(outcome, failure(error), button("Try again", () => load()));
      draw();
    } finally {
      if (mine === asking) {
        asking = null;
        searching.hidden = true;
        content.removeAttribute("aria-busy");
      }
    }
  }

  async function find(earlier, after, signal) {
    const docs = earlier?.docs ?? [];
    const looked = earlier?.looked ?? 0;
    const onProgress = (n, matching) => setText(progress, `${figure(looked + n)} documents looked at, ${figure(docs.length + matching)} match …`);
    onProgress(0, 0);
    searching.hidden = false;
    const found = await search(place, { test, after: earlier?.stoppedAt ?? after, wanted: chosen.size - docs.length, signal, onProgress });
    return { ...found, docs: [...docs, ...found.docs], looked: looked + found.looked };
  }

  async function recount() {
    try {
      total = await count(place, LOCAL);
      setText(totalText, `${figure(total)} ${total === 1 ? "document" : "documents"}`);
      drawRange();
    } catch { /* what is wrong is said when the page is read */ }
  }

  async function turn(step) {
    if (step > 0) starts.push({ after: page.docs.at(-1).id, before: starts.at(-1).before + alive() });
    else starts.length = Math.max(1, starts.length + step);
    await load();
    element.scrollIntoView({ block: "nearest" });
  }

  // --- showing
  const alive = () => page.docs.filter((doc) => doc.mark !== "deleted").length;
  const itemOf = (id) => [...content.querySelectorAll("[data-doc]")].find((item) => item.dataset.doc === id);

  function draw() {
    for (const one of looks) one.setAttribute("aria-pressed", String(one.dataset.look === chosen.look));
    if (page.docs.length === 0) {
      frame = null;
      fill(content, outcome.firstChild ? null : empty());
    } else {
      const kind = JSON.stringify([chosen.look, columns]);
      if (frame?.kind !== kind) {
        frame = { kind, ...(chosen.look === "table" ? table() : blocks(chosen.look === "json" ? (text) => jsonView(text, JSON_SHOWN) : treeView)) };
        fill(content, frame.element);
      }
      const held = document.activeElement.closest("[data-doc]")?.dataset.doc;
      keyed(frame.list, page.docs, (doc) => `${doc.turn}/${doc.mark}/${doc.id}`, frame.make);
      if (held && document.activeElement === document.body) itemOf(held)?.querySelector("a, button").focus();
    }
    first.disabled = back.disabled = starts.length === 1;
    next.disabled = page.isLast || page.docs.length === 0 || Boolean(page.stoppedAt);
    further.hidden = !page.stoppedAt;
    drawRange();
  }

  function drawRange() {
    const [n, { before }] = [alive(), starts.at(-1)];
    const from = n === 0 ? "" : `${figure(before + 1)}–${figure(before + n)}`;
    if (test) setText(range, `${from ? `${from} that match; ` : ""}${figure(page.looked)} looked at${page.isLast ? "" : ", not all"}`);
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
      const others = items.filter(({ name }) => name !== "_id" && !columns.includes(name)).length;
      return h("tr", { data: { doc: doc.id }, class: doc.mark }, h("th", { scope: "row" }, h("div", { class: "row" }, link(doc), state(doc))),
        columns.map((name) => h("td", { class: "cell", "data-label": seen(name, 40) }, cell(doc.text, items.findLast((item) => item.name === name)))),
        h("td", { class: "number muted", "data-label": others ? "and further" : "" }, others || null));
    };
    return { list, make, element: h("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Documents" },
      h("table", { class: "cards" }, h("thead", null, h("tr", null, head("_id"), columns.map(head), h("th", { scope: "col", class: "number", title: "Further fields" }, "more"))), list)) };
  }

  function blocks(view) {
    const list = h("ul", { class: "blocks" });
    return { list, element: list, make: (doc) => h("li", { data: { doc: doc.id }, class: doc.mark },
      h("div", { class: "row spread" }, link(doc), h("span", { class: "row muted small-text" }, state(doc), sizeOf(doc.text))), view(doc.text)) };
  }

  function empty() {
    const curl = `curl '${location.origin}/api/doc?db=${place.db}&col=${place.col}' -d '{"_id":"one","n":1}'`;
    if (test || starts.length > 1 || isReadOnly) return h("p", { class: "empty" }, page.stoppedAt ? "Nothing found so far." : "There is no such document.");
    return h("div", { class: "empty first" }, h("p", null, "There is no document here yet. Make one, here or with curl:"), h("div", { class: "command" }, h("pre", null, curl), copyButton(curl)));
  }

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
    return compareIds(id, starts.at(-1).after) > 0 && (page.isLast || (end !== undefined && compareIds(id, end) < 0));
  }

  on(feed, "changes", async ({ detail }) => {
    for (const change of detail) {
      // Its text is no longer kept with the change.
      if (!change.isGone && change.text === undefined) Object.assign(change, await readDocument(place, change.id).catch(() => null) ?? { isGone: true });
      // What is being read has it already.
      if (!asking) take(change);
    }
    if (columns.length === 0) columns = columnsOf(page.docs);
    if (!asking) draw();
    clearTimeout(counting);
    counting = setTimeout(recount, 250);
  });
  on(feed, "missed", () => load());
  on(live, "connection", () => {
    if (!live.isDown && outcome.firstChild && !asking) load();
  });
  const tell = () => {
    following.checked = feed.isOn;
    setText(heard, feed.isOn ? (feed.isHeard ? "following" : "connecting …") : "not followed");
    heard.className = `chip ${feed.isHeard ? "good" : ""}`;
  };
  on(feed, "state", tell);
  feed.turn(chosen.isLive);
  tell();
  const begun = new Promise((resolve) => {
    setTimeout(resolve, feed.isOn ? FEED_WAIT_MS : 0);
    on(feed, "state", resolve);
  });
  begun.then(() => { if (!leaving.signal.aborted) load(); });

  return {
    element,
    // The focus goes back to the document that was looked at.
    shown: (id) => itemOf(id)?.querySelector("a").focus(),
    leave() {
      leaving.abort();
      asking?.abort();
      clearTimeout(counting);
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
