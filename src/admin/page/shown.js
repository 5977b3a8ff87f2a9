// Owns what a row remembers of what it shows. Invariant: an update touches only what has changed.

import { setBar } from "./dom.js";

export class Shown {
  constructor() { this.shown = new Map(); }

  /** Does something with a value unless it was done with this one. */
  put(what, value, apply) {
    if (this.shown.get(what) === value) return;
    this.shown.set(what, value);
    apply(value);
  }

  text(node, what, text) { this.put(what, text, () => { node.textContent = text; }); }

  title(node, what, text) { this.put(what, text, () => { node.title = text; }); }

  bar(node, what, share, mark) {
    const near = (value) => (value === undefined ? undefined : Math.round(value * 1000) / 1000);
    this.put(what, `${near(share)} ${near(mark)}`, () => setBar(node, near(share), near(mark)));
  }

  flag(node, kind, whether) { this.put(kind, whether, () => node.classList.toggle(kind, whether)); }
}
