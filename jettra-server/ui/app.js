// Starts the page: the frame, who is signed in, which page is shown.
//
// A page is a function `page(main, { route })` that fills `main` and returns what is to be called when it is left;
// `route` is what follows its name in the address: "#/data/shop/orders" gives ["shop", "orders"], decoded. With
// `go(route)` on it, the page stays while only its route changes.
// Query, Backups and Users get a row in PAGES when they exist; a row without `name` is not in the navigation.

import { api, session } from "./api.js";
import { fill, h, say, setText } from "./dom.js";
import { connectionNotice, protectedNotice } from "./notices.js";
import { live } from "./live.js";
import { clusterPage } from "./pages/cluster.js";
import { dataPage } from "./pages/data.js";
import { signInPage } from "./pages/sign-in.js";

const PAGES = [
  { path: "cluster", name: "Cluster", page: clusterPage },
  { path: "data", name: "Data", page: dataPage },
];

const nodeName = document.querySelector('meta[name="jettra-node"]').content;
const main = document.getElementById("main");
let leave = () => {};
// What is shown now: a page may take what follows its name without being left.
let shown = null;

function place() {
  const [path, ...route] = location.hash.replace(/^#\/?/, "").split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { page: PAGES.find((known) => known.path === path) ?? PAGES[0], route };
}

function show() {
  const signedIn = session.mode === "protected" || session.mode === "signed-in";
  const { page, route } = signedIn ? place() : { page: { path: "sign-in", name: "Sign in", page: signInPage }, route: [] };
  const wanted = `${session.mode}/${page.path}/${route.map(encodeURIComponent).join("/")}`;
  if (wanted === shown) return;
  const isFirst = shown === null;
  const stays = leave.go && shown?.startsWith(`${session.mode}/${page.path}/`);
  shown = wanted;
  if (stays) return leave.go(route);
  leave();
  document.title = `${nodeName} · ${page.name} · JettraDB`;
  main.classList.remove("stale");
  leave = page.page(main, { route }) ?? (() => {});
  frame(page, signedIn);
  if (!isFirst) main.focus({ preventScroll: true });
}

const theme = h("select", { "aria-label": "Colours", class: "small" },
  ["system", "light", "dark"].map((name) => h("option", { value: name }, name[0].toUpperCase() + name.slice(1))));
theme.value = document.documentElement.dataset.theme ?? "system";
theme.addEventListener("change", () => {
  if (theme.value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem("jettra-theme", theme.value);
  } catch { /* it holds until the page is left */ }
});

function frame(current, signedIn) {
  const links = PAGES.filter((page) => page.name).map((page) => h("li", null,
    h("a", { href: `#/${page.path}`, "aria-current": page.path === current.path ? "page" : null }, page.name)));
  fill(document.getElementById("top"),
    h("a", { class: "brand", href: "#/cluster" }, h("img", { src: "/ui/icon.svg", alt: "", width: 26, height: 26 }), "JettraDB"),
    signedIn ? h("nav", { "aria-label": "Pages" }, h("ul", null, links)) : null,
    h("div", { class: "top-end" },
      h("span", { class: "who", title: nodeName }, nodeName),
      theme,
      session.mode === "signed-in"
        ? h("button", { type: "button", class: "small", onclick: () => session.end(), title: `Signed in as ${session.user}` }, "Sign out")
        : null));
}

session.addEventListener("change", () => {
  const on = session.mode === "protected" || session.mode === "signed-in";
  if (on) live.start();
  else live.stop();
  if (session.mode === "signed-out") say("signed out");
  show();
});
addEventListener("hashchange", show);
// The address is the router's.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
fill(document.getElementById("notices"), protectedNotice(), connectionNotice());
live.addEventListener("connection", () => main.classList.toggle("stale", live.isDown));

async function start() {
  const waiting = h("p", { class: "empty" }, h("span", { class: "spinner" }), " Asking the node …");
  fill(main, waiting);
  for (;;) {
    try {
      return await session.probe();
    } catch (error) {
      setText(waiting, `${error.message} Trying again …`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

// For tests and for the curious: the page's own client.
export { api };
await start();
