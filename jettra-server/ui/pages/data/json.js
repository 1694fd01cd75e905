// JSON as text. Numbers are never read: a 64-bit integer stays the digits that were written, and names keep their order.
//
//   walk(text, on)             one pass without recursion; throws what has `at`. on(kind, from, to), kind: "{" "[" "}" "]" "name"
//                              "string" "number" "word"; false ends it
//   fault(text)                what is wrong with a document: { message, at, line, column }, or null
//   print(text, emit, limit)   emit(kind, part) gives it indented; false when it was cut;   pretty(text, limit)  { text, isCut }
//   itemsOf(text)              what the outermost value has, as far as it goes: { items: [{ name, kind, from, to }], isWhole }
//   plain(literal)             the text that a literal stands for
//   seen(text, most)           text in which nothing is invisible: controls and marks of direction become escapes

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9.eE+-])/y;
const WORD = /true|false|null/y;
const DEEPEST = 127;

const wrong = (message, at) => Object.assign(new SyntaxError(message), { at });

function stringEnd(text, from) {
  for (let at = from + 1; at < text.length; at += 1) {
    const c = text.charCodeAt(at);
    if (c === 34) return at + 1;
    if (c < 32) throw wrong("a line break or control character in a text: write \\n or \\u00…", at);
    if (c === 92) {
      at += 1;
      if (!/^(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(text.slice(at, at + 5))) throw wrong("no escape of JSON: write \\\\ for a backslash", at - 1);
    }
  }
  throw wrong("this text has no end: a \" is missing", from);
}

export function walk(text, on) {
  const stack = [];
  let [at, expected] = [0, "value"];
  const skip = () => { while (" \n\r\t".includes(text[at] ?? "x")) at += 1; };
  const fail = (what) => { throw wrong(`${what} is expected ${at < text.length ? `and not ${text[at]}` : "and the text ends"}`, at); };
  for (;;) {
    skip();
    const [c, from, inside] = [text[at], at, stack.at(-1)];
    let kind = c;
    if (expected === "end") return at >= text.length || fail("nothing more");
    if ((c === "}" && inside === "{" && expected !== "name" && expected !== "value") || (c === "]" && inside === "[" && expected !== "value")) {
      stack.pop();
      at += 1;
      expected = stack.length ? "next" : "end";
    } else if (expected === "next") {
      if (c !== ",") fail(inside === "{" ? "a comma or }" : "a comma or ]");
      at += 1;
      expected = inside === "{" ? "name" : "value";
      continue;
    } else if (expected.startsWith("name")) {
      if (c !== "\"") fail("a name in quotes");
      at = stringEnd(text, at);
      const to = at;
      skip();
      if (text[at] !== ":") fail("a colon after the name");
      at += 1;
      expected = "value";
      if (on("name", from, to) === false) return false;
      continue;
    } else if (c === "{" || c === "[") {
      if (stack.push(c) > DEEPEST) throw wrong(`nested more than ${DEEPEST} levels deep`, at);
      at += 1;
      expected = c === "{" ? "name?" : "value?";
    } else {
      if (c === "\"") {
        [kind, at] = ["string", stringEnd(text, at)];
      } else {
        const pattern = /[-0-9]/.test(c) ? NUMBER : WORD;
        kind = pattern === NUMBER ? "number" : "word";
        pattern.lastIndex = at;
        if (!pattern.test(text)) fail(kind === "number" ? "a number as JSON has them" : "a value");
        at = pattern.lastIndex;
      }
      expected = stack.length ? "next" : "end";
    }
    if (on(kind, from, at) === false) return false;
  }
}

export function fault(text) {
  try {
    const start = text.search(/\S/);
    if (text[start] !== "{") throw wrong("a document is an object: it begins with {", Math.max(start, 0));
    walk(text, () => {});
    return null;
  } catch (error) {
    if (error.at === undefined) throw error;
    const before = text.slice(0, error.at).split("\n");
    return { message: error.message, at: error.at, line: before.length, column: [...before.at(-1)].length + 1 };
  }
}

export function print(text, emit, limit = Infinity) {
  let [depth, isFirst, isNamed, left] = [0, true, false, limit];
  const put = (kind, part) => {
    if (left > 0) emit(kind, part.length > left ? part.slice(0, left) : part);
    left -= part.length;
    return left >= 0;
  };
  const line = () => put("", `\n${"  ".repeat(depth)}`);
  return walk(text, (kind, from, to) => {
    const part = text.slice(from, to);
    if (kind === "}" || kind === "]") {
      depth -= 1;
      const wasEmpty = isFirst;
      isFirst = false;
      return (wasEmpty || line()) && put("", part);
    }
    if (!isNamed && depth > 0 && !((isFirst || put("", ",")) && line())) return false;
    isFirst = kind === "{" || kind === "[";
    isNamed = kind === "name";
    depth += isFirst;
    return put(isFirst ? "" : kind, part) && (!isNamed || put("", ": "));
  });
}

export function pretty(text, limit) {
  const parts = [];
  const isWhole = print(text, (_, part) => parts.push(part), limit);
  return { text: parts.join(""), isCut: !isWhole };
}

export function itemsOf(text) {
  const items = [];
  let [depth, item] = [0, {}];
  try {
    walk(text, (kind, from, to) => {
      const closes = kind === "}" || kind === "]";
      const opens = kind === "{" || kind === "[";
      depth -= closes;
      if (depth === 1) {
        if (kind === "name") item = { name: plain(text.slice(from, to)) };
        else if (opens) Object.assign(item, { kind, from });
        else {
          items.push(closes ? { ...item, to } : { ...item, kind, from, to });
          item = {};
        }
      }
      depth += opens;
    });
    return { items, isWhole: true };
  } catch (error) {
    if (error.at === undefined) throw error;
    return { items, isWhole: false };
  }
}

export const plain = (literal) => (literal[0] === "\"" ? JSON.parse(literal) : literal);

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

export function seen(text, most = Infinity) {
  const shown = text.slice(0, most).replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return text.length > most ? `${shown}…` : shown;
}
