// Owns the dead letters: those with the same reason stand together, with the reason once, and what can be done with one, with
// a group, or with all of them.

import * as format from "./format.js";
import { $, arrange, el, setText, show } from "./dom.js";
import { ask } from "./dialog.js";
import { call } from "./api.js";
import { item } from "./files.js";

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
let files = [];
let asked = -Infinity;
let stamp = "";
const groups = new Map();

$("replay-all").addEventListener("click", () => askReplay(files, total, null));
$("drop-all").addEventListener("click", () => askDrop(files, total, null));

/** Keeps the dead letters in step with how many there are and with what was heard of them. */
export function showDead(count, heard) {
  if (stamp === `${count}/${heard}` || performance.now() - asked < PAUSE_MS) return;
  stamp = `${count}/${heard}`;
  refresh();
}

async function refresh() {
  asked = performance.now();
  try {
    ({ files, total } = await call("GET", `dead?limit=${LOOKED_AT}`));
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
      el("button", { type: "button", class: "replay-group", "aria-label": `Replay all with the reason: ${reason}`, onclick: () => askReplay(this.files, this.files.length, reason) }, "Replay these"),
      el("button", { type: "button", class: "drop-group", "aria-label": `Throw away all with the reason: ${reason}`, onclick: () => askDrop(this.files, this.files.length, reason) }, "Throw these away"));
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
  const name = `file ${file.number}, “${file.title}”`;
  return item(file, false, el("p", { class: "buttons" },
    el("button", { type: "button", class: "replay", "data-needs": "operate", "aria-label": `Replay ${name}`, onclick: () => askReplay([file], 1, null) }, "Replay"),
    el("button", { type: "button", class: "throw", "data-needs": "operate", "aria-label": `Throw away ${name}`, onclick: () => askDrop([file], 1, null) }, "Throw away")));
}

/** These files in words: `reason` is what they have in common, if they are not simply all. */
function called(some, count, reason) {
  if (some.length === 1 && count === 1) return `file ${some[0].number}, “${some[0].title}”`;
  return reason === null ? `all ${format.count(count)} dead letters` : `${format.files(count)}`;
}

function askReplay(some, count, reason) {
  const alone = some.length === 1 && count === 1;
  ask({
    title: `Replay ${called(some, count, reason)}?`,
    lines: [
      `${alone ? "It goes" : "They go"} to the servers again. What still nobody can take comes back here.`,
      ...(reason ?? (alone ? some[0].reason ?? NO_REASON : "")) ? [`Dead because: ${reason ?? some[0].reason ?? NO_REASON}`] : [],
    ],
    confirm: alone ? "Replay" : `Replay ${format.count(count)}`,
    home: $("dead"),
    run: reason === null && !alone ? all("dead/replay", "on the way again")
      : each(some, (number, signal) => call("POST", `dead/${number}/replay`, undefined, signal), "on the way again"),
    stopped,
  });
}

function askDrop(some, count, reason) {
  const bytes = some.reduce((sum, file) => sum + file.size, 0);
  const lines = [`${count === 1 ? "Its" : "Their"} ${format.bytes(bytes)} are gone for good: no server has them, and nobody can bring them back.`];
  if (count > some.length) lines.push(`Only the oldest ${format.count(some.length)} of ${format.files(count)} are thrown away at once; the others come up then.`);
  if (reason) lines.push(`Dead because: ${reason}`);
  ask({
    title: `Throw away ${called(some, some.length, reason)}?`,
    lines,
    confirm: some.length === 1 ? "Throw away" : `Throw away ${format.count(some.length)}`,
    danger: true,
    home: $("dead"),
    run: each(some, (number, signal) => call("DELETE", `dead/${number}`, undefined, signal), "thrown away"),
    stopped,
  });
}

let done = 0;

function stopped() {
  outcome(done, "");
  return done > 0
    ? `You stopped it: ${format.files(done)} ${done === 1 ? "was" : "were"} done, one more perhaps; the others are as they were.`
    : "You stopped waiting for the balancer. It may have taken the order all the same: look at the list.";
}

/** Gives orders about all files, also those that are not shown: each goes on where the one before it reached its limit. */
function all(path, what) {
  return async (_, { signal, progress }) => {
    done = 0;
    let more = "";
    do {
      const answer = await call("POST", path + more, undefined, signal);
      done += answer.files;
      more = answer.after ? `?after=${answer.after}&up_to=${answer.up_to}` : "";
      if (more !== "") progress(`${format.files(done)} so far …`);
    } while (more !== "");
    return outcome(done, what);
  };
}

/** Gives one order for each file, and says how far it is. A file that somebody else has dealt with meanwhile is left out. */
function each(some, order, what) {
  return async (_, { signal, progress }) => {
    done = 0;
    let gone = 0;
    for (const { number } of some) {
      if (some.length > 1) progress(`${format.count(done)} of ${format.count(some.length)} …`);
      try {
        await order(number, signal);
        done += 1;
      } catch (failure) {
        if (signal.aborted) throw failure;
        if (failure.status !== 404 || some.length === 1) {
          outcome(done, what);
          throw some.length === 1 ? failure : new Error(`${format.files(done)} of ${format.count(some.length)} ${what}; then: ${failure.message}`);
        }
        gone += 1;
      }
    }
    return outcome(done, what) + (gone > 0 ? ` ${format.files(gone)} ${gone === 1 ? "was" : "were"} no dead letter any more.` : "");
  };
}

function outcome(count, what) {
  stamp = "";
  asked = -Infinity;
  refresh();
  return `${format.files(count)} ${count === 1 ? "is" : "are"} ${what}.`;
}
