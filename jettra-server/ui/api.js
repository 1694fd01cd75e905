// One client of the node's public API.
//
//   api.get(path, query) · post(path, body, query) · put · patch · delete(path, query)   → the answer's JSON
//   api.request(method, path, { query, body, headers, signal, timeout, read })
//         → { data, text, etag, index, status }: `text` keeps numbers as the node wrote them, `etag` is a revision;
//         read(answer) → text: takes a large answer in pieces
//   api.stream(path, { query, headers, signal, silence, onEvent, onOpen, onDown })
//         reads Server-Sent Events with fetch, so that the token goes along; begins again by itself, with Last-Event-ID;
//         onEvent({ event, data, id }), data already parsed; onDown(error, attempt) each time it breaks
//   session: an EventTarget; `session.mode` is "unknown" | "protected" | "signed-out" | "signed-in";
//         "change" when that changes; session.probe(), session.signIn(name, password), session.end(), session.signOut()
//   class ApiError: code, message, status, details. `code` is "unreachable" when there was no answer at all.
//
// The token lives in sessionStorage: it goes with the tab. A 401 anywhere ends the session in one place, here.

const TOKEN = "jettra-token";
const USER = "jettra-user";
// Tokens live 15 minutes and are renewed by use.
const KEEP_ALIVE_MS = 4 * 60 * 1000;

export class ApiError extends Error {
  constructor(code, message, status = 0, details = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.details = details;
  }

  // The node could not be asked: what is known of it is from before.
  get isUnreachable() {
    return this.code === "unreachable";
  }
}

class Session extends EventTarget {
  mode = "unknown";
  user = sessionStorage.getItem(USER);
  // Why nobody can sign in here, where that is so: protected mode seen from another machine.
  refusal = null;

  get token() {
    return sessionStorage.getItem(TOKEN);
  }

  set(mode, refusal = null) {
    if (mode === this.mode && refusal === this.refusal) return;
    this.mode = mode;
    this.refusal = refusal;
    this.dispatchEvent(new Event("change"));
  }

  // Asks the node who we are: without credentials first, since in protected mode it asks for none.
  async probe() {
    const answer = await send("GET", "/api/federated/config", { anonymous: true });
    const error = answer.ok ? null : await errorOf(answer);
    if (error === null || (error.status !== 401 && error.status !== 403)) {
      // Whatever else is wrong, such as waiting to be registered, credentials were not.
      this.forget();
      return this.set("protected");
    }
    if (error.status === 403) return this.set("signed-out", error.message);
    if (!this.token) return this.set("signed-out");
    const known = await send("GET", "/api/federated/config");
    if (known.status === 401) return this.signOut();
    return this.set("signed-in");
  }

  async signIn(username, password) {
    const answer = await api.request("POST", "/api/login", { body: { username, password }, login: true });
    sessionStorage.setItem(TOKEN, answer.data.token);
    sessionStorage.setItem(USER, username);
    this.user = username;
    this.set("signed-in");
  }

  forget() {
    sessionStorage.removeItem(TOKEN);
    sessionStorage.removeItem(USER);
    this.user = null;
  }

  // Ends the token on every node; where none answers it ends by itself, within 15 minutes.
  async end() {
    const ended = send("POST", "/api/logout", { query: { timeout: "5s" }, signal: AbortSignal.timeout(6_000) });
    this.signOut();
    await ended.catch(() => {});
  }

  // Forgets the token, which has ended.
  signOut() {
    this.forget();
    this.set("signed-out");
  }
}

export const session = new Session();

setInterval(() => {
  if (session.mode === "signed-in") api.get("/api/federated/config").catch(() => {});
}, KEEP_ALIVE_MS);

function address(path, query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined) parameters.set(name, value);
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

async function send(method, path, { query, body, headers, signal, anonymous } = {}) {
  const sent = { Accept: "application/json, text/event-stream", ...headers };
  if (!anonymous && session.token) sent.Authorization = session.token;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  try {
    return await fetch(address(path, query), {
      method,
      headers: sent,
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
      signal,
      // No cookies, and no dialog of the browser's own for a password.
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    throw lost(error, signal);
  }
}

function lost(error, signal) {
  if (signal?.aborted && signal.reason?.name !== "TimeoutError") return error;
  return new ApiError("unreachable", "this node gives no answer: is it running, and is the network well?");
}

async function errorOf(answer) {
  const body = await answer.json().catch(() => ({}));
  const { code = "internal", message = `the node answered with status ${answer.status}`, ...details } = body.error ?? {};
  return new ApiError(code, message, answer.status, details);
}

async function refuse(answer, login) {
  const error = await errorOf(answer);
  if (login) throw error;
  if (error.status === 401) session.signOut();
  else if (error.status === 403 && session.mode === "protected") session.set("signed-out", error.message);
  throw error;
}

export const api = {
  async request(method, path, { query, body, headers, signal, timeout = 70_000, login = false, read = (answer) => answer.text() } = {}) {
    const limit = AbortSignal.timeout(timeout);
    const both = signal ? AbortSignal.any([signal, limit]) : limit;
    const answer = await send(method, path, { query, body, headers, signal: both, anonymous: login });
    if (!answer.ok) await refuse(answer, login);
    let text;
    try {
      text = await read(answer);
    } catch (error) {
      throw lost(error, both);
    }
    const number = (name) => Number(answer.headers.get(name)?.replaceAll('"', "")) || null;
    return { get data() { return parse(text); }, text, etag: number("etag"), index: number("x-jettra-index"), status: answer.status };
  },
  get: async (path, query) => (await api.request("GET", path, { query })).data,
  post: async (path, body, query) => (await api.request("POST", path, { body, query })).data,
  put: async (path, body, query, headers) => (await api.request("PUT", path, { body, query, headers })).data,
  patch: async (path, body, query, headers) => (await api.request("PATCH", path, { body, query, headers })).data,
  delete: async (path, query, headers) => (await api.request("DELETE", path, { query, headers })).data,
  stream,
};

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// Reads events until `signal` aborts. `silence`: milliseconds without a byte after which the connection counts as lost.
async function stream(path, { query, headers, signal, silence = 15_000, onEvent, onOpen, onDown }) {
  let lastId = null;
  let attempt = 0;
  while (!signal?.aborted) {
    const given = new AbortController();
    const end = () => given.abort(signal?.reason);
    signal?.addEventListener("abort", end, { once: true });
    let watchdog = null;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => given.abort(new DOMException("silent", "TimeoutError")), silence);
    };
    try {
      heard();
      const resume = lastId === null ? {} : { "Last-Event-ID": lastId };
      const answer = await send("GET", path, { query, headers: { ...headers, ...resume }, signal: given.signal });
      if (!answer.ok) await refuse(answer, false);
      attempt = 0;
      const opened = Date.now();
      onOpen?.();
      await readEvents(answer.body, heard, (event) => {
        if (event.id !== null) lastId = event.id;
        onEvent(event);
      });
      // The node ended it in good order: it stops, or our rights changed. Asking again tells which.
      if (Date.now() - opened < 1000) throw new ApiError("unreachable", "this node ends each connection");
      clearTimeout(watchdog);
      await pause(50, signal);
      continue;
    } catch (error) {
      if (signal?.aborted) return;
      attempt += 1;
      onDown?.(error instanceof ApiError ? error : lost(error, given.signal), attempt);
    } finally {
      clearTimeout(watchdog);
      signal?.removeEventListener("abort", end);
    }
    await pause(Math.min(250 * 2 ** Math.min(attempt - 1, 3), 2000), signal);
  }
}

async function readEvents(body, heard, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = blank();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.map((l) => (l.endsWith("\r") ? l.slice(0, -1) : l))) {
      if (line === "") {
        if (event.lines.length > 0) {
          const text = event.lines.join("\n");
          onEvent({ event: event.event, id: event.id, text, data: parse(text) });
        }
        event = blank();
      } else {
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const said = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "event") event.event = said;
        else if (field === "data") event.lines.push(said);
        else if (field === "id") event.id = said;
      }
    }
  }
}

function blank() {
  return { event: "message", id: null, lines: [] };
}

export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
