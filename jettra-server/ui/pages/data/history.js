// What a document was: its versions, the difference between any two states, and going back to one.

import { failure } from "../../dialog.js";
import { fill, h } from "../../dom.js";
import { count, dateOf } from "../../format.js";
import { comparison } from "./compare.js";
import { waiting } from "./show.js";
import { nameOf, readVersion, restore, versions } from "./store.js";

const SHOWN = 100;

export function historyView(place, id, current, context) {
  const element = h("div", { class: "stack", id: "history" }, waiting());
  const outcome = h("div", { id: "difference", "aria-live": "polite" });
  // By version; the current state is "now".
  const texts = new Map(current ? [["now", current.text]] : []);
  const chosen = { older: null, newer: null };

  async function textOf(version) {
    if (!texts.has(version)) texts.set(version, await readVersion(place, id, version));
    return texts.get(version);
  }

  async function show() {
    const { older, newer } = chosen;
    if (!older || !newer) return fill(outcome, h("p", { class: "empty" }, "There is no other state to compare it with."));
    try {
      const [a, b] = [await textOf(older), await textOf(newer)];
      if (older === chosen.older && newer === chosen.newer) fill(outcome, comparison(a, b, [older, newer].map((state) => (state === "now" ? "Now" : `Revision ${state.split("_")[1]}`))));
    } catch (error) {
      fill(outcome, failure(error));
    }
  }

  async function goBack(version, when) {
    try {
      await restore(place, id, version, current?.rev ?? null);
      context.bar.tell(`${nameOf(id)} is again as of ${when}.`);
    } catch (error) {
      context.bar.fail(error);
    }
    context.changed();
  }

  function row(version) {
    const [time, rev] = version === "now" ? [null, current.rev] : version.split("_").map(Number);
    const when = time === null ? "now" : dateOf(time);
    const choice = (name, label) => {
      const input = h("input", { type: "radio", name, value: version, "aria-label": `${label} revision ${rev}` });
      input.checked = version === chosen[name];
      input.addEventListener("change", () => {
        chosen[name] = version;
        show();
      });
      return h("td", null, input);
    };
    return h("tr", null, choice("older", "Compare"), choice("newer", "with"), h("th", { scope: "row", class: "data-when" }, when, h("span", { class: "muted" }, ` · revision ${rev}`)),
      h("td", { class: "number" }, time === null || context.isReadOnly ? null
        : h("button", { type: "button", class: "small", "aria-label": `Restore revision ${rev}`, onclick: () => goBack(version, when) }, "Restore")));
  }

  async function load() {
    const states = [...texts.keys(), ...await versions(place, id)];
    [chosen.newer, chosen.older] = states;
    const head = (name) => h("th", { scope: "col" }, name);
    fill(element, states.length === 0 ? h("p", { class: "empty" }, "No state of it is kept.") : [
      h("div", { class: "data-versions" }, h("table", null, h("thead", null, h("tr", null, head("Compare"), head("with"), head("State of"), h("td"))), h("tbody", null, states.slice(0, SHOWN).map(row)))),
      states.length > SHOWN ? h("p", { class: "muted" }, `The newest ${SHOWN} of ${count(states.length)}.`) : null, outcome]);
    await show();
  }

  load().catch((error) => fill(element, failure(error)));
  return element;
}
