// Owns the table of servers and what can be done with one. A row is made once for each server and lives as long as it;
// an update touches the cells that changed, so that a focus or a selection stays. Of thousands one page is in the document.

import * as format from "./format.js";
import { $, announce, arrange, el, icon, setAttribute, setBar, setIcon, setText, show, spark } from "./dom.js";
import { ask } from "./dialog.js";
import { call } from "./api.js";

const PAGE = 200;

/** From this many servers on there is a filter. */
const FILTER_FROM = 12;

const MAX_WEIGHT = 1_000_000;

/** All states that have a shape, in the order of the chips. */
const STATES = ["down", "overloaded", "paused", "full", "connecting", "unknown", "drained", "removing", "up"];

/** More changes than this at once are announced as a number. */
const MAX_ANNOUNCED = 3;

const rows = new Map();
let servers = [];
let chosen = null;
let page = 0;

$("filter-text").addEventListener("input", () => { page = 0; draw(); });
$("page-back").addEventListener("click", () => { page -= 1; draw(); });
$("page-on").addEventListener("click", () => { page += 1; draw(); });

/** Shows the servers as they are now, in the order in which they come. */
export function showServers(now) {
  announceChanges(servers, now);
  servers = now;
  const names = new Set(now.map((server) => server.name));
  for (const name of rows.keys()) if (!names.has(name)) rows.delete(name);
  draw();
}

function draw() {
  drawChips();
  show($("filter"), servers.length > FILTER_FROM);
  const words = $("filter-text").value.trim().toLowerCase();
  const matches = (server) =>
    (!chosen || stateOf(server) === chosen) &&
    (!words || `${server.name} ${stateOf(server)} ${server.reason ?? ""}`.toLowerCase().includes(words));
  const found = servers.filter(matches);
  const last = Math.max(Math.ceil(found.length / PAGE) - 1, 0);
  page = Math.min(Math.max(page, 0), last);
  const shown = found.slice(page * PAGE, (page + 1) * PAGE);

  const scale = {
    share: Math.max(0.01, ...servers.map((server) => Math.max(server.share_had ?? 0, server.share_wanted))),
    files: Math.max(1, ...servers.map((server) => Math.max(0, ...server.history))),
  };
  arrange($("server-rows"), shown.map((server) => {
    const row = rows.get(server.name) ?? new Row(server.name);
    rows.set(server.name, row);
    row.update(server, scale);
    return row.node;
  }));

  show($("server-table"), shown.length > 0);
  show($("chips"), servers.length > 0);
  show($("no-servers"), shown.length === 0);
  setText($("no-servers"), servers.length === 0
    ? "No servers: files wait until one is added, with `bilico servers add` or in the configuration."
    : "No server is like that.");
  show($("pager"), last > 0);
  setText($("page-at"), `${page * PAGE + 1}–${page * PAGE + shown.length} of ${found.length}`);
  $("page-back").disabled = page === 0;
  $("page-on").disabled = page === last;
}

function stateOf(server) { return STATES.includes(server.state) ? server.state : "unknown"; }

/** The fact is what the state's word says; what is left is the reason. */
function reasonOf(server) {
  const reason = server.reason ?? "";
  const fact = `${server.fact ?? ""}: `;
  return reason.startsWith(fact) ? reason.slice(fact.length) : reason;
}

function announceChanges(before, now) {
  if (before.length === 0) return;
  // Under load a window fills and empties all the time.
  const lasting = (server) => (server.state === "full" ? "up" : server.state);
  const states = new Map(before.map((server) => [server.name, lasting(server)]));
  const changed = now.filter((server) => states.has(server.name) && states.get(server.name) !== lasting(server));
  if (changed.length > MAX_ANNOUNCED) return announce(`${changed.length} servers changed their state`);
  const words = changed.map((server) => `${server.name} is ${server.state}${server.reason ? `, ${server.reason}` : ""}`);
  if (words.length > 0) announce(words.join(". "));
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
      const choose = () => { chosen = chosen === state ? null : state; page = 0; draw(); };
      chip = el("button", { type: "button", class: "chip", "data-state": state ?? "all", onclick: choose }, el("span"));
      if (state) chip.prepend(icon(state), " ");
      chips.set(state, chip);
      const after = STATES.slice(STATES.indexOf(state) + 1).map((next) => chips.get(next)).find(Boolean);
      if (state) $("chips").insertBefore(chip, after ?? null);
      else $("chips").prepend(chip);
    }
    if (!chip) continue;
    // A full server is one for a moment only: its chip stays, so that the others do not jump.
    show(chip, counts.has(state) || state === "full");
    setText(chip.lastElementChild, `${format.count(counts.get(state) ?? 0)} ${state ?? "in all"}`);
    setAttribute(chip, "aria-pressed", String(chosen === state));
  }
}

class Row {
  constructor(name) {
    this.name = name;
    const line = (kind) => el("span", { class: kind });
    const cell = (label, kind, ...children) => el("td", { role: "cell", "data-label": label, class: kind }, ...children);
    this.dialect = line("sub");
    this.shape = icon("unknown");
    this.word = el("strong");
    this.reason = line("reason");
    this.since = line("sub");
    this.weight = el("span");
    this.edit = el("button", { type: "button", class: "edit", onclick: () => askWeight(this.server) }, this.weight, icon("edit"));
    [this.share, this.shareBar] = [el("span"), el("span", { class: "bar", "aria-hidden": "true" }, el("i"), el("b"))];
    [this.memory, this.memoryBar] = [el("span"), el("span", { class: "bar", "aria-hidden": "true" }, el("i"))];
    [this.flight, this.flightBar] = [el("span"), el("span", { class: "bar", "aria-hidden": "true" }, el("i"))];
    [this.delivered, this.volume, this.rate] = [line(""), line("sub"), line("rate")];
    this.spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.spark.setAttribute("class", "spark");
    this.spark.setAttribute("aria-hidden", "true");
    this.drain = el("button", { type: "button", class: "drain", onclick: () => askDrain(this.server) });
    this.node = el("tr", { role: "row", "data-server": name },
      el("th", { role: "rowheader", scope: "row" }, el("span", { class: "name" }, name), this.dialect),
      cell("State", "state", el("span", { class: "mark" }, this.shape, " ", this.word), this.reason, this.since),
      cell("Weight", "num", this.edit),
      cell("Share", "", this.share, this.shareBar),
      cell("Memory", "", this.memory, this.memoryBar),
      cell("In flight", "", this.flight, this.flightBar),
      cell("Delivered", "num", this.delivered, this.volume),
      cell("Files/s", "speed", this.rate, this.spark),
      cell("", "act", this.drain));
  }

  update(server, scale) {
    this.server = server;
    const state = stateOf(server);
    setAttribute(this.node, "data-state", state);
    setIcon(this.shape, state);
    setText(this.word, server.state);
    setText(this.reason, reasonOf(server));
    setText(this.since, `for ${format.duration(server.since_s)}`);
    setText(this.dialect, [
      server.dialect === "old_style" ? "old-style" : "",
      typeof server.probe_ms === "number" ? `probe ${format.milliseconds(server.probe_ms)}` : "",
    ].filter(Boolean).join(" · "));

    setText(this.weight, format.count(server.weight));
    setAttribute(this.edit, "aria-label", `Weight ${server.weight}: change the weight of ${this.name}`);
    const had = server.share_had === null ? "–" : format.percent(server.share_had);
    setText(this.share, `${had} / ${format.percent(server.share_wanted)}`);
    setBar(this.shareBar, (server.share_had ?? 0) / scale.share, server.share_wanted / scale.share);

    const memory = server.memory;
    setText(this.memory, memory ? format.bytesOf(memory.used, memory.limit) : "–");
    setBar(this.memoryBar, memory ? memory.used / memory.limit : 0);
    this.memoryBar.classList.toggle("over", Boolean(memory) && memory.used > memory.limit);
    this.memoryBar.classList.toggle("none", !memory);
    const window = server.window_files;
    setText(this.flight, window ? `${format.count(server.in_flight)} / ${format.count(window)}` : format.count(server.in_flight));
    setAttribute(this.flight.parentNode, "title", `${format.bytes(server.in_flight_bytes)} in flight${server.window_bytes ? `, at most ${format.bytes(server.window_bytes)}` : ""}`);
    setBar(this.flightBar, window ? server.in_flight / window : 0);

    setText(this.delivered, format.count(server.delivered));
    setText(this.volume, server.returned > 0 ? `${format.count(server.returned)} came back` : format.bytes(server.delivered_bytes));
    setAttribute(this.volume.parentNode, "title", `${format.files(server.delivered)}, ${format.bytes(server.delivered_bytes)}; ${format.count(server.returned)} came back`);
    setText(this.rate, format.rate(server.files_per_s));
    spark(this.spark, server.history, scale.files);

    setText(this.drain, server.drained ? "Undrain" : "Drain");
    setAttribute(this.drain, "aria-label", `${server.drained ? "Undrain" : "Drain"} ${this.name}`);
    this.drain.disabled = this.edit.disabled = Boolean(server.removing);
  }
}

function patch(server, change) { return call("PATCH", `servers/${encodeURIComponent(server.name)}`, change); }

function askDrain(server) {
  const { name } = server;
  if (server.drained) {
    return ask({
      title: `Undrain ${name}?`,
      lines: [`It gets files again, by its weight of ${format.count(server.weight)}, as soon as it is up.`],
      confirm: "Undrain",
      home: $("servers"),
      run: async () => { await patch(server, { drained: false }); return `${name} gets files again.`; },
    });
  }
  const flight = server.in_flight === 0 ? "Nothing is in flight to it"
    : `${format.files(server.in_flight)} in flight ${server.in_flight === 1 ? "finishes" : "finish"} first`;
  const lines = [`${flight}; nothing new is sent to it until it is undrained.`];
  const others = servers.some((other) => other.name !== name && isInService(other));
  if (!others) lines.push("No other server can take files now: they wait in the queue.");
  ask({
    title: `Drain ${name}?`,
    lines,
    confirm: "Drain",
    home: $("servers"),
    run: async () => { await patch(server, { drained: true }); return `${name} is drained.`; },
  });
}

// A server whose window is full gets files as soon as one of them is stored.
function isInService(server) {
  return server.state === "up" || server.state === "full";
}

function askWeight(server) {
  const { name } = server;
  const parse = (text) => {
    const weight = /^\d{1,7}$/.test(text.trim()) ? Number(text) : NaN;
    return weight <= MAX_WEIGHT ? weight : NaN;
  };
  const hint = (text) => {
    const weight = parse(text);
    if (Number.isNaN(weight)) return `A whole number from 0 to ${format.count(MAX_WEIGHT)}.`;
    if (weight === 0) return "With weight 0 it gets no files.";
    const others = servers.filter((other) => other.name !== name && isInService(other));
    const sum = others.reduce((all, other) => all + other.weight, weight);
    return `Its share will be ${format.percent(weight / sum)} while it is up; now ${format.percent(server.share_wanted)}.`;
  };
  ask({
    title: `Change the weight of ${name}?`,
    lines: [`It is ${format.count(server.weight)} now. The new one holds from the next file on, until the balancer ends or reads its configuration again.`],
    field: { label: "Weight", value: String(server.weight), hint },
    confirm: "Set weight",
    home: $("servers"),
    run: async (text) => {
      const weight = parse(text);
      if (Number.isNaN(weight)) throw new Error(hint(text));
      await patch(server, { weight });
      return `${name} has weight ${format.count(weight)}.`;
    },
  });
}
