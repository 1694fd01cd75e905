// The changes of one collection as they happen, in batches: GET /api/watch. feedOf(place) is an EventTarget:
// "changes" with `detail` = [{ id, rev, text, isGone }], text undefined where it is no longer kept; "missed": read anew;
// "state": `isOn` or `isHeard` is another. turn(isOn) follows, or does not.

import { api } from "../../api.js";
import { itemsOf, plain } from "./json.js";

const BATCH_MS = 200;

export function feedOf(place) {
  const feed = Object.assign(new EventTarget(), { isOn: false, isHeard: false, turn });
  const tell = (what, detail) => feed.dispatchEvent(new CustomEvent(what, { detail }));
  const batch = new Map();
  let running = null;

  function turn(isOn) {
    if (isOn === feed.isOn) return;
    feed.isOn = isOn;
    if (isOn) follow();
    else running.abort();
    hear(false);
  }

  function hear(isHeard) {
    feed.isHeard = isHeard;
    tell("state");
  }

  function follow() {
    const mine = new AbortController();
    running = mine;
    // Nobody keeps what is missing: from now on, then.
    const again = () => {
      mine.abort();
      follow();
      tell("missed");
    };
    api.stream("/api/watch", {
      query: place,
      signal: mine.signal,
      onOpen: () => hear(true),
      onDown: (error) => {
        hear(false);
        if (error.code === "compacted") again();
        else if (error.status >= 400 && error.status < 429) turn(false);
      },
      onEvent: ({ event, text }) => {
        if (event === "message") take(text);
        else if (event === "compacted") again();
      },
    });
  }

  function take(text) {
    const { op, id, rev, doc } = Object.fromEntries(itemsOf(text).items.map(({ name, from, to }) => [name, text.slice(from, to)]));
    // Dropped, or renamed.
    if (id === undefined) return tell("missed");
    if (batch.size === 0) setTimeout(flush, BATCH_MS);
    batch.set(id, { id: plain(id), rev: Number(rev), text: doc, isGone: plain(op) === "delete" });
  }

  function flush() {
    const detail = [...batch.values()];
    batch.clear();
    if (feed.isOn) tell("changes", detail);
  }

  return feed;
}
