// Owns what can be done with servers: each question, and the order that goes out if the answer is yes.

import * as format from "./format.js";
import { $ } from "./dom.js";
import { ask } from "./dialog.js";
import { call } from "./api.js";
import { isInService } from "./states.js";

const MAX_WEIGHT = 1_000_000;
const RULE = `A weight is a whole number from 0 to ${format.count(MAX_WEIGHT)}.`;

let servers = [];

/** Notes what the questions speak of. */
export function serversAre(now) { servers = now; }

function order(method, server, change, signal) { return call(method, `servers/${encodeURIComponent(server.name)}`, change, signal); }

function others(server) { return servers.filter((other) => other.name !== server.name && isInService(other)); }

function flight(server) {
  return server.in_flight === 0 ? "Nothing is in flight to it"
    : `${format.files(server.in_flight)} in flight ${server.in_flight === 1 ? "finishes" : "finish"} first`;
}

const ALONE = "No other server can take files now: they wait in the queue.";

export function askDrain(server) {
  const { name } = server;
  if (server.drained) {
    const weightless = server.weight === 0 ? " Its weight is 0: it gets no files until it has another." : "";
    return ask({
      title: `Undrain ${name}?`,
      lines: [weightless === "" ? `It gets files again, by its weight of ${format.count(server.weight)}, as soon as it is up.` : weightless.trim()],
      confirm: "Undrain",
      home: $("servers"),
      run: async (_, { signal }) => { await order("PATCH", server, { drained: false }, signal); return `${name} is no longer drained.`; },
    });
  }
  const lines = [`${flight(server)}; nothing new is sent to it until it is undrained. It keeps its weight.`];
  if (others(server).length === 0) lines.push(ALONE);
  ask({
    title: `Drain ${name}?`,
    lines,
    confirm: "Drain",
    home: $("servers"),
    run: async (_, { signal }) => { await order("PATCH", server, { drained: true }, signal); return `${name} is drained.`; },
  });
}

/** The weight that a text says; `NaN` if it says none. */
function weightOf(text) {
  const weight = /^\d{1,7}$/.test(text.trim()) ? Number(text) : NaN;
  return weight <= MAX_WEIGHT ? weight : NaN;
}

/** The field for a weight, and what it would mean for a server. */
function weightField(value, server) {
  const hint = (text) => {
    const weight = weightOf(text);
    if (Number.isNaN(weight)) return RULE;
    if (weight === 0) return "With weight 0 it gets no files. To take a server out of service for a while, drain it: then it keeps its weight.";
    const sum = others(server).reduce((all, other) => all + other.weight, weight);
    const now = server.share_wanted === undefined ? "" : `; now ${format.percent(server.share_wanted)}`;
    return `Its share will be ${format.percent(weight / sum)} while it is up${now}.`;
  };
  return { label: "Weight", value: String(value), numeric: true, hint, wrong: (text) => (Number.isNaN(weightOf(text)) ? RULE : "") };
}

export function askWeight(server) {
  const { name } = server;
  ask({
    title: `Change the weight of ${name}?`,
    lines: [`It is ${format.count(server.weight)} now. The new one holds from the next file on; the configuration file is not changed.`],
    fields: [weightField(server.weight, server)],
    confirm: "Set weight",
    home: $("servers"),
    run: async ([text], { signal }) => {
      const weight = weightOf(text);
      await order("PATCH", server, { weight }, signal);
      return `${name} has weight ${format.count(weight)}.`;
    },
  });
}

export function askNew() {
  const rule = "Its host and port, like 10.0.0.7:5001 or files-1.example.com:5001.";
  const isTaken = (text) => servers.some((server) => server.name === text.trim());
  ask({
    title: "Add a server?",
    lines: ["It gets files as soon as it answers; the configuration file is not changed."],
    fields: [
      {
        label: "Address", value: "", hint: (text) => (isTaken(text) ? "There is such a server already." : rule),
        wrong: (text) => (/^\S+:\d{1,5}$/.test(text.trim()) ? "" : rule),
      },
      weightField(1, { name: "" }),
    ],
    confirm: "Add",
    home: $("servers"),
    run: async ([address, weight], { signal }) => {
      const added = await call("POST", "servers", { address: address.trim(), weight: weightOf(weight) }, signal);
      return `${added.name} is added, with weight ${format.count(added.weight)}.`;
    },
  });
}

export function askRemove(server) {
  const { name } = server;
  const lines = [`${flight(server)}; then it is forgotten. If the configuration names it, it comes back when the balancer reads that again.`];
  if (others(server).length === 0) lines.push(ALONE);
  ask({
    title: `Remove ${name}?`,
    lines,
    confirm: "Remove",
    danger: true,
    home: $("servers"),
    run: async (_, { signal }) => { await order("DELETE", server, undefined, signal); return `${name} is removed as soon as nothing is in flight to it.`; },
  });
}

export function askReload() {
  ask({
    title: "Read the configuration again?",
    lines: [
      "The balancer reads its configuration file and its certificates, and applies what has changed; files that are under way go on.",
      "If something in them is invalid, nothing changes, and the reason is shown here.",
    ],
    confirm: "Reload",
    home: $("servers"),
    run: async (_, { signal }) => told(await call("POST", "reload", undefined, signal)),
  });
}

/** What a reload did, in words. */
function told({ applied, restart }) {
  if (applied.length + restart.length === 0) return "The configuration was read again; nothing has changed in it.";
  return [
    "The configuration was read again.",
    applied.length > 0 ? `In force now: ${some(applied)}.` : "",
    restart.length > 0 ? `From the next start on: ${some(restart)}.` : "",
  ].filter(Boolean).join(" ");
}

const TOLD = 5;

function some(lines) { return lines.slice(0, TOLD).join("; ") + (lines.length > TOLD ? ` and ${lines.length - TOLD} more` : ""); }
