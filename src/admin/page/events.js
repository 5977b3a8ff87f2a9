// Owns the list of the last events, newest first, each once and no more than a bound, and which of them are shown.

import * as format from "./format.js";
import { $, arrange, el, icon, setText, show } from "./dom.js";
import { find } from "./files.js";

/** How many events are shown at first, and how many more each time. */
const SHOWN = 14;
const MORE = 40;

/** How many events are told apart: more than a balancer keeps and sends again. */
const KNOWN = 512;

const LEVELS = ["info", "warn", "error"];

/** Kinds after which there are other dead letters than before. */
const DEAD_KINDS = ["dead", "replayed", "dropped"];

/** What was heard, oldest first, with its line: the balancer sends again what it still knows whenever a stream opens. */
const known = new Map();
let ofDead = 0;
let limit = SHOWN;
let drawing = false;

for (const id of ["event-level", "event-text"]) $(id).addEventListener("input", () => { limit = SHOWN; draw(); });
$("events-more").addEventListener("click", () => { limit += MORE; draw(); });

/** How many events about dead letters were heard. */
export function heardOfDead() { return ofDead; }

/** Adds an event unless it is there. */
export function showNotice(notice) {
  const key = `${notice.at_ms} ${notice.id}`;
  if (known.has(key)) return;
  known.set(key, { notice, line: null });
  if (DEAD_KINDS.includes(notice.kind)) ofDead += 1;
  if (known.size > KNOWN) known.delete(known.keys().next().value);
  // Hundreds may come at once.
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => { drawing = false; draw(); });
}

function draw() {
  const least = Number($("event-level").value);
  const words = $("event-text").value.trim().toLowerCase();
  const matches = ({ notice }) =>
    levelOf(notice) >= least &&
    (!words || `${notice.server ?? ""} ${notice.kind} ${notice.text} ${notice.number === null ? "" : `file ${notice.number}`}`.toLowerCase().includes(words));
  const found = [...known.values()].filter(matches).reverse();
  const lines = found.slice(0, limit).map((event) => (event.line ??= line(event.notice)));
  arrange($("events"), lines);
  show($("no-events"), lines.length === 0);
  setText($("no-events"), known.size === 0 ? "Nothing has happened yet." : "No event is like that.");
  const rest = found.length - lines.length;
  show($("events-more"), rest > 0);
  setText($("events-more"), `Show ${Math.min(rest, MORE)} more of ${rest}`);
}

function levelOf(notice) { return Math.max(LEVELS.indexOf(notice.level), 0); }

function line(notice) {
  const level = LEVELS[levelOf(notice)];
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
