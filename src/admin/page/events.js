// Owns the list of the last events, newest first, each once and no more than a bound.

import * as format from "./format.js";
import { $, el, icon, show } from "./dom.js";
import { find } from "./files.js";

const SHOWN = 100;

/** How many events are told apart: more than a balancer keeps and sends again. */
const KNOWN = 512;

const LEVELS = ["info", "warn", "error"];

/** Kinds after which there are other dead letters than before. */
const DEAD_KINDS = ["dead", "replayed", "dropped"];

/** What was heard, oldest first: the balancer sends again what it still knows whenever a stream opens. */
const known = new Set();
let ofDead = 0;

/** How many events about dead letters were heard. */
export function heardOfDead() { return ofDead; }

/** Adds an event unless it is there. */
export function showNotice(notice) {
  const key = `${notice.at_ms} ${notice.id}`;
  if (known.has(key)) return;
  known.add(key);
  if (DEAD_KINDS.includes(notice.kind)) ofDead += 1;
  const list = $("events");
  list.prepend(line(notice));
  show($("no-events"), false);
  if (known.size > KNOWN) known.delete(known.values().next().value);
  if (list.children.length > SHOWN) list.lastElementChild.remove();
}

function line(notice) {
  const level = LEVELS.includes(notice.level) ? notice.level : "info";
  const number = notice.number ?? null;
  const look = () => { find(`#${number}`); $("find-text").focus(); };
  const text = el("span", { class: "text" }, notice.text);
  if (notice.server && !notice.text.includes(notice.server)) text.prepend(el("strong", {}, notice.server), " ");
  if (number !== null) text.append(" ", el("button", { type: "button", class: "link", onclick: look }, `file ${number}`));
  return el("li", { "data-level": level },
    el("time", { datetime: new Date(notice.at_ms).toISOString(), title: format.moment(notice.at_ms) }, format.time(notice.at_ms)),
    el("span", { class: "mark" }, icon(level), ` ${level === "info" ? notice.kind.replaceAll("_", " ") : level}`),
    text);
}
