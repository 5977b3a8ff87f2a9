// Owns handing files over from the page: what is dropped or chosen goes to the balancer, a few at a time, and each file shows
// how far it is and then its receipt. Invariant: a file is sent again under the same key, so that it is not stored twice.

import * as format from "./format.js";
import { $, el, icon, setIcon, setText, show, tell } from "./dom.js";
import { refusal } from "./api.js";
import { find } from "./files.js";
import { may } from "./session.js";

/** The most files that may be handed over at once: for more there is `bilico send`. */
const MOST = 100;

/** Files on the way at the same time. */
const AT_ONCE = 2;

/** Lines that are kept, the newest on top. */
const KEPT = 100;

const waiting = [];
let underWay = 0;

$("upload-files").addEventListener("change", (event) => {
  take(Array.from(event.target.files));
  // So that the same file can be chosen once more.
  event.target.value = "";
});

// A file that is dropped beside the field must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.dataTransfer.dropEffect = may("send") ? "copy" : "none";
  $("upload").classList.toggle("over", may("send"));
});
for (const kind of ["dragleave", "dragend"]) addEventListener(kind, (event) => { if (!event.relatedTarget) $("upload").classList.remove("over"); });
addEventListener("drop", (event) => {
  $("upload").classList.remove("over");
  if (!hasFiles(event) || !may("send")) return;
  const entries = Array.from(event.dataTransfer.items, (thing) => [thing.getAsFile(), thing.webkitGetAsEntry?.()?.isDirectory]);
  const folders = entries.filter(([, isFolder]) => isFolder).length;
  take(entries.filter(([file, isFolder]) => file && !isFolder).map(([file]) => file), folders);
});
// Whoever leaves now cuts off what is on the way.
addEventListener("beforeunload", (event) => { if (underWay > 0) event.preventDefault(); });

function hasFiles(event) { return event.dataTransfer?.types.includes("Files") ?? false; }

/** Takes files up to the bound, and says what it leaves out. */
function take(files, folders = 0) {
  const room = Math.max(MOST - waiting.length - underWay, 0);
  const left = [
    files.length > room ? `${format.files(files.length - room)}: at most ${MOST} at once` : "",
    folders > 0 ? `${folders === 1 ? "1 folder" : `${folders} folders`}: drop the files in it` : "",
  ].filter(Boolean);
  if (left.length > 0) tell(`Left out: ${left.join("; ")}. \`bilico send -r\` hands over as many as you like.`, "warn");
  for (const file of files.slice(0, room)) new Upload(file);
  $("upload-list").scrollIntoView?.({ block: "nearest" });
  next();
}

function next() {
  while (underWay < AT_ONCE && waiting.length > 0) waiting.shift().send();
}

class Upload {
  constructor(file) {
    this.file = file;
    this.key = newKey();
    this.mark = icon("connecting");
    this.word = el("span");
    this.bar = el("progress", { max: "1", value: "0", "aria-label": `How much of ${file.name} is sent` });
    this.button = el("button", { type: "button", class: "link", onclick: () => this.act() });
    this.node = el("li", { "data-state": "connecting" },
      el("span", { class: "title" }, file.name), el("span", { class: "size" }, format.bytes(file.size)), this.bar,
      el("span", { class: "mark" }, this.mark, " ", this.word), this.button);
    $("upload-list").prepend(this.node);
    while ($("upload-list").children.length > KEPT) $("upload-list").lastElementChild.remove();
    this.wait();
  }

  say(state, word, button, act) {
    this.node.dataset.state = state;
    setIcon(this.mark, state);
    setText(this.word, word);
    show(this.bar, state === "connecting");
    show(this.button, button !== null);
    setText(this.button, button ?? "");
    this.button.setAttribute("aria-label", `${button}: ${this.file.name}`);
    this.act = act;
  }

  wait() {
    waiting.push(this);
    this.say("connecting", "waits its turn", "Cancel", () => {
      waiting.splice(waiting.indexOf(this), 1);
      this.say("removing", "not sent", "Send again", () => this.again());
    });
  }

  again() { this.wait(); next(); }

  send() {
    underWay += 1;
    // Only this old kind of request tells how much of it is sent.
    const request = new XMLHttpRequest();
    request.open("PUT", `/files/${encodeURIComponent(this.file.name)}`);
    request.setRequestHeader("Idempotency-Key", this.key);
    request.upload.onprogress = ({ loaded, total }) => {
      this.bar.value = total > 0 ? loaded / total : 1;
      if (loaded === total) setText(this.word, "waiting for the receipt");
    };
    request.onload = () => this.answered(request);
    request.onerror = () => this.failed("The connection broke, or the file cannot be read.");
    request.onabort = () => this.failed("You stopped it; the balancer may have taken it all the same.");
    request.onloadend = () => { underWay -= 1; next(); };
    this.say("connecting", "on the way", "Cancel", () => request.abort());
    request.send(this.file);
  }

  answered(request) {
    let answer = null;
    try { answer = JSON.parse(request.responseText); } catch { /* Then the status alone tells. */ }
    if (request.status >= 300 || !answer?.number) return this.failed(refusal(request.status, request.statusText, answer).message);
    const sum = answer.crc32c ? ` · crc32c ${answer.crc32c}` : "";
    this.say("up", `accepted as file ${answer.number}${sum}`, may("read") ? "Show its way" : null, () => { find(`#${answer.number}`); $("find-text").focus(); });
  }

  failed(why) { this.say("down", why, "Send again", () => this.again()); }
}

/** A key that nobody else has. */
function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
