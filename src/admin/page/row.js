// Owns how one server shows: a row of one line, and below it all that is known, when somebody opens it.

import * as format from "./format.js";
import { copy, el, icon, nameLine, setAttribute, setIcon, setText, show, spark } from "./dom.js";
import { age, drawHost, hostCells, isOld, words } from "./host.js";
import { openMember } from "./member.js";
import { askDrain, askRemove, askWeight } from "./orders.js";
import { Shown } from "./shown.js";
import { reasonOf, stateOf, stateWord } from "./states.js";

const CAME_BACK = "files that it refused, or that were with it when it failed; each was sent again, to it or to another";

/** What a server's directory holds. */
function heldWords(host) { return `${format.files(host.held_files)} in its directory${typeof host.held_bytes === "number" ? `, ${format.bytes(host.held_bytes)}` : ""}`; }

/** What a server's host tells. What anybody could have told is shown where it can be marked: beside its charts. */
function hostWords(host) {
  if (!host) return "nothing is known of it";
  if (host.trust === "claimed") return "what is told of it is not verified: its charts show it";
  return ["cpu", "ram", "disk"].map((key) => words(key, host, host)).join("; ");
}

export class Row extends Shown {
  constructor(name) {
    super();
    this.name = name;
    this.isOpen = false;
    const span = (kind, ...children) => el("span", { class: kind }, ...children);
    const bar = (...children) => el("span", { class: "bar", "aria-hidden": "true" }, el("i"), ...children);
    const cell = (label, kind, ...children) => el("td", { role: "cell", "data-label": label, class: kind }, ...children);
    this.shape = icon("unknown");
    this.word = el("strong");
    [this.reason, this.since] = [span("reason"), span("since")];
    this.weight = el("span");
    this.edit = el("button", { type: "button", class: "edit", "data-needs": "operate", onclick: () => askWeight(this.server) }, icon("edit"));
    [this.share, this.shareBar] = [el("span"), bar(el("b"))];
    [this.memory, this.memoryBar] = [el("span"), bar()];
    [this.flight, this.flightBar] = [el("span"), bar()];
    [this.delivered, this.returned] = [el("span"), span("returned")];
    this.rate = span("rate");
    this.spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.spark.setAttribute("class", "spark");
    this.spark.setAttribute("aria-hidden", "true");
    this.drain = el("button", { type: "button", class: "drain", "data-needs": "operate", onclick: () => askDrain(this.server) });
    this.opener = el("button", { type: "button", class: "open", "aria-expanded": "false", onclick: () => this.turn() }, nameLine(name));
    this.hosts = hostCells(cell);
    this.held = el("span");
    this.cells = {
      share: cell("Share", "share", this.share, this.shareBar),
      memory: cell("Memory", "memory", this.memory, this.memoryBar),
      flight: cell("In flight", "flight", this.flight, this.flightBar),
      ...this.hosts,
      held: cell("Held", "held num", this.held),
      delivered: cell("Delivered", "delivered num", this.returned, this.delivered),
      rate: cell("Files/s", "speed", this.rate, this.spark),
    };
    this.node = el("tr", { role: "row", "data-server": name },
      el("th", { role: "rowheader", scope: "row" }, this.opener),
      cell("State", "state", span("is", el("span", { class: "mark" }, this.shape, " ", this.word), this.since), this.reason),
      cell("Weight", "weight num", this.weight, this.edit),
      ...Object.values(this.cells),
      cell("", "act", this.drain));
  }

  /** Puts what the server is now into the row, and gives the nodes to show. */
  update(server, scale) {
    this.server = server;
    this.scale = scale;
    const state = stateOf(server);
    this.put("state", state, () => {
      setAttribute(this.node, "data-state", state);
      setIcon(this.shape, state);
    });
    this.text(this.word, "word", stateWord(server));
    const reason = reasonOf(server);
    this.text(this.reason, "reason", reason);
    this.title(this.reason, "whole reason", reason);
    this.text(this.since, "since", state === "up" || state === "full" ? "" : format.duration(server.since_s));
    this.text(this.weight, "weight", format.count(server.weight));
    this.put("edit", server.weight, () => {
      setAttribute(this.edit, "aria-label", `Weight ${server.weight}: change the weight of ${this.name}`);
      setAttribute(this.edit, "title", "Change the weight");
    });
    this.figures(server, scale);
    this.put("drain", server.drained, () => {
      setText(this.drain, server.drained ? "Undrain" : "Drain");
      setAttribute(this.drain, "aria-label", `${server.drained ? "Undrain" : "Drain"} ${this.name}`);
    });
    this.put("removing", Boolean(server.removing), (removing) => { this.drain.disabled = this.edit.disabled = removing; });
    if (!this.isOpen) return [this.node];
    this.drawMore();
    return [this.node, this.more];
  }

  figures(server, scale) {
    const { share, memory, flight, delivered, rate } = this.cells;
    const had = server.share_had === null ? "–" : format.percent(server.share_had);
    const wanted = format.percent(server.share_wanted);
    const minute = server.history.reduce((sum, stored) => sum + stored, 0);
    this.text(this.share, "share", `${had} / ${wanted}`);
    this.title(share, "whole share", `${format.count(minute)} of the ${format.files(scale.base)} of the last minute; ${server.share_wanted > 0 ? `by its weight it is to get ${wanted}` : "it is to get none now"}`);
    this.bar(this.shareBar, "share bar", (server.share_had ?? 0) / scale.share, server.share_wanted / scale.share);

    const used = server.memory ? server.memory.used / server.memory.limit : 0;
    this.text(this.memory, "memory", server.memory ? format.bytesOf(server.memory.used, server.memory.limit) : "–");
    this.title(memory, "whole memory", server.memory ? "Memory of its process, of the limit above which it is overloaded" : "This server does not say");
    this.bar(this.memoryBar, "memory bar", used);
    this.put("over", used > 1, (over) => this.memoryBar.classList.toggle("over", over));
    this.put("none", !server.memory, (none) => this.memoryBar.classList.toggle("none", none));

    const window = server.window_files;
    this.text(this.flight, "flight", window ? `${format.count(server.in_flight)} / ${format.count(window)}` : format.count(server.in_flight));
    this.title(flight, "whole flight", `${format.bytes(server.in_flight_bytes)} in flight${server.window_bytes ? `, at most ${format.bytes(server.window_bytes)}` : ""}`);
    this.bar(this.flightBar, "flight bar", window ? server.in_flight / window : 0);

    drawHost(this, this.hosts, server.host, server.host);
    this.put("old", server.host ? isOld(server.host) : false, (old) => {
      for (const cell of [...Object.values(this.hosts), this.cells.held]) cell.classList.toggle("old", old);
    });
    const held = server.host?.held_files;
    this.text(this.held, "held", typeof held === "number" ? format.count(held) : "–");
    this.title(this.cells.held, "whole held", typeof held === "number" ? heldWords(server.host) : "This server does not say what its directory holds");

    this.text(this.delivered, "delivered", format.count(server.delivered));
    this.text(this.returned, "returned", server.returned > 0 ? `↩ ${format.count(server.returned)}` : "");
    this.title(delivered, "whole delivered", `${format.files(server.delivered)} delivered, ${format.bytes(server.delivered_bytes)}; ${format.count(server.returned)} came back: ${CAME_BACK}`);
    this.text(this.rate, "rate", format.rate(server.files_per_s));
    const most = Math.max(0, ...server.history);
    this.title(rate, "whole rate", `Last minute: at most ${format.files(most)} in a second; the line's top is ${format.count(scale.files)}`);
    // A minute without a file looks the same each second.
    const line = most === 0 ? new Array(60).fill(0) : server.history;
    this.put("line", most === 0 ? "0" : `${scale.files} ${line}`, () => spark(this.spark, line, scale.files));
  }

  turn() {
    this.isOpen = !this.isOpen;
    setAttribute(this.opener, "aria-expanded", String(this.isOpen));
    this.node.classList.toggle("opened", this.isOpen);
    if (!this.isOpen) return this.more.remove();
    this.more ??= this.makeMore();
    this.drawMore();
    this.node.after(this.more);
  }

  makeMore() {
    this.facts = new Map();
    const list = el("dl");
    for (const label of ["State", "Speaks", "Share", "Memory", "In flight", "Host", "Holds", "Delivered", "Came back", "Files/s"]) {
      const fact = el("dd");
      this.facts.set(label, fact);
      list.append(el("div", {}, el("dt", {}, label), fact));
    }
    const full = el("p", { class: "full" }, el("code", {}, this.name), " ",
      el("button", { type: "button", class: "link", "aria-label": `Copy ${this.name}`, onclick: () => copy(this.name) }, "Copy"));
    this.charts = el("button", { type: "button", class: "charts", "aria-label": `Charts of ${this.name}`, onclick: () => openMember({ id: this.name, name: this.name }) }, "Charts …");
    this.remove = el("button", { type: "button", class: "remove", "data-needs": "admin", "aria-label": `Remove ${this.name}`, onclick: () => askRemove(this.server) }, "Remove …");
    return el("tr", { role: "row", class: "more" }, el("td", { role: "cell", colspan: "13" }, full, list, el("p", { class: "buttons" }, this.charts, this.remove)));
  }

  drawMore() {
    const { server, scale } = this;
    const reason = server.reason ? `: ${server.reason}` : "";
    const probe = typeof server.probe_ms === "number" ? `; the last probe took ${format.milliseconds(server.probe_ms)}` : "";
    const facts = {
      State: `${stateWord(server)} for ${format.duration(server.since_s)}${reason}`,
      Speaks: `${{ old_style: "the first system's protocol", native: "the native protocol" }[server.dialect] ?? "not known yet"}${probe}`,
      Share: this.cells.share.title,
      Memory: server.memory ? `${format.bytes(server.memory.used)} of ${format.bytes(server.memory.limit)}` : "this server does not say",
      "In flight": `${format.files(server.in_flight)}${server.window_files ? ` of at most ${format.count(server.window_files)}` : ""}; ${this.cells.flight.title}`,
      Host: hostWords(server.host),
      Holds: typeof server.host?.held_files === "number" ? `${heldWords(server.host)}, ${age(server.host)}` : "this server does not say",
      Delivered: `${format.files(server.delivered)}, ${format.bytes(server.delivered_bytes)}`,
      "Came back": server.returned > 0 ? `${format.count(server.returned)} ${CAME_BACK}` : "none",
      "Files/s": `${format.rate(server.files_per_s)}, ${format.bytes(server.bytes_per_s)}/s; at most ${format.count(Math.max(0, ...server.history))} in a second of the last minute`,
    };
    for (const [label, text] of Object.entries(facts)) setText(this.facts.get(label), text);
    show(this.charts, Boolean(server.host));
    show(this.remove, !server.removing);
  }
}
