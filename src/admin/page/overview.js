// Owns the top of the page and the tab's title: the figures at a glance, and whether all is well.

import * as format from "./format.js";
import { $, setAttribute, setBar, setIcon, setText, show, spark } from "./dom.js";
import { TROUBLE, tally } from "./states.js";

let title = "Bilico";

/** Shows a new state of everything. */
export function showOverview({ overview, servers }) {
  const { queue, rates, latency, history } = overview;
  setText($("listen"), overview.listen);
  show($("address"), true);
  setText($("about"), `version ${overview.version} · up ${format.duration(overview.uptime_s)}`);
  const top = Math.max(0, ...history.accepted, ...history.delivered);
  flow("tile-in", rates.accepted_per_s, rates.accepted_bytes_per_s, overview.accepted, history.accepted, top);
  flow("tile-out", rates.delivered_per_s, rates.delivered_bytes_per_s, overview.delivered, history.delivered, top);

  const delayed = queue.delayed > 0 ? ` · ${format.count(queue.delayed)} delayed` : "";
  const waiting = tile("tile-waiting", format.count(queue.files), `${format.bytes(queue.bytes)}\n${format.count(queue.in_flight)} in flight${delayed}`);
  const fill = Math.max(queue.files / queue.max_files || 0, queue.bytes / queue.max_bytes || 0);
  setBar(waiting.querySelector(".bar"), fill);
  waiting.classList.toggle("warn", fill > 0.9);
  setAttribute(waiting, "title", `${format.percent(fill)} of what the queue may hold: ${format.files(queue.max_files)}, ${format.bytes(queue.max_bytes)}`);

  const oldest = queue.oldest_s;
  tile("tile-oldest", oldest === null ? "–" : format.duration(oldest), oldest === null ? "nothing waits" : "waits the longest");
  const { deliver_ms: deliver, accept_ms: accept } = latency;
  tile("tile-p99", deliver ? format.milliseconds(deliver.p99) : "–", [
    deliver ? `p50 ${format.milliseconds(deliver.p50)}` : "none in the last minute",
    accept ? `receipt p99 ${format.milliseconds(accept.p99)}` : "",
  ].filter(Boolean).join("\n"));
  const dead = tile("tile-dead", format.count(queue.dead), queue.dead > 0 ? "no server can take them" : "none");
  dead.classList.toggle("warn", queue.dead > 0);

  showTrouble(overview, servers);
  title = tabTitle(overview, servers);
  document.title = title;
}

/** The banner: why no files are taken, or why none gets to a server. */
function showTrouble(overview, servers) {
  const { queue } = overview;
  const fill = Math.max(queue.files / queue.max_files || 0, queue.bytes / queue.max_bytes || 0);
  let trouble = "";
  if (!overview.accepting) trouble = `The balancer takes no files: ${overview.reason ?? "it is stopping"}.`;
  else if (overview.servers.total === 0) trouble = "No server can take files: there is none. Files are accepted and wait until one is added.";
  else if (overview.servers.eligible === 0) {
    const waits = queue.files === 0 ? "Files are accepted and wait" : `Files are accepted and wait: ${format.files(queue.files)} so far, ${format.percent(fill)} of the room`;
    trouble = `No server can take files: ${tally(servers)}. ${waits}.`;
  } else if (overview.reason) trouble = overview.reason;
  $("trouble").classList.toggle("bad", !overview.accepting || overview.servers.eligible === 0);
  show($("trouble"), trouble !== "");
  setText($("trouble"), trouble);
}

function tile(id, value, sub) {
  const node = $(id);
  setText(node.querySelector(".value"), value);
  setText(node.querySelector(".sub"), sub);
  return node;
}

function flow(id, files, bytes, total, history, top) {
  const node = tile(id, format.rate(files), `${format.bytes(bytes)}/s\n${format.count(total)} in all`);
  spark(node.querySelector(".spark"), history, top);
  // Both lines have the same scale.
  setText(node.querySelector(".scale"), top > 0 ? `${format.count(top)}/s` : "");
}

function tabTitle(overview, servers) {
  if (!overview.accepting) return "■ takes no files – Bilico";
  if (servers.length > 0 && overview.servers.eligible === 0) return "■ no server can take files – Bilico";
  for (const state of TROUBLE) {
    const count = servers.filter((server) => server.state === state).length;
    if (count > 0) return `▲ ${count} of ${servers.length} servers ${state} – Bilico`;
  }
  if (overview.queue.dead > 0) return `▲ ${overview.queue.dead} dead letters – Bilico`;
  return "Bilico";
}

/** Shows that nothing was heard for so many seconds; null when it is live. */
export function showSilence(seconds) {
  const live = $("live");
  const state = seconds === null ? "up" : "down";
  const changed = live.dataset.state !== state;
  document.body.classList.toggle("stale", seconds !== null);
  show($("stale"), seconds !== null);
  if (seconds !== null) {
    setText($("stale"), `Stale: last heard ${format.duration(Math.floor(seconds))} ago; the balancer does not answer. What is below is old.`);
    document.title = "■ stale – Bilico";
  } else if (changed) {
    document.title = title;
  }
  live.dataset.state = state;
  setIcon(live.querySelector("svg"), state);
  setText(live.querySelector("span"), seconds === null ? "live" : "stale");
  return changed;
}

/** Says to somebody who may not look at the balancer what is left to them. */
export function showNothingToSee() {
  show($("live"), false);
  show($("trouble"), true);
  setText($("trouble"), "You may not look at this balancer; that needs the right `read`. What you may do is below.");
}
