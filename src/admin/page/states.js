// Owns what is said of a server's state, and the orders in which servers are listed.

import * as format from "./format.js";
import { diskPart, memoryPart } from "./host.js";

/** All states that have a shape, the one that needs a person most first. */
export const STATES = ["down", "overloaded", "paused", "unknown", "connecting", "removing", "drained", "no_weight", "full", "up"];

/** States that somebody has to know of, the worst first. */
export const TROUBLE = ["down", "overloaded", "paused"];

/** The state that the page shows. A server without weight is not a drained one: another order ends it. */
export function stateOf(server) {
  if (server.state === "drained" && !server.drained && server.weight === 0) return "no_weight";
  return STATES.includes(server.state) ? server.state : "unknown";
}

/** So many servers in a state, in words. */
export function many(count, state) { return `${format.count(count)} ${state === "no_weight" ? "with weight 0" : state}`; }

/** The word for a server's state; one that is not known yet to this page is shown as it came. */
export function stateWord(server) {
  return stateOf(server) === "no_weight" ? "weight 0" : server.state;
}

/** The fact is what the state's word says; what is left is the reason. */
export function reasonOf(server) {
  const state = stateOf(server);
  if ((state === "drained" || state === "removing") && server.in_flight > 0) return `${server.in_flight} in flight`;
  if (state === "no_weight" || state === "drained") return "";
  const reason = server.reason ?? "";
  const fact = `${server.fact ?? ""}: `;
  return reason.startsWith(fact) ? reason.slice(fact.length) : reason;
}

// A server whose window is full gets files as soon as one of them is stored.
export function isInService(server) { return server.state === "up" || server.state === "full"; }

/** `7 down, 2 drained`: how many of these servers are in which state, the worst first. */
export function tally(servers) {
  const counts = new Map();
  for (const server of servers) counts.set(stateOf(server), (counts.get(stateOf(server)) ?? 0) + 1);
  return STATES.filter((state) => counts.has(state)).map((state) => many(counts.get(state), state)).join(", ");
}

/** A lower place needs a person more. What still has files in flight comes before what has none. */
function place(server) {
  const state = stateOf(server);
  const drains = (state === "drained" || state === "removing") && server.in_flight > 0;
  return STATES.indexOf(drains ? "paused" : state === "full" ? "up" : state) + (drains ? 0.5 : 0);
}

const NAMES = new Intl.Collator("en", { numeric: true });
const by = (value) => (one, other) => value(one) - value(other);

/** What the list can be sorted by: `first` is the direction that comes first, 1 for the smallest on top. */
export const ORDERS = {
  name: { label: "Server", compare: (one, other) => NAMES.compare(one.name, other.name), first: 1 },
  state: { label: "State", compare: by(place), first: 1 },
  weight: { label: "Weight", compare: by((server) => server.weight), first: -1 },
  share: { label: "Share", compare: by((server) => server.share_had ?? -1), first: -1 },
  memory: { label: "Memory", compare: by((server) => (server.memory ? server.memory.used / server.memory.limit : -1)), first: -1 },
  flight: { label: "In flight", compare: by((server) => server.in_flight), first: -1 },
  cpu: { label: "CPU", compare: by((server) => server.host?.cpu ?? -1), first: -1 },
  ram: { label: "RAM", compare: by((server) => memoryPart(server.host ?? {}) ?? -1), first: -1 },
  disk: { label: "Disk", compare: by((server) => diskPart(server.host ?? {}) ?? -1), first: -1 },
  held: { label: "Held", compare: by((server) => server.host?.held_files ?? -1), first: -1 },
  delivered: { label: "Delivered", compare: by((server) => server.delivered), first: -1 },
  rate: { label: "Files/s", compare: by((server) => server.files_per_s), first: -1 },
};

/** The servers in this order; those that are alike in it stay in the order in which they were added. */
export function sorted(servers, { key, direction }) {
  const { compare } = ORDERS[key];
  return [...servers].sort((one, other) => direction * compare(one, other));
}
