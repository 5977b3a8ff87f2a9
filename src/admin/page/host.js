// Owns how a member of the fleet reads: its state and trust in words, and in a row the figures of its host, each a small bar
// with its percentage and its age.

import * as format from "./format.js";
import { el } from "./dom.js";

/** From this share on a bar asks for attention. */
const HIGH = 0.9;

/** States in which what a member has told may be old. */
const SILENT = ["late", "unknown", "leaving", "gone"];

/** The shape of each state; one that is not known yet to this page has that of `unknown`. */
const SHAPES = { joining: "connecting", active: "up", late: "overloaded", unknown: "unknown", leaving: "removing", gone: "drained" };

const SOURCES = {
  configuration: "it is configured", order: "an operator added it", registered: "it registered itself",
  announced: "it announced itself", datagram: "its datagrams", posted: "what it sent over HTTP, without a token",
  token: "an agent with a token",
};

const TRUSTS = {
  claimed: "not verified: anybody could have told it", asked: "it answered a question of the balancer",
  proved: "it proved who it is", measured: "the balancer's own probes found it",
};

/** What a member came by, in words. */
export function sourceWords(member) { return SOURCES[member.source] ?? member.source; }

/** How far a member can be believed, in words. */
export function trustWords(member) { return TRUSTS[member.trust] ?? member.trust; }

/** The shape of a member's state. */
export function shapeOf(state) { return SHAPES[state] ?? "unknown"; }

/** Whether the last figures may no longer be true. */
export function isOld(host) { return SILENT.includes(host.state); }

/** `3 s ago`, `silent for 2 m`: how old what a member told is. */
export function age(host) {
  if (typeof host.heard_s !== "number") return "not heard yet";
  const time = format.duration(Math.max(1, Math.round(host.heard_s)));
  return isOld(host) ? `silent for ${time}` : `${time} ago`;
}

const share = (part, whole) => (typeof part === "number" && whole > 0 ? part / whole : null);

/** What a host may use of its disk: less than the disk has if some of it is reserved. */
const usable = ({ disk_used: used, disk_free: free, disk_total: total }) => (typeof free === "number" ? (used ?? 0) + free : total);

/** How much of the memory is in use, 0 to 1; `null` if that is not told. The first system's servers tell no bytes. */
export function memoryPart(facts) { return share(facts.memory_used, facts.memory_total) ?? facts.memory_ratio ?? null; }

/** How much of the disk is in use, 0 to 1; `null` if that is not told. */
export function diskPart(facts) { return share(facts.disk_used, usable(facts)) ?? facts.disk_ratio ?? null; }

const inUse = (used, total, part) => `${total > 0 ? format.bytesOf(used, total) : format.percent(part)} in use`;

/** The figures of a row by their keys; `null` for what is not told. */
export const FIGURES = {
  cpu: { label: "CPU", long: "Processor", of: (facts) => facts.cpu ?? null, words: (facts) => `${format.percent(facts.cpu)} busy` },
  ram: {
    label: "RAM", long: "Memory of the host", of: memoryPart,
    words: (facts) => inUse(facts.memory_used, facts.memory_total, memoryPart(facts)),
  },
  disk: {
    label: "Disk", long: "Disk", of: diskPart,
    words: (facts) => `${inUse(facts.disk_used, facts.disk_total, diskPart(facts))}${typeof facts.disk_free === "number" ? `, ${format.bytes(facts.disk_free)} free` : ""}`,
  },
};

/** The text of one figure: its value and its age, or why there is none. */
export function words(key, host, facts) {
  const figure = FIGURES[key];
  if (key === "disk" && facts?.disk_trouble) return `${figure.long}: ${facts.disk_trouble}`;
  if (!facts || figure.of(facts) === null) return `${figure.long}: not told`;
  return `${figure.long}: ${figure.words(facts)}, ${age(host)}`;
}

/** A cell for each figure, which `drawHost` fills. */
export function hostCells(cell) {
  return Object.fromEntries(Object.entries(FIGURES).map(([key, { label }]) => {
    const text = el("span");
    const bar = el("span", { class: "bar", "aria-hidden": "true" }, el("i"));
    return [key, Object.assign(cell(label, `host ${key}`, text, bar), { text, bar })];
  }));
}

/** Puts the figures of a host into the cells of a row. `facts` are those, or null if nothing is known of it. */
export function drawHost(row, cells, host, facts) {
  for (const [key, cell] of Object.entries(cells)) {
    const value = facts ? FIGURES[key].of(facts) : null;
    const trouble = key === "disk" ? facts?.disk_trouble ?? null : null;
    row.text(cell.text, key, trouble ? "fails" : value === null ? "–" : `${Math.round(value * 100)} %`);
    // Who points at a figure wants its age. That of a host that speaks is made anew with the figure, and every ten seconds:
    // each second would be a change in each cell.
    const seen = !facts || isOld(host) ? "" : Math.floor((host.heard_s ?? 0) / 10);
    row.put(`${key} words`, `${value} ${trouble} ${facts && isOld(host) ? age(host) : seen}`, () => { cell.title = words(key, host, facts ?? null); });
    row.bar(cell.bar, `${key} bar`, value ?? 0);
    row.put(`${key} none`, value === null, (none) => cell.bar.classList.toggle("none", none));
    row.put(`${key} over`, value !== null && value >= HIGH, (over) => cell.bar.classList.toggle("over", over));
  }
}
