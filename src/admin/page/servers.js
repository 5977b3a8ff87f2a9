// Owns the list of servers: which are shown, and in which order. Of thousands one page is in the document. A row is made once
// for each server that is shown and lives as long as it is, so that a focus or a selection stays.

import * as format from "./format.js";
import { $, arrange, changes, el, icon, setAttribute, setText, show } from "./dom.js";
import { askNew, askReload, serversAre } from "./orders.js";
import { Row } from "./row.js";
import { ORDERS, STATES, many, reasonOf, sorted, stateOf, stateWord } from "./states.js";

const PAGE = 100;

/** From this many servers on there is a filter. */
const FILTER_FROM = 9;

/** Shares of fewer files than this move far with each file: the heading says of how many they are. */
const FEW_FILES = 1000;

/** So long after a move of the pointer or a key in the list no row leaves its place: it would go from under a finger. */
const HOLD_MS = 5000;

const SORT_KEY = "bilico-sort";
const BEST = { key: "state", direction: 1 };

const rows = new Map();
let servers = [];
let chosen = null;
let page = 0;
let order = recalled();
let held = -Infinity;
/** The place of each server, by name, when the list was last sorted. */
let places = new Map();

$("filter-text").addEventListener("input", () => { page = 0; draw(); });
$("page-back").addEventListener("click", () => { page -= 1; draw(); });
$("page-on").addEventListener("click", () => { page += 1; draw(); });
$("add-server").addEventListener("click", askNew);
$("reload").addEventListener("click", askReload);
for (const kind of ["pointermove", "pointerdown", "keydown", "focusin"]) {
  $("server-rows").addEventListener(kind, () => { held = performance.now() + HOLD_MS; }, { passive: true });
}
$("server-rows").addEventListener("pointerleave", () => { held = -Infinity; });

/** What is told of a server that has changed. */
const TOLD = {
  key: (server) => server.name,
  // Under load a window fills and empties all the time.
  state: (server) => (server.state === "full" ? "up" : stateOf(server)),
  words: (server) => [`${server.name} is ${stateWord(server)}`, reasonOf(server)].filter(Boolean).join(", "),
};

/** Shows the servers as they are now, and gives what has changed, in words. */
export function showServers(now) {
  const told = changes("servers", servers, now, TOLD);
  servers = now;
  serversAre(now);
  const names = new Set(now.map((server) => server.name));
  for (const name of rows.keys()) if (!names.has(name)) rows.delete(name);
  draw();
  return told;
}

/** Shows only servers in this state; null for all. */
function choose(state) {
  chosen = chosen === state ? null : state;
  page = 0;
  draw();
}

function draw() {
  drawChips();
  drawHeads();
  show($("filter"), servers.length >= FILTER_FROM);
  const words = $("filter-text").value.trim().toLowerCase();
  const matches = (server) =>
    (!chosen || stateOf(server) === chosen) &&
    (!words || `${server.name} ${stateWord(server)} ${server.reason ?? ""}`.toLowerCase().includes(words));
  const found = inOrder().filter(matches);
  const last = Math.max(Math.ceil(found.length / PAGE) - 1, 0);
  page = Math.min(Math.max(page, 0), last);
  const shown = found.slice(page * PAGE, (page + 1) * PAGE);

  const scale = scaleOf(servers);
  setText($("head-share"), `had / wanted${scale.base > 0 && scale.base < FEW_FILES ? `, of ${format.files(scale.base)}` : ""}`);
  setText($("head-rate"), `minute, to ${format.count(scale.files)}`);
  arrange($("server-rows"), shown.flatMap((server) => {
    const row = rows.get(server.name) ?? new Row(server.name);
    rows.set(server.name, row);
    return row.update(server, scale);
  }));

  show($("server-table"), shown.length > 0);
  show($("chips"), servers.length > 0);
  show($("no-servers"), shown.length === 0);
  setText($("no-servers"), servers.length === 0
    ? "No servers: files wait until one is added, here, with `bilico servers add` or in the configuration."
    : "No server is like that.");
  show($("pager"), last > 0);
  setText($("page-at"), `${page * PAGE + 1}–${page * PAGE + shown.length} of ${format.count(found.length)}`);
  $("page-back").disabled = page === 0;
  $("page-on").disabled = page === last;
}

/** What the bars and lines of all rows are drawn against, and how many files their shares are of. */
function scaleOf(all) {
  let [share, files, base] = [0.01, 1, 0];
  for (const server of all) {
    share = Math.max(share, server.share_had ?? 0, server.share_wanted);
    for (const stored of server.history) {
      files = Math.max(files, stored);
      base += stored;
    }
  }
  return { share, files, base };
}

/** The servers in the order that is wished; while somebody is at a row, in the order in which they were. */
function inOrder() {
  const wished = sorted(servers, order);
  if (performance.now() > held) {
    places = new Map(wished.map((server, place) => [server.name, place]));
    show($("held"), false);
    return wished;
  }
  const place = (server) => places.get(server.name) ?? servers.length;
  const kept = [...servers].sort((one, other) => place(one) - place(other));
  show($("held"), kept.some((server, at) => server !== wished[at]));
  return kept;
}

function sortBy(key, direction) {
  order = { key, direction };
  held = -Infinity;
  page = 0;
  try { localStorage.setItem(SORT_KEY, JSON.stringify(order)); } catch { /* Storage may be forbidden: then it lasts as long as the page. */ }
  draw();
}

function recalled() {
  try {
    const { key, direction } = JSON.parse(localStorage.getItem(SORT_KEY)) ?? BEST;
    return key in ORDERS && Math.abs(direction) === 1 ? { key, direction } : BEST;
  } catch {
    return BEST;
  }
}

const heads = new Map(Array.from(document.querySelectorAll("#server-table th[data-sort]"), (head) => [head.dataset.sort, head]));
for (const [key, head] of heads) head.querySelector("button").addEventListener("click", () => turn(key));
for (const [key, { label }] of Object.entries(ORDERS)) $("sort-by").append(el("option", { value: key }, label));
$("sort-by").addEventListener("change", () => sortBy($("sort-by").value, ORDERS[$("sort-by").value].first));
$("sort-turn").addEventListener("click", () => turn(order.key));

function turn(key) { sortBy(key, order.key === key ? -order.direction : ORDERS[key].first); }

/** Says by which column the list is sorted: in the heads, and for narrow screens, which have none, beside the list. */
function drawHeads() {
  const word = order.direction === 1 ? "ascending" : "descending";
  for (const [key, head] of heads) setAttribute(head, "aria-sort", key === order.key ? word : "none");
  if ($("sort-by").value !== order.key) $("sort-by").value = order.key;
  setAttribute($("sort-turn"), "data-direction", word);
  setAttribute($("sort-turn"), "aria-label", `Turn the order round; it is ${word}`);
}

const chips = new Map();

/** A button for each state that some server is in, which shows only those. */
function drawChips() {
  const counts = new Map([[null, servers.length]]);
  for (const server of servers) counts.set(stateOf(server), (counts.get(stateOf(server)) ?? 0) + 1);
  if (!counts.has(chosen) && chosen !== "full") chosen = null;
  for (const state of [null, ...STATES]) {
    let chip = chips.get(state);
    if (!chip && counts.has(state)) {
      chip = el("button", { type: "button", class: "chip", "data-state": state ?? "all", onclick: () => choose(state) }, el("span"));
      if (state) chip.prepend(icon(state), " ");
      chips.set(state, chip);
      const after = STATES.slice(STATES.indexOf(state) + 1).map((next) => chips.get(next)).find(Boolean);
      if (state) $("chips").insertBefore(chip, after ?? null);
      else $("chips").prepend(chip);
    }
    if (!chip) continue;
    // A full server is one for a moment only: its chip stays, so that the others do not jump.
    show(chip, counts.has(state) || state === "full");
    setText(chip.lastElementChild, state ? many(counts.get(state) ?? 0, state) : `${format.count(servers.length)} in all`);
    setAttribute(chip, "aria-pressed", String(chosen === state));
  }
}
