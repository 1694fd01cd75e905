// Lines over the last 15 minutes, drawn as SVG: a lane for each quantity, one time axis for all of them. Where there
// are figures of less time, it is 5 or 2 minutes.
//
//   const plot = new Plot({ label, lanes: [{ name, unit, height, floor, series: [{ name, colour, dashed, fill }] }] })
//   plot.element;  plot.draw(times, lanes)   times: ms, oldest first; lanes[i][j][k]: number or null
//   plot.setSeries(lane, series)             where the lines come and go, such as one for each peer
//
// A gap of more than 6 seconds is a gap in the line: nobody measured, so nothing is drawn.

import { fill, h, svg } from "./dom.js";
import { short, timeOf } from "./format.js";

// How much is shown, and where the axis has its marks; fewer where it is narrow. Seconds.
const SPANS = [
  { span: 120, marks: [120, 90, 60, 30, 0], few: [120, 60, 0] },
  { span: 300, marks: [300, 240, 180, 120, 60, 0], few: [300, 180, 60, 0] },
  { span: 900, marks: [900, 720, 540, 360, 180, 0], few: [900, 600, 300, 0] },
];
const GAP_MS = 6000;
const LEFT = 52;
const RIGHT = 10;
const BETWEEN = 34;
const BOTTOM = 20;

export class Plot {
  #lanes;
  #svg = svg("svg", { class: "plot", role: "img" });
  #legend = h("ul", { class: "plot-legend" });
  #reading = h("p", { class: "plot-reading muted small-text" });
  #drawn = null;
  #width = 600;
  #pointed = null;

  constructor({ label, lanes }) {
    this.#lanes = lanes;
    this.#svg.setAttribute("aria-label", label);
    this.element = h("figure", { class: "plot-box" }, this.#svg, this.#legend, this.#reading);
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width > 0 && width !== this.#width) {
        this.#width = width;
        this.#paint();
      }
    }).observe(this.element);
    this.#svg.addEventListener("pointermove", (event) => {
      this.#pointed = event.clientX - this.#svg.getBoundingClientRect().left;
      this.#paint();
    });
    this.#svg.addEventListener("pointerleave", () => {
      this.#pointed = null;
      this.#paint();
    });
    this.#paintLegend();
  }

  setSeries(lane, series) {
    const names = (list) => list.map((s) => `${s.name}/${s.colour}`).join();
    if (names(this.#lanes[lane].series) === names(series)) return;
    this.#lanes[lane].series = series;
    this.#paintLegend();
  }

  draw(times, values) {
    this.#drawn = { times, values };
    this.#paint();
  }

  #paintLegend() {
    const all = this.#lanes.flatMap((lane) => lane.series);
    fill(this.#legend, all.map((s) => h("li", null,
      svg("svg", { width: 22, height: 10, "aria-hidden": "true" },
        svg("line", { x1: 1, x2: 21, y1: 5, y2: 5, stroke: `var(${s.colour})`, "stroke-width": 2.5, "stroke-dasharray": s.dashed ? "4 3" : null })),
      s.name)));
  }

  #paint() {
    const { times = [], values = [] } = this.#drawn ?? {};
    const end = times.at(-1) ?? Date.now();
    const { span, marks, few } = SPANS.find((s) => end - (times[0] ?? end) <= s.span * 1000) ?? SPANS.at(-1);
    const begin = end - span * 1000;
    const inner = Math.max(this.#width - LEFT - RIGHT, 50);
    const x = (time) => LEFT + ((time - begin) / (end - begin)) * inner;
    const parts = [];
    let top = 24;
    for (const [at, lane] of this.#lanes.entries()) {
      const lines = values[at] ?? [];
      const most = Math.max(lane.floor, ...lines.flat().filter((v) => v !== null && v !== undefined));
      const ticks = nice(most);
      const y = (value) => top + lane.height - (value / ticks.at(-1)) * lane.height;
      parts.push(svg("text", { x: 0, y: top - 12, class: "plot-axis-name" }, `${lane.name}, ${lane.unit}`));
      for (const tick of ticks) {
        parts.push(svg("line", { x1: LEFT, x2: LEFT + inner, y1: y(tick), y2: y(tick), class: tick === 0 ? "plot-axis" : "plot-grid" }),
          svg("text", { x: LEFT - 6, y: y(tick) + 4, class: "plot-tick end" }, short(tick)));
      }
      for (const [which, series] of lane.series.entries()) {
        const runs = segments(times, lines[which] ?? [], begin);
        const colour = `var(${series.colour})`;
        for (const run of runs) {
          const path = run.map(([time, value], n) => `${n ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("");
          if (series.fill) {
            parts.push(svg("path", { d: `${path}L${x(run.at(-1)[0]).toFixed(1)} ${y(0)}L${x(run[0][0]).toFixed(1)} ${y(0)}Z`, fill: colour, opacity: .12 }));
          }
          if (run.length === 1) parts.push(svg("circle", { cx: x(run[0][0]), cy: y(run[0][1]), r: 1.75, fill: colour }));
          else parts.push(svg("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.75, "stroke-linejoin": "round", "stroke-dasharray": series.dashed ? "4 3" : null }));
        }
      }
      top += lane.height + BETWEEN;
    }
    const base = top - BETWEEN;
    for (const back of this.#width < 420 ? few : marks) {
      const at = x(end - back * 1000);
      const label = back === 0 ? "now" : back % 60 ? `−${back} s` : `−${back / 60} min`;
      parts.push(svg("line", { x1: at, x2: at, y1: base, y2: base + 4, class: "plot-axis" }),
        svg("text", { x: at, y: base + 16, class: back === 0 ? "plot-tick end" : back === span ? "plot-tick" : "plot-tick middle" }, label));
    }
    this.#read(times, values, x, base, parts);
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${base + BOTTOM}`);
    this.#svg.setAttribute("height", base + BOTTOM);
    fill(this.#svg, parts);
  }

  // The values under the pointer, else the newest ones, in words.
  #read(times, values, x, base, parts) {
    let at = times.length - 1;
    if (this.#pointed !== null && times.length > 0) {
      const far = (time) => Math.abs(x(time) - this.#pointed);
      at = times.reduce((best, time, n) => (far(time) < far(times[best]) ? n : best), 0);
      const line = x(times[at]);
      parts.push(svg("line", { x1: line, x2: line, y1: 24, y2: base, class: "plot-pointer" }));
    }
    const told = this.#lanes.flatMap((lane, l) => lane.series.map((series, s) => {
      const value = values[l]?.[s]?.[at];
      return value === null || value === undefined ? null : `${series.name} ${short(value)} ${lane.unit}`;
    })).filter(Boolean);
    const text = at < 0 ? "Nothing measured yet: the first figures come within seconds." : `${timeOf(times[at])}: ${told.join(" · ") || "nothing to tell"}`;
    if (this.#reading.textContent !== text) this.#reading.textContent = text;
  }
}

function segments(times, values, begin) {
  const runs = [];
  let last = null;
  for (const [n, time] of times.entries()) {
    const value = values[n];
    if (value === null || value === undefined || time < begin) {
      last = null;
      continue;
    }
    if (last === null || time - last > GAP_MS) runs.push([]);
    runs.at(-1).push([time, value]);
    last = time;
  }
  return runs;
}

// From 0 to something round that is not below `most`, in two to four steps.
function nice(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [.5, 1, 2, 2.5, 5, 10].map((n) => n * power).find((s) => most / s <= 3) ?? 10 * power;
  const ticks = [];
  for (let n = 0; n * step < most + step; n += 1) ticks.push(Number((n * step).toPrecision(6)));
  return ticks;
}
