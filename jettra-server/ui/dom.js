// Builds elements. Text only ever becomes text: nothing here, and nothing anywhere in this page, parses markup.
//
//   h("p", { class: "note", onclick: f }, "text", element, [more], null)   an element; null, false and undefined are left out
//   svg("circle", { r: 4 })                                                the same in SVG
//   fill(element, ...children)      replaces what is in it
//   setText(element, text)          changes text only where it differs, so that nothing is announced or painted for naught
//   setClass(element, name, on)
//   say(text)                       tells it to screen readers
//   copyButton(text, label)         a button that puts text on the clipboard
//   withCommand(sentence)           the same, with the command that is in it as code to copy
//   keyed(parent, items, key, make, update)   a list whose elements stay the same ones while their items change

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, properties, ...children) {
  return build(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return build(document.createElementNS(SVG, tag), properties, children);
}

function build(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

export function setText(element, text) {
  const wanted = text === null || text === undefined ? "" : String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
  return element;
}

export function setClass(element, name, on) {
  element.classList.toggle(name, Boolean(on));
  return element;
}

export function say(text) {
  setText(document.getElementById("status"), text);
}

export function copyButton(text, label = "Copy") {
  const button = h("button", { type: "button", class: "small ghost", "aria-label": `${label}: ${text}` }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without HTTPS the clipboard is closed to pages: the old way still works.
      const area = h("textarea", { class: "visually-hidden", value: text });
      (button.closest("dialog") ?? document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    setText(button, "Copied");
    say("copied");
    setTimeout(() => setText(button, label), 1500);
  });
  return button;
}

export function withCommand(sentence) {
  const found = /(?:jettra-shell|curl) .*["']/.exec(sentence ?? "");
  if (!found) return [sentence];
  const [command] = found;
  return [sentence.slice(0, found.index), h("code", null, command), " ", copyButton(command), sentence.slice(found.index + command.length)];
}

export function keyed(parent, items, key, make, update) {
  const kept = parent.keyedChildren ?? new Map();
  const next = new Map();
  let place = null;
  for (const item of items) {
    const id = key(item);
    const element = kept.get(id) ?? make(item);
    update?.(element, item);
    next.set(id, element);
    const wanted = place === null ? parent.firstChild : place.nextSibling;
    if (element !== wanted) parent.insertBefore(element, wanted);
    place = element;
  }
  // One that went to another list meanwhile stays there.
  for (const [id, element] of kept) if (!next.has(id) && element.parentNode === parent) element.remove();
  parent.keyedChildren = next;
}
