// Owns making and changing elements. Invariant: what came over the network gets into the document as text only, and a
// node whose text is already right is not touched.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** An element with properties (`class`, `data-…`, `aria-…`, `on…` among them) and children; a string is a text. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** The shape of a state, which the text beside it names. */
export function icon(name) {
  const node = svg("svg", { class: "icon", "aria-hidden": "true" });
  node.append(svg("use", { href: `#i-${name}` }));
  return node;
}

export function setIcon(node, name) { setAttribute(node.firstElementChild, "href", `#i-${name}`); }

export function setText(node, text) { if (node.textContent !== text) node.textContent = text; }

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function show(node, whether) { if (node.hidden === whether) node.hidden = !whether; }

/** Makes these the children, in this order, and moves none that is in its place. The focus stays where it is. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  for (const child of Array.from(parent.children)) if (!wanted.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const node of nodes) {
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
}

/** Fills a bar to a share of 0 to 1, and puts its mark, if it has one. */
export function setBar(bar, share, mark) {
  const percent = (value) => `${(Math.min(Math.max(value, 0), 1) * 100).toFixed(1)}%`;
  bar.firstElementChild.style.width = percent(share);
  if (bar.children[1]) bar.children[1].style.left = percent(mark);
}

/** Draws numbers, the newest last and up to 60, as a line over an area. `top` is the number at the upper edge. */
export function spark(node, numbers, top) {
  if (!node.firstChild) {
    setAttribute(node, "viewBox", "0 0 59 20");
    setAttribute(node, "preserveAspectRatio", "none");
    node.append(svg("path", { class: "area" }), svg("path", { class: "stroke" }));
  }
  const start = 60 - numbers.length;
  const points = numbers.map((number, place) => `${start + place} ${(19 - (18 * number) / Math.max(top, 1)).toFixed(1)}`);
  const line = points.length > 0 ? `M${points.join("L")}` : "";
  setAttribute(node.children[0], "d", line && `${line}V20H${start}Z`);
  setAttribute(node.children[1], "d", line);
}

/** How long an outcome stays, in milliseconds; what went wrong stays longer. */
const TOLD_MS = { info: 8000, warn: 30000 };

let toldTimer;

/** Tells an outcome at the edge of the page, and to screen readers. */
export function tell(text, level = "info") {
  $("told").textContent = text;
  clearTimeout(toldTimer);
  toldTimer = setTimeout(() => { $("told").textContent = ""; }, TOLD_MS[level]);
}

/** Puts a text on the clipboard, and says so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    tell(`Copied: ${text}`);
  } catch {
    // Browsers give the clipboard to pages over TLS or of this machine only.
    tell(`This browser does not let the page copy. The text is: ${text}`, "warn");
  }
}

/** A port with its colon has at most so many characters: the style sheet keeps room for them. */
const PORT = 6;

/** A name in one line that is cut before its port where there is no room for it; its title has all of it. */
export function nameLine(name) {
  const cut = Math.max(name.lastIndexOf(":"), name.length - PORT, 1);
  return el("span", { class: "name", title: name }, el("span", { class: "front" }, name.slice(0, cut)), name.slice(cut));
}

/** Tells screen readers only. */
export function announce(text) { $("announce").textContent = text; }

/** More changes of a list than this at once are told as a number. */
const MAX_TOLD = 3;

/** What has changed in a list of servers or members since it was last shown, in words to announce; "" if nothing has. `key` and
 * `state` tell what one is and how it is, and `words` what is said of it. */
export function changes(kind, before, now, { key, state, words }) {
  const states = new Map(before.map((one) => [key(one), state(one)]));
  const changed = now.filter((one) => states.has(key(one)) && states.get(key(one)) !== state(one));
  return changed.length > MAX_TOLD ? `${changed.length} ${kind} changed their state` : changed.map(words).join(". ");
}
