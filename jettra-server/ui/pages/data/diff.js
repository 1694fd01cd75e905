// The longest common subsequence of two texts' lines, and what differs.
//
//   diffLines(a, b)       [{ kind: "same" | "less" | "more", left?, right?, text }], left and right: line numbers from 1 on
//   pairs(changes)        the same as rows of two columns: [{ left?: change, right?: change }]

// A larger table is not filled in: then all between the ends counts as changed.
const CELLS = 4_000_000;

export function diffLines(a, b) {
  const [left, right] = [a.split("\n"), b.split("\n")];
  let head = 0;
  while (head < left.length && head < right.length && left[head] === right[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(left.length, right.length) - head && left.at(-1 - tail) === right.at(-1 - tail)) tail += 1;
  const middle = edits(left.slice(head, left.length - tail), right.slice(head, right.length - tail));
  let [l, r] = [0, 0];
  return [...Array(head).fill("same"), ...middle, ...Array(tail).fill("same")].map((kind) => {
    if (kind === "more") return { kind, right: ++r, text: right[r - 1] };
    return { kind, left: ++l, ...(kind === "same" ? { right: ++r } : {}), text: left[l - 1] };
  });
}

function edits(a, b) {
  const [n, m] = [a.length, b.length];
  const kinds = [];
  if ((n + 1) * (m + 1) > CELLS) return [...Array(n).fill("less"), ...Array(m).fill("more")];
  // common[i * (m + 1) + j]: how long the longest of a[i…] and b[j…] is.
  const common = new Uint32Array((n + 1) * (m + 1));
  const cell = (i, j) => i * (m + 1) + j;
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let j = m - 1; j >= 0; j -= 1) {
      common[cell(i, j)] = a[i] === b[j] ? common[cell(i + 1, j + 1)] + 1 : Math.max(common[cell(i + 1, j)], common[cell(i, j + 1)]);
    }
  }
  for (let [i, j] = [0, 0]; i < n || j < m;) {
    const kind = i < n && j < m && a[i] === b[j] ? "same" : j >= m || (i < n && common[cell(i + 1, j)] >= common[cell(i, j + 1)]) ? "less" : "more";
    i += kind !== "more";
    j += kind !== "less";
    kinds.push(kind);
  }
  return kinds;
}

export function pairs(changes) {
  const rows = [];
  // Where the next line of the right column goes.
  let at = 0;
  for (const change of changes) {
    if (change.kind !== "more") rows.push({ left: change });
    if (change.kind === "same") at = rows.length - 1;
    if (change.kind !== "less") {
      rows[at] = { ...rows[at], right: change };
      at += 1;
    }
  }
  return rows;
}
