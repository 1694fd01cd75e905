// The changes of one collection as they happen: GET /api/watch, told in batches.
//
//   feedOf(place)   an EventTarget. "changes": `detail` = [{ id, rev, text, isGone }], the last of each document; text undefined:
//                   no longer kept. "missed": changes were lost, read anew. "state": `isOn` or `isHeard` is another.
//     .turn(isOn)   follows, or does not

import { api } from "../../api.js";
import { itemsOf, plain } from "./json.js";

const BATCH_MS = 200;

class Feed extends EventTarget {
  isOn = false;
  isHeard = false;
  #place;
  #running = null;
  #batch = new Map();

  constructor(place) {
    super();
    this.#place = place;
  }

  turn(isOn) {
    if (isOn === this.isOn) return;
    this.isOn = isOn;
    if (isOn) this.#follow();
    else this.#running.abort();
    this.#hear(false);
  }

  #follow() {
    const running = new AbortController();
    this.#running = running;
    const again = () => {
      running.abort();
      this.#follow();
      this.#tell("missed");
    };
    api.stream("/api/watch", {
      query: this.#place,
      signal: running.signal,
      onOpen: () => this.#hear(true),
      onDown: (error) => {
        this.#hear(false);
        // Nobody keeps what is missing: from now on, then.
        if (error.code === "compacted") again();
        else if (error.status >= 400 && error.status < 429) this.turn(false);
      },
      onEvent: ({ event, text }) => {
        if (event === "message") this.#take(text);
        else if (event === "compacted") again();
      },
    });
  }

  #take(text) {
    const { op, id, rev, doc } = Object.fromEntries(itemsOf(text).items.map(({ name, from, to }) => [name, text.slice(from, to)]));
    // The collection was dropped or has another name.
    if (id === undefined) return this.#tell("missed");
    if (this.#batch.size === 0) setTimeout(() => this.#flush(), BATCH_MS);
    this.#batch.set(id, { id: plain(id), rev: Number(rev), text: doc, isGone: plain(op) === "delete" });
  }

  #flush() {
    const detail = [...this.#batch.values()];
    this.#batch.clear();
    if (this.isOn) this.dispatchEvent(new CustomEvent("changes", { detail }));
  }

  #hear(isHeard) {
    this.isHeard = isHeard;
    this.#tell("state");
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}

export const feedOf = (place) => new Feed(place);
