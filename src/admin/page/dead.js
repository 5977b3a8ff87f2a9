// Owns the dead letters: those with the same reason stand together, with the reason once, and what can be done with one, with
// a group, or with all of them.

import * as format from "./format.js";
import { $, arrange, el, setText, show } from "./dom.js";
import { all, each } from "./bulk.js";
import { ask } from "./dialog.js";
import { call } from "./api.js";
import { item, saveLink } from "./files.js";

/** The most dead letters that are looked at: as many as the balancer lists at once. */
const LOOKED_AT = 1000;

/** Files of a group that are shown at first, and how many more each time. */
const SHOWN = 3;
const MORE = 20;

/** Dead letters are asked for at most this often. */
const PAUSE_MS = 2000;

const NONE = "No dead letters: every file found a server that takes it, or still waits for one.";
const NO_REASON = "no server can take it";

let total = 0;
let bytes = 0;
let files = [];
let asked = -Infinity;
let stamp = "";
const groups = new Map();

$("replay-all").addEventListener("click", () => askReplay(files, total));
$("drop-all").addEventListener("click", () => askDrop(files, total));

/** Keeps the dead letters in step with how many there are and with what was heard of them. */
export function showDead(count, heard) {
  if (stamp === `${count}/${heard}` || performance.now() - asked < PAUSE_MS) return;
  stamp = `${count}/${heard}`;
  refresh();
}

async function refresh() {
  asked = performance.now();
  try {
    ({ files, total, total_bytes: bytes } = await call("GET", `dead?limit=${LOOKED_AT}`));
    draw();
  } catch (error) {
    stamp = "";
    setText($("dead-note"), error.message);
    show($("dead-note"), true);
  }
}

function draw() {
  const alike = new Map();
  for (const file of files) {
    const reason = file.reason ?? NO_REASON;
    alike.set(reason, [...(alike.get(reason) ?? []), file]);
  }
  for (const reason of groups.keys()) if (!alike.has(reason)) groups.delete(reason);
  // The largest first: with one replay most is done.
  const largest = [...alike].sort(([, one], [, other]) => other.length - one.length);
  arrange($("dead-list"), largest.map(([reason, some]) => {
    if (!groups.has(reason)) groups.set(reason, new Group(reason));
    return groups.get(reason).update(some);
  }));
  const rest = total > files.length ? `Here are the oldest ${format.count(files.length)} of ${format.files(total)}.` : "";
  setText($("dead-note"), total === 0 ? NONE : rest);
  show($("dead-note"), total === 0 || rest !== "");
  show($("dead-all"), total > 0);
}

/** Dead letters with the same reason. */
class Group {
  constructor(reason) {
    this.reason = reason;
    this.limit = SHOWN;
    this.items = new Map();
    this.count = el("strong");
    this.size = el("span", { class: "size" });
    this.list = el("ul", { class: "files" });
    this.more = el("button", { type: "button", class: "link more-of", onclick: () => { this.limit += MORE; this.update(this.files); } });
    this.buttons = el("p", { class: "buttons", "data-needs": "operate" },
      el("button", { type: "button", class: "replay-group", "aria-label": `Replay all with the reason: ${reason}`, onclick: () => askReplay(this.files) }, "Replay these"),
      el("button", { type: "button", class: "drop-group", "aria-label": `Throw away all with the reason: ${reason}`, onclick: () => askDrop(this.files) }, "Throw these away"));
    this.node = el("li", { class: "group" },
      el("p", { class: "reason" }, this.count, " ", this.size, " ", el("span", { class: "why" }, reason)), this.buttons, this.list, this.more);
  }

  update(some) {
    this.files = some;
    setText(this.count, format.files(some.length));
    setText(this.size, format.bytes(some.reduce((sum, file) => sum + file.size, 0)));
    // One file has its own buttons.
    show(this.buttons, some.length > 1);
    // An item whose file is as it was stays, with its focus and open or not.
    const before = this.items;
    this.items = new Map(some.slice(0, this.limit).map((file) => {
      const key = JSON.stringify(file);
      return [key, before.get(key) ?? deadItem(file)];
    }));
    arrange(this.list, [...this.items.values()]);
    const rest = some.length - this.items.size;
    show(this.more, rest > 0);
    setText(this.more, `Show ${format.count(Math.min(rest, MORE))} more of ${format.count(rest)}`);
    return this.node;
  }
}

function deadItem(file) {
  const name = called([file]);
  return item(file, false, el("p", { class: "buttons", "data-needs": "operate" },
    el("button", { type: "button", class: "replay", "aria-label": `Replay ${name}`, onclick: () => askReplay([file]) }, "Replay"),
    saveLink("dead", file, name),
    el("button", { type: "button", class: "throw", "aria-label": `Throw away ${name}`, onclick: () => askDrop([file]) }, "Throw away")));
}

/** Files in words: these, or all that there are, if `count` says how many. */
function called(some, count) {
  if (some.length === 1 && (count ?? 1) === 1) return `file ${some[0].number}, “${some[0].title}”`;
  return count === undefined ? format.files(some.length) : `all ${format.count(count)} dead letters`;
}

/** What these files have in common. */
function because(some, count) { return count === undefined ? [`Dead because: ${some[0].reason ?? NO_REASON}`] : []; }

function askReplay(some, count) {
  const many = count ?? some.length;
  ask({
    title: `Replay ${called(some, count)}?`,
    lines: [`${many === 1 ? "It goes" : "They go"} to the servers again. What still nobody can take comes back here.`, ...because(some, count)],
    confirm: many === 1 ? "Replay" : `Replay ${format.count(many)}`,
    home: $("dead"),
    ...(count === undefined ? each(some, "POST", (number) => `dead/${number}/replay`, "on the way again", again)
      : all("dead/replay", "all=true", "on the way again", again)),
  });
}

function askDrop(some, count) {
  const many = count ?? some.length;
  const lost = count === undefined ? some.reduce((sum, file) => sum + file.size, 0) : bytes;
  ask({
    title: `Throw away ${called(some, count)}?`,
    lines: [`${many === 1 ? "Its" : "Their"} ${format.bytes(lost)} are gone for good: no server has them, and nobody can bring them back.`, ...because(some, count)],
    confirm: many === 1 ? "Throw away" : `Throw away ${format.count(many)}`,
    danger: true,
    home: $("dead"),
    ...(count === undefined ? each(some, "DELETE", (number) => `dead/${number}`, "thrown away", again)
      : all("dead/drop", "all=true", "thrown away", again)),
  });
}

/** Asks for the list anew. */
function again() {
  stamp = "";
  asked = -Infinity;
  refresh();
}
