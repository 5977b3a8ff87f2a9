// Owns how a file shows, as a line that opens into its way, and the search for files.

import * as format from "./format.js";
import { $, el, icon, setText } from "./dom.js";
import { call } from "./api.js";

const FOUND = 50;

/** The words, the shape and the colour of each place that a file can be in. */
const PLACES = {
  accepting: ["being accepted", "connecting"],
  waiting: ["waiting", "drained"],
  in_flight: ["in flight", "full"],
  delivered: ["delivered", "up"],
  dead: ["dead letter", "down"],
  dropped: ["thrown away", "removing"],
  cancelled: ["cancelled", "removing"],
};

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  find($("find-text").value.trim());
});

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
export function item(file, open, ...buttons) {
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

/** What saves a file's content; `where` is the list that it is in. */
export function saveLink(where, file, name) {
  return el("a", { class: "button save", href: `/api/v1/${where}/${file.number}/content`, download: "", title: "Save its content", "aria-label": `Save the content of ${name}` }, "Save");
}

/** What has become of a file, in the order in which it did. */
function way(file) {
  const step = (ms, text) => el("li", {}, el("time", {}, ms ? format.moment(ms) : ""), ` ${text}`);
  const steps = [step(file.accepted_ms, `accepted from ${file.from}`)];
  const came = (attempt) => attempt.server ? `came back from ${attempt.server}: ${attempt.reason}` : `dead letter: ${attempt.reason}; it was replayed later`;
  for (const attempt of file.history) steps.push(step(attempt.at_ms, came(attempt)));
  const more = file.attempts - file.history.filter((attempt) => attempt.server).length;
  if (more > 0) steps.push(step(null, `… and ${format.count(more)} times more`));
  const confirmed = file.confirmed === false ? ", which never acknowledges" : "";
  const last = {
    accepting: "being written to the journal",
    waiting: file.reason ? `waits: ${file.reason}` : "waits for a server",
    in_flight: `with ${file.server}, not acknowledged yet`,
    delivered: `stored by ${file.server}${confirmed}`,
    dead: `dead letter: ${file.reason ?? "no server can take it"}`,
    dropped: "thrown away",
    cancelled: file.reason ?? "cancelled",
  }[file.place];
  if (last) steps.push(step(file.ended_ms, last));
  const facts = `${format.count(file.size)} bytes · crc32c ${file.crc32c}${file.key ? ` · key ${file.key}` : ""}`;
  return el("div", { class: "way" }, el("p", {}, facts), el("ol", {}, ...steps));
}
