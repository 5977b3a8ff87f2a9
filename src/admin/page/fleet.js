// Owns the list of the members that are no servers: agents, and those that anybody may have named. Those that need somebody
// come first, as the balancer sends them.

import * as format from "./format.js";
import { $, arrange, changes, el, icon, setAttribute, setIcon, setText, show } from "./dom.js";
import { age, drawHost, hostCells, isOld, shapeOf, trustWords } from "./host.js";
import { openMember } from "./member.js";
import { Shown } from "./shown.js";

/** How many members are shown at first, and how many more each time. */
const PAGE = 50;

/** From this many members on there is a filter. */
const FILTER_FROM = 9;

/** The states in the order in which the heading counts them. */
const COUNTED = ["unknown", "late", "joining", "leaving", "active", "gone"];

const rows = new Map();
let members = [];
/** How many there are in each state, those among them that are not sent. */
let states = {};
let more = 0;
let limit = PAGE;

$("member-filter-text").addEventListener("input", () => { limit = PAGE; draw(); });
$("members-more").addEventListener("click", () => { limit += PAGE; draw(); });

/** What is told of a member that has changed. */
const TOLD = { key: (member) => member.id, state: (member) => member.state, words: (member) => `${member.name} is ${member.state}` };

/** Shows the members as they are now, and gives what has changed, in words. */
export function showFleet(fleet) {
  const now = fleet?.members ?? [];
  const told = changes("members", members, now, TOLD);
  members = now;
  states = fleet?.states ?? {};
  more = fleet?.more ?? 0;
  const ids = new Set(members.map((member) => member.id));
  for (const id of rows.keys()) if (!ids.has(id)) rows.delete(id);
  draw();
  return told;
}

function draw() {
  show($("fleet"), members.length > 0);
  if (members.length === 0) return;
  setText($("fleet-count"), tally());
  show($("member-filter"), members.length >= FILTER_FROM);
  const words = $("member-filter-text").value.trim().toLowerCase();
  const found = members.filter((member) => !words ||
    `${member.name} ${member.id} ${member.host ?? ""} ${member.state} ${member.trust} ${member.reason ?? ""}`.toLowerCase().includes(words));
  arrange($("member-rows"), found.slice(0, limit).map((member) => {
    const row = rows.get(member.id) ?? new MemberRow(member);
    rows.set(member.id, row);
    row.update(member);
    return row.node;
  }));
  show($("no-members"), found.length === 0);
  show($("members-more"), found.length > limit);
  setText($("members-more"), `Show ${Math.min(found.length - limit, PAGE)} more of ${format.count(found.length - limit)}`);
  show($("members-left"), more > 0);
  setText($("members-left"), `${format.count(more)} more are not shown here: \`bilico fleet ls\` lists them.`);
}

function tally() {
  return COUNTED.filter((state) => states[state] > 0).map((state) => `${format.count(states[state])} ${state}`).join(", ");
}

class MemberRow extends Shown {
  constructor(member) {
    super();
    const cell = (label, kind, ...children) => el("td", { role: "cell", "data-label": label, class: kind }, ...children);
    this.shape = icon("unknown");
    [this.word, this.reason, this.since] = [el("strong"), el("span", { class: "reason" }), el("span", { class: "since" })];
    [this.name, this.claim, this.kept] = [el("span", { class: "title" }), el("span", { class: "tag" }, "not verified"), el("span", { class: "tag" }, "kept")];
    this.claim.title = trustWords({ trust: "claimed" });
    this.opener = el("button", { type: "button", class: "link", onclick: () => openMember(this.member) }, this.name);
    this.cells = hostCells(cell);
    [this.load, this.age] = [cell("Load", "load num"), cell("Last word", "age")];
    this.node = el("tr", { role: "row", "data-member": member.id },
      el("th", { role: "rowheader", scope: "row" }, this.opener, " ", this.claim, this.kept),
      cell("State", "state", el("span", { class: "is" }, el("span", { class: "mark" }, this.shape, " ", this.word), this.since), this.reason),
      ...Object.values(this.cells), this.load, this.age);
  }

  update(member) {
    this.member = member;
    this.put("state", member.state, (state) => {
      setAttribute(this.node, "data-state", shapeOf(state));
      setAttribute(this.node, "data-is", state);
      setIcon(this.shape, shapeOf(state));
    });
    this.text(this.name, "name", member.name);
    this.title(this.opener, "id", `${member.id}${member.host ? ` at ${member.host}` : ""}: show its charts`);
    this.put("label", member.name, (name) => setAttribute(this.opener, "aria-label", `${name}: show its charts`));
    this.text(this.word, "word", member.state);
    const why = [member.reason, ...member.notes].filter(Boolean).join("; ");
    this.text(this.reason, "reason", why);
    this.title(this.reason, "whole reason", why);
    this.text(this.since, "since", member.state === "active" ? "" : format.duration(Math.floor(member.since_s)));
    show(this.claim, member.trust === "claimed");
    show(this.kept, member.protected);
    this.flag(this.node, "old", isOld(member));
    drawHost(this, this.cells, member, member.facts);
    this.text(this.load, "load", typeof member.facts.load === "number" ? `${Math.round(member.facts.load * 100)} %` : "–");
    this.text(this.age, "age", age(member));
  }
}
