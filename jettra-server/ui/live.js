// What the node tells by itself: GET /api/cluster/stream, kept as the newest picture.
//
//   live.cluster    the body of GET /api/cluster, or null before the first one
//   live.samples    [{ time, writesPerSecond, commitMs: { p50, p99 } | null, lag: { node2: 0 } }], 15 minutes, oldest first
//   live.doctor     { healthy, findings } or null;   live.events   the journal, newest first
//   live.isDown, live.downSince, live.error    whether the node answers
//   live is an EventTarget: "cluster", "samples", "doctor", "events", "connection"

import { api, session } from "./api.js";

const KEEP_MS = 15 * 60 * 1000;
const KEEP_EVENTS = 500;
// The node says something each second.
const SILENCE_MS = 5000;

class Live extends EventTarget {
  cluster = null;
  samples = [];
  doctor = null;
  events = [];
  isDown = false;
  downSince = null;
  error = null;
  #running = null;

  start() {
    if (this.#running) return;
    const running = new AbortController();
    this.#running = running;
    api.stream("/api/cluster/stream", {
      signal: running.signal,
      silence: SILENCE_MS,
      onOpen: () => this.#connection(null),
      onDown: (error) => {
        if (error.status === 401 || error.status === 403) return;
        this.#connection(error);
      },
      onEvent: (event) => this.#take(event),
    });
  }

  stop() {
    this.#running?.abort();
    this.#running = null;
    Object.assign(this, { cluster: null, samples: [], doctor: null, events: [], isDown: false, downSince: null, error: null });
    this.#tell("connection");
  }

  #connection(error) {
    this.error = error;
    if (this.isDown !== (error !== null)) {
      this.isDown = error !== null;
      this.downSince = this.isDown ? Date.now() : null;
      // It may have come back without its password, or with one.
      if (!this.isDown && session.mode === "protected") session.probe().catch(() => {});
    }
    this.#tell("connection");
  }

  #take({ event, data }) {
    if (data === null) return;
    if (event === "cluster") {
      // Another cluster at the same address has another journal.
      if (this.cluster && this.cluster.clusterId !== data.clusterId) this.events = [];
      this.cluster = data;
    }
    else if (event === "samples") this.samples = data;
    else if (event === "sample") {
      const from = data.time - KEEP_MS;
      this.samples = this.samples.filter((s) => s.time >= from && s.time < data.time);
      this.samples.push(data);
    } else if (event === "doctor") this.doctor = data;
    else if (event === "events") {
      const known = new Set(this.events.map(eventKey));
      const fresh = data.filter((e) => !known.has(eventKey(e)));
      this.events = [...fresh.reverse(), ...this.events].sort((a, b) => b.rev - a.rev || b.time - a.time).slice(0, KEEP_EVENTS);
    }
    this.#tell(event === "sample" ? "samples" : event);
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}

export const eventKey = (e) => `${e.rev}/${e.kind}/${e.node ?? ""}/${e.message}`;

export const live = new Live();
