// Owns the list of the files that wait, oldest first. It is asked for while somebody can see it, and at most so often.

import * as format from "./format.js";
import { $, arrange, el, setText, show } from "./dom.js";
import { all, each } from "./bulk.js";
import { ask } from "./dialog.js";
import { call } from "./api.js";
import { item, saveLink } from "./files.js";

const SHOWN = 10;
const MORE = 40;

/** The most that are shown: as many as the balancer lists at once. */
const MOST = 1000;

const PAUSE_MS = 3000;

let isSeen = false;
let limit = SHOWN;
let asked = -Infinity;
let waits = 0;
/** How many waited when the list was made. */
let listed = 0;
let items = new Map();

const GONE = "and its client is told that it is a dead letter, cancelled by an operator. It cannot be brought back";

$("cancel-all").addEventListener("click", () => ask({
  title: `Cancel all ${format.count(listed)} waiting files?`,
  lines: [`Each goes to no server, ${GONE}. What a server has, or may have, is left alone.`],
  confirm: "Cancel them",
  danger: true,
  home: $("waiting"),
  ...all("waiting/cancel", "all=true", "cancelled", again),
}));

new IntersectionObserver((entries) => {
  isSeen = entries.some((entry) => entry.isIntersecting);
  if (isSeen) showWaiting(waits);
}).observe($("waiting"));
$("waiting-more").addEventListener("click", () => { limit = Math.min(limit + MORE, MOST); refresh(); });

/** Keeps the list in step with how many files wait. */
export function showWaiting(count) {
  const isEmpty = count === 0 && items.size === 0;
  waits = count;
  if (isEmpty || !isSeen || document.hidden || performance.now() - asked < PAUSE_MS) return;
  refresh();
}

async function refresh() {
  asked = performance.now();
  try {
    const { files, total } = await call("GET", `waiting?limit=${limit}`);
    listed = total;
    // An item whose file is as it was stays, with its focus and open or not.
    const before = items;
    items = new Map(files.map((file) => {
      const key = JSON.stringify(file);
      return [key, before.get(key) ?? waitingItem(file)];
    }));
    arrange($("waiting-list"), [...items.values()]);
    const at = `, at ${format.time(Date.now())}`;
    setText($("waiting-note"), total === 0 ? "Nothing waits: every file is delivered, or a dead letter."
      : total > files.length ? `The oldest ${format.count(files.length)} of ${format.files(total)}${at}` : `${format.files(total)}, the oldest first${at}`);
    show($("waiting-all"), total > 0);
    show($("waiting-more"), total > files.length && limit < MOST);
  } catch (error) {
    setText($("waiting-note"), error.message);
  }
}

/** Asks for the list anew. */
function again() {
  asked = -Infinity;
  refresh();
}

function waitingItem(file) {
  if (file.place !== "waiting") return item(file, false);
  const name = `file ${file.number}, “${file.title}”`;
  const cancel = () => ask({
    title: `Cancel ${name}?`,
    lines: [`It goes to no server, ${GONE}.`],
    confirm: "Cancel it",
    danger: true,
    home: $("waiting"),
    ...each([file], "DELETE", (number) => `waiting/${number}`, "cancelled", again),
  });
  return item(file, false, el("p", { class: "buttons", "data-needs": "operate" },
    saveLink("waiting", file, name),
    el("button", { type: "button", class: "cancel", "aria-label": `Cancel ${name}`, onclick: cancel }, "Cancel")));
}
