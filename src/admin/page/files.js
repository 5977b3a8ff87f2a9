// Owns what is shown of files: the search with each file's way, and the dead letters with their replay.

import * as format from "./format.js";
import { $, arrange, el, icon, setText, show } from "./dom.js";
import { ask } from "./dialog.js";
import { call } from "./api.js";

const FOUND = 50;
const DEAD = 20;

/** Dead letters are asked for at most this often. */
const DEAD_PAUSE_MS = 2000;

/** The words, the shape and the colour of each place that a file can be in. */
const PLACES = {
  accepting: ["being accepted", "connecting"],
  waiting: ["waiting", "drained"],
  in_flight: ["in flight", "full"],
  delivered: ["delivered", "up"],
  dead: ["dead letter", "down"],
  dropped: ["thrown away", "removing"],
};

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  find($("find-text").value.trim());
});
$("find-oldest").addEventListener("click", () => look(async () => {
  const { files, total } = await call("GET", `queue?limit=${FOUND}`);
  const rest = total > files.length ? ` The oldest ${files.length} of them:` : "";
  return [files, total === 0 ? "Nothing waits." : `${format.files(total)} ${total === 1 ? "waits" : "wait"}.${rest}`];
}));

/** Looks for a file by its number, or for files by a part of their title. */
export function find(text) {
  $("find-text").value = text;
  if (text === "") return look(async () => [[], "Type a file's number, or a part of its title."]);
  return look(async () => {
    const number = /^#?(\d{1,20})$/.exec(text)?.[1];
    const file = number && await call("GET", `files/${number}`).catch((error) => {
      if (error.status !== 404) throw error;
    });
    if (file) return [[file], ""];
    if (text.startsWith("#")) return [[], `No file ${text} is remembered.`];
    const { files, complete } = await call("GET", `files?title=${encodeURIComponent(text)}&limit=${FOUND}`);
    if (files.length === 0) return [[], `Nothing that is remembered has “${text}” in its title${number ? ", or is its number" : ""}.`];
    return [files, complete ? `${format.files(files.length)}, newest first` : `The newest ${files.length}; there may be more: type more of the title.`];
  });
}

let looks = 0;

/** Shows what a search gives; one that was overtaken by another shows nothing. */
async function look(search) {
  const mine = (looks += 1);
  let [files, note] = [[], ""];
  try {
    [files, note] = await search();
  } catch (error) {
    note = error.message;
  }
  if (mine !== looks) return;
  setText($("found-note"), note);
  $("found").replaceChildren(...files.map((file) => item(file, files.length === 1)));
}

/** A file as a line that opens into its way. */
function item(file, open, ...buttons) {
  const [word, shape] = PLACES[file.place] ?? [file.place, "unknown"];
  const at = ["in_flight", "delivered"].includes(file.place) ? ` to ${file.server}` : "";
  const details = el("details", {},
    el("summary", {},
      el("span", { class: "number" }, String(file.number)),
      el("span", { class: "title" }, file.title),
      el("span", { class: "size" }, format.bytes(file.size)),
      el("span", { class: "mark", "data-state": shape }, icon(shape), ` ${word}${at}`)),
    way(file));
  details.open = open;
  return el("li", {}, details, ...buttons);
}

/** What has become of a file, in the order in which it did. */
function way(file) {
  const step = (ms, text) => el("li", {}, el("time", {}, ms ? format.moment(ms) : ""), ` ${text}`);
  const steps = [step(file.accepted_ms, `accepted from ${file.from}`)];
  for (const attempt of file.history) steps.push(step(attempt.at_ms, `came back from ${attempt.server}: ${attempt.reason}`));
  const more = file.attempts - file.history.length;
  if (more > 0) steps.push(step(null, `… and ${format.count(more)} times more`));
  const confirmed = file.confirmed === false ? ", which never acknowledges" : "";
  const last = {
    accepting: "being written to the journal",
    waiting: file.reason ? `waits: ${file.reason}` : "waits for a server",
    in_flight: `with ${file.server}, not acknowledged yet`,
    delivered: `stored by ${file.server}${confirmed}`,
    dead: `dead letter: ${file.reason ?? "no server can take it"}`,
    dropped: "thrown away",
  }[file.place];
  if (last) steps.push(step(file.ended_ms, last));
  const facts = `${format.count(file.size)} bytes · crc32c ${file.crc32c}${file.key ? ` · key ${file.key}` : ""}`;
  return el("div", { class: "way" }, el("p", {}, facts), el("ol", {}, ...steps));
}

let known = 0;
let asked = -Infinity;
let limit = DEAD;
let stamp = "";
let items = new Map();

$("dead-more").addEventListener("click", () => { limit += DEAD; refresh(); });
$("replay-all").addEventListener("click", () => ask({
  title: `Replay ${known === 1 ? "the dead letter" : `all ${format.count(known)} dead letters`}?`,
  lines: ["They go to the servers again. What still nobody can take comes back here."],
  confirm: "Replay all",
  home: $("dead"),
  run: async () => outcome(await call("POST", "dead/replay"), "on the way again"),
}));

/** Keeps the dead letters in step with how many there are and with what was heard of them. */
export function showDead(count, heard) {
  if (stamp === `${count}/${heard}` || performance.now() - asked < DEAD_PAUSE_MS) return;
  stamp = `${count}/${heard}`;
  refresh();
}

async function refresh() {
  asked = performance.now();
  try {
    const { files, total } = await call("GET", `dead?limit=${limit}`);
    known = total;
    // An item whose file is as it was stays, with its focus and open or not.
    const before = items;
    items = new Map(files.map((file) => [JSON.stringify(file), file]).map(([key, file]) => [key, before.get(key) ?? deadItem(file)]));
    arrange($("dead-list"), [...items.values()]);
    setText($("dead-note"), "No dead letters: every file found a server that takes it, or still waits for one.");
    show($("dead-note"), total === 0);
    show($("replay-all"), total > 0);
    show($("dead-more"), total > files.length);
    setText($("dead-more"), `Show more of ${format.count(total)}`);
  } catch (error) {
    stamp = "";
    setText($("dead-note"), error.message);
    show($("dead-note"), true);
  }
}

function deadItem(file) {
  const { number } = file;
  const name = `file ${number}, “${file.title}”`;
  const replay = () => ask({
    title: `Replay ${name}?`,
    lines: [`It goes to the servers again. It is dead because: ${file.reason ?? "no server can take it"}.`],
    confirm: "Replay",
    home: $("dead"),
    run: async () => outcome(await call("POST", `dead/${number}/replay`), "on the way again"),
  });
  const drop = () => ask({
    title: `Throw away ${name}?`,
    lines: [`Its ${format.bytes(file.size)} are gone for good: no server has them, and nobody can bring them back.`],
    confirm: "Throw away",
    danger: true,
    home: $("dead"),
    run: async () => outcome(await call("DELETE", `dead/${number}`), "thrown away"),
  });
  return item(file, false, el("p", { class: "reason" }, file.reason ?? ""), el("p", { class: "buttons" },
    el("button", { type: "button", "aria-label": `Replay ${name}`, onclick: replay }, "Replay"),
    el("button", { type: "button", "aria-label": `Throw away ${name}`, onclick: drop }, "Throw away")));
}

function outcome(answer, what) {
  stamp = "";
  asked = -Infinity;
  refresh();
  const count = answer?.files ?? 1;
  return `${format.files(count)} ${count === 1 ? "is" : "are"} ${what}.`;
}
