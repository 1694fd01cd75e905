// What the filter box means, and looking for it: documents are read one after another, since the node does not filter.
//
//   filterOf(text)      a test of documents, or null for an empty box: all its words stand somewhere in it
//   search(…)           { docs, isLast, stoppedAt, looked }: up to `wanted`; stoppedAt: the _id where it gave up for now

import { plain, walk } from "./json.js";
import { readDocuments } from "./store.js";

// One search looks at so much, then asks whether to go on.
const [DOCUMENTS, CHARACTERS, STEP] = [10_000, 64 << 20, 500];

export function filterOf(text) {
  const terms = text.toLowerCase().split(/\s+/).filter(Boolean);
  return terms.length ? (doc) => {
    const words = wordsOf(doc.text).toLowerCase();
    return terms.every((term) => words.includes(term));
  } : null;
}

// Its names and values without escapes.
function wordsOf(text) {
  if (!text.includes("\\")) return text;
  const parts = [];
  walk(text, (kind, from, to) => { parts.push(plain(text.slice(from, to))); });
  return parts.join("");
}

export async function search(place, { test, after, wanted, signal, onProgress }) {
  const found = { docs: [], isLast: false, stoppedAt: null, looked: 0 };
  let [size, at] = [0, after];
  for (;;) {
    const { docs, isLast } = await readDocuments(place, { after: at, limit: STEP, signal });
    for (const doc of docs) {
      // There is one more than wanted: a next page.
      if (test(doc) && found.docs.push(doc) > wanted) return { ...found, docs: found.docs.slice(0, wanted) };
      found.looked += 1;
      size += doc.text.length;
    }
    if (isLast) return { ...found, isLast };
    at = docs.at(-1).id;
    onProgress(found.looked, found.docs.length);
    if (found.looked >= DOCUMENTS || size >= CHARACTERS) return { ...found, stoppedAt: at };
  }
}
