// Numbers and times as people read them. Each takes what the API gives, and "–" stands for what is not known.

export const UNKNOWN = "–";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0, useGrouping: true });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
// 2026-11-23: the same in every language.
const day = new Intl.DateTimeFormat("sv", { year: "numeric", month: "2-digit", day: "2-digit" });

const known = (n) => typeof n === "number" && Number.isFinite(n);

// 12 400: thin gaps, the same in every language.
export function count(n) {
  return known(n) ? whole.format(n).replaceAll(",", "\u202f") : UNKNOWN;
}

// 0.42, 7.1, 310, 12 400
export function short(n) {
  if (!known(n)) return UNKNOWN;
  if (n === 0) return "0";
  return Math.abs(n) >= 100 ? count(Math.round(n)) : String(Number(n.toPrecision(Math.abs(n) >= 10 ? 3 : 2)));
}

export function bytes(n) {
  if (!known(n)) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

export function percent(n) {
  return known(n) ? `${Math.round(n)} %` : UNKNOWN;
}

// 40 ms, 3.2 s, 5 min, 2 h 10 min, 3 d 4 h
export function duration(ms) {
  if (!known(ms)) return UNKNOWN;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const hours = Math.floor(min / 60);
  if (hours < 24) return `${hours} h ${min % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// "just now", "4 min ago"
export function ago(ms) {
  const passed = Date.now() - ms;
  return passed < 2000 ? "just now" : `${duration(passed)} ago`;
}

export function timeOf(ms) {
  return known(ms) ? clock.format(ms) : UNKNOWN;
}

export function dateOf(ms) {
  return known(ms) ? `${day.format(ms)} ${clock.format(ms)}` : UNKNOWN;
}
