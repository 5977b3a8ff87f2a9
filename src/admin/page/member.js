// Owns the view of one member: what it last told, and its charts. It asks anew while it is open; a question that fails leaves
// what is there, and says so.

import * as format from "./format.js";
import { $, el, setAttribute, setIcon, setText, show, tell } from "./dom.js";
import { call } from "./api.js";
import { Charts, SHOWN_FIGURES } from "./charts.js";
import { ask } from "./dialog.js";
import { age, isOld, shapeOf, sourceWords, trustWords, words } from "./host.js";

/** How much time the charts show, in seconds, and how often they are asked for anew. */
const RANGES = [
  { over: 600, step: 5, every: 5, label: "10 min", words: "10 minutes" },
  { over: 6 * 3600, step: 60, every: 30, label: "6 h", words: "6 hours" },
  { over: 7 * 86400, step: 1800, every: 300, label: "7 days", words: "7 days" },
];

/** How often the facts are asked for anew, in milliseconds. */
const FACTS_MS = 2000;

const dialog = $("member");
let range = RANGES[0];
let open = null;

$("member-ranges").append(...RANGES.map((one) => el("button", { type: "button", "aria-pressed": String(one === range), "aria-label": `Last ${one.words}`, onclick: () => choose(one) }, one.label)));
$("member-close").addEventListener("click", () => dialog.close());
// The word comes late: another member may be open by then.
dialog.addEventListener("close", () => { if (!dialog.open) close(); });
$("member-keep").addEventListener("click", keep);
$("member-forget").addEventListener("click", askForget);

/** Opens a member, which has an identity or an address, and a name. */
export function openMember({ id, name }) {
  close();
  open = { id, name, charts: new Charts($("member-charts")), due: 0, stop: new AbortController() };
  setText($("member-title"), name);
  for (const hidden of ["member-cores", "member-keep", "member-forget"]) show($(hidden), false);
  $("member-facts").replaceChildren();
  showState("unknown", "", false);
  note("Asking the balancer for its figures …");
  dialog.showModal();
  follow(open);
}

function choose(chosen) {
  range = chosen;
  for (const [place, button] of [...$("member-ranges").children].entries()) setAttribute(button, "aria-pressed", String(RANGES[place] === chosen));
  if (!open) return;
  open.due = 0;
  note(`Asking the balancer for the last ${range.words} …`);
  open.wake?.();
}

function close() {
  open?.stop.abort();
  open?.charts.close();
  open = null;
}

function path(member, rest = "") { return `fleet/${encodeURIComponent(member.id)}${rest}`; }

/** Asks for facts and charts for as long as this is the open member. */
async function follow(member) {
  while (open === member) {
    try {
      const facts = await call("GET", path(member), undefined, member.stop.signal);
      if (open !== member) return;
      showFacts(facts);
      if (performance.now() >= member.due) await showCharts(member, facts);
    } catch (failure) {
      if (open !== member) return;
      note(`${failure.message}${failure.status === 404 ? "" : " It is asked again."}`, true);
    }
    await new Promise((resolve) => {
      member.wake = resolve;
      setTimeout(resolve, FACTS_MS);
    });
  }
}

async function showCharts(member, { facts }) {
  const asked = range;
  const query = `?figures=${SHOWN_FIGURES.join()}&over=${asked.over}s&step=${asked.step}s`;
  const columns = await call("GET", path(member, `/history${query}`), undefined, member.stop.signal);
  if (open !== member || asked !== range) return;
  // The balancer's clock, if it tells rows; this one may be set otherwise.
  const last = (columns.time.at(-1) ?? 0) + columns.step_s;
  const now = Date.now() / 1000;
  const to = last > 0 && Math.abs(now - last) > asked.over ? last : Math.max(last, now);
  const isThere = await member.charts.show(columns, facts, to - asked.over, to);
  if (open !== member || asked !== range) return;
  member.due = performance.now() + asked.every * 1000;
  note(isThere ? "" : `No history of the last ${asked.words} yet: the figures that it tells from now on are kept.`);
}

function note(text, isError = false) {
  setText($("member-note"), text);
  $("member-note").classList.toggle("bad", isError);
}

function showState(state, text, isStale) {
  setAttribute($("member-state"), "data-state", shapeOf(state));
  setAttribute($("member-state"), "data-is", state);
  setIcon($("member-state").querySelector("svg"), shapeOf(state));
  setText($("member-state").querySelector("span"), text);
  dialog.classList.toggle("old", isStale);
}

function showFacts(member) {
  const { facts } = member;
  open.member = member;
  const since = format.duration(Math.floor(member.since_s));
  const why = member.reason ? `: ${member.reason}` : "";
  showState(member.state, `${member.state} for ${since}${why}`, isOld(member));
  const told = [
    ["Told", `${age(member)}${typeof member.lease_s === "number" ? `; its lease ends in ${format.duration(Math.floor(member.lease_s))}` : ""}`],
    ["Known by", sourceWords(member)],
    ["Trust", trustWords(member)],
    ["Identity", member.id],
    ["Address", [member.address, member.host && `host ${member.host}`].filter(Boolean).join(", ")],
    ["Processor", words("cpu", member, facts)],
    ["Memory", words("ram", member, facts)],
    ["Disk", words("disk", member, facts)],
    ["Up for", typeof facts.uptime_s === "number" ? format.duration(facts.uptime_s) : ""],
    ["Line", line(facts)],
    ["Holds", typeof facts.held_files === "number" ? `${format.files(facts.held_files)}, ${format.bytes(facts.held_bytes ?? 0)}` : ""],
    ["Says", facts.status_text ?? ""],
    ["Note", member.notes.join("; ")],
  ].filter(([, text]) => text !== "");
  const list = $("member-facts");
  while (list.children.length > told.length) list.lastElementChild.remove();
  for (const [place, [label, text]] of told.entries()) {
    const row = list.children[place] ?? list.appendChild(el("div", {}, el("dt"), el("dd")));
    setText(row.firstElementChild, label);
    setText(row.lastElementChild, text.replace(/^(Processor|Memory of the host|Disk): /, ""));
  }
  showCores(facts.cores ?? []);
  show($("member-keep"), true);
  setText($("member-keep"), member.protected ? "Do not keep it any more" : "Keep it");
  $("member-keep").title = "A member that is kept stays in the fleet however long nothing is heard of it";
  show($("member-forget"), ["unknown", "gone"].includes(member.state));
}

function line(facts) {
  const speed = (bits) => `${format.rate(bits / 1e6)} Mbit/s`;
  const parts = [["link_down", "down"], ["link_up", "up"]].filter(([key]) => typeof facts[key] === "number");
  return parts.map(([key, way]) => `${speed(facts[key])} ${way}`).join(", ");
}

/** A small bar for each core. */
function showCores(cores) {
  const node = $("member-cores");
  show(node, cores.length > 0);
  while (node.children.length > cores.length) node.lastElementChild.remove();
  for (const [place, share] of cores.entries()) {
    const core = node.children[place] ?? node.appendChild(el("i", {}, el("b")));
    core.firstElementChild.style.height = `${Math.round(share * 100)}%`;
    core.title = `Core ${place}: ${format.percent(share)}`;
  }
  const busiest = Math.max(0, ...cores);
  setAttribute(node, "aria-label", `${cores.length} cores; the busiest is ${format.percent(busiest)} busy`);
}

async function keep() {
  const { member } = open;
  const protect = !member.protected;
  try {
    await call("PATCH", path(open), { protected: protect });
    tell(`${member.name} is ${protect ? "kept" : "no longer kept"}.`);
    open?.wake?.();
  } catch (failure) {
    note(failure.message, true);
  }
}

function askForget() {
  const member = open;
  ask({
    title: `Forget ${member.name}?`,
    lines: ["Its history goes with it. If it speaks again, it is a new member."],
    confirm: "Forget",
    danger: true,
    home: $("fleet"),
    run: async (_, { signal }) => {
      await call("DELETE", path(member), undefined, signal);
      dialog.close();
      return `${member.name} is forgotten.`;
    },
  });
}
