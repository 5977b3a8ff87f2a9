// Owns the charts of a member: which there are, and how they look. The library that draws them is loaded when the first
// member is opened. Invariant: what is not known is a gap, never a line.

import * as format from "./format.js";
import { announce, el, setAttribute, setText } from "./dom.js";

const HEIGHT = 128;

/** The room right of a chart, and the width of a digit of its labels, in pixels. */
const RIGHT = 6;
const DIGIT = 7;

/** Steps of an axis: parts of 1, and powers of two for bytes. */
const PARTS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1];
const POWERS = Array.from({ length: 63 }, (_, power) => 2 ** power);

const UNITS = {
  part: { text: (value) => format.percent(value), tick: (value) => `${Math.round(value * 100)} %`, incrs: PARTS, least: 1 },
  bytes: { text: (value) => format.bytes(value), tick: (value) => format.bytes(value), incrs: POWERS, least: 1024 },
  flow: { text: (value) => `${format.bytes(value)}/s`, tick: (value) => `${format.bytes(value)}/s`, incrs: POWERS, least: 1024 },
  packets: { text: (value) => `${format.rate(value)}/s`, tick: (value) => format.rate(value), least: 1 },
};

/** All charts: each line is a figure of the history with its name. `most` is the fact that ends the axis. */
const CHARTS = [
  { title: "Processor", unit: "part", lines: [["cpu", "busy"]] },
  { title: "Memory", unit: "bytes", lines: [["memory", "in use"], ["swap", "swap in use"]], most: "memory_total" },
  { title: "Disk space", unit: "bytes", lines: [["disk", "in use"]], most: "disk_total" },
  { title: "Disk traffic", unit: "flow", lines: [["disk_read", "read"], ["disk_write", "written"]] },
  { title: "Network", unit: "flow", lines: [["net_rx", "received"], ["net_tx", "sent"]] },
  { title: "Dropped packets", unit: "packets", lines: [["net_dropped", "dropped"]] },
  { title: "Load", unit: "part", lines: [["load", "wanted"]] },
  { title: "Memory of the process", unit: "bytes", lines: [["process", "resident"]], most: "process_limit" },
  { title: "Held content", unit: "bytes", lines: [["held", "held"]] },
];

/** The figures that all charts show. */
export const SHOWN_FIGURES = CHARTS.flatMap((chart) => chart.lines.map(([figure]) => figure));

let loading;

/** Loads the library once; a load that failed can be tried again. */
function library() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(el("link", { rel: "stylesheet", href: "/assets/uplot.css" }));
    document.head.append(el("script", { src: "/assets/uplot.js", onload: () => resolve(window.uPlot), onerror: reject }));
  }).catch(() => {
    loading = undefined;
    throw new Error("The balancer does not give the library that draws the charts: reload the page.");
  });
  return loading;
}

/** The charts of one member, in `parent`. */
export class Charts {
  constructor(parent) {
    this.parent = parent;
    this.charts = [];
    this.size = new ResizeObserver(() => this.resize());
    this.size.observe(parent);
    // Colours are painted, so that another theme needs new ones.
    this.theme = new MutationObserver(() => this.repaint());
    this.theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  }

  /** Shows columns of a history between two times; returns whether there is anything to see. */
  async show(columns, facts, from, to) {
    this.last = [columns, facts, from, to];
    const uPlot = await library();
    if (this.isClosed) return true;
    const has = ([figure]) => columns.figures[figure]?.avg.some((value) => value !== null);
    const wanted = CHARTS.filter((chart) => chart.lines.some(has));
    const key = JSON.stringify(wanted.map((chart) => [chart.title, chart.lines.filter(has)]));
    if (key !== this.key) {
      this.clear();
      this.key = key;
      this.charts = wanted.map((chart) => new Chart({ ...chart, lines: chart.lines.filter(has) }, this.parent, uPlot));
    }
    for (const chart of this.charts) chart.show(columns, facts, from, to);
    return wanted.length > 0;
  }

  resize() { for (const chart of this.charts) chart.resize(); }

  repaint() {
    if (!this.last) return;
    this.clear();
    this.show(...this.last).catch(() => {});
  }

  clear() {
    for (const chart of this.charts) chart.close();
    [this.charts, this.key] = [[], undefined];
  }

  close() {
    this.isClosed = true;
    this.clear();
    this.size.disconnect();
    this.theme.disconnect();
  }
}

class Chart {
  constructor(chart, parent, uPlot) {
    this.chart = chart;
    this.unit = UNITS[chart.unit];
    this.values = chart.lines.map(() => el("span"));
    this.at = el("span", { class: "at" });
    const legend = chart.lines.map(([, name], place) => el("span", { class: `line-${place}` }, el("i", { "aria-hidden": "true" }), ` ${name} `, this.values[place]));
    this.place = el("div", { class: "plot", role: "img", tabindex: "0", onkeydown: (event) => this.key(event), onblur: () => this.point(null) });
    this.node = el("section", { class: "chart", "data-chart": chart.title },
      el("h3", {}, chart.title), el("p", { class: "legend" }, ...legend, this.at), this.place);
    parent.append(this.node);
    [this.from, this.to, this.most] = [0, 1, 1];
    this.plot = new uPlot(this.options(uPlot), [[], ...chart.lines.map(() => []), ...this.band().map(() => [])], this.place);
  }

  /** One line has a band from its least to its most. */
  band() { return this.chart.lines.length === 1 ? ["max", "min"] : []; }

  options(uPlot) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const points = { show: () => false, filter: (plot, line) => alone(plot.data[line]), size: 4 };
    const lines = this.chart.lines.map((_, place) => ({ stroke: colour(`--chart-${place}`), width: 1.5, points: { ...points, fill: colour(`--chart-${place}`) } }));
    const edges = this.band().map(() => ({ stroke: "transparent", width: 0, points: { show: false } }));
    return {
      width: this.width(), height: HEIGHT, padding: [8, RIGHT, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "member", setSeries: false }, points: { size: 6 } },
      scales: { x: { range: () => [this.from, this.to] }, y: { range: () => [0, this.most] } },
      series: [{}, ...lines, ...edges],
      bands: edges.length > 0 ? [{ series: [2, 3], fill: colour("--area") }] : [],
      axes: [
        { ...axis, space: 64, size: 26, values: (plot, times) => times.map((time) => this.label(plot, time)) },
        { ...axis, space: 28, size: 68, incrs: this.unit.incrs, values: (_, values) => values.map((value) => this.unit.tick(value)) },
      ],
      hooks: { setCursor: [(plot) => this.point(plot.cursor.idx ?? null)] },
    };
  }

  width() { return Math.max(this.place.clientWidth, 120); }

  resize() { if (this.plot.width !== this.width()) this.plot.setSize({ width: this.width(), height: HEIGHT }); }

  show(columns, facts, from, to) {
    const { lines, most } = this.chart;
    const column = (figure) => columns.figures[figure];
    const highest = Math.max(...lines.map(([figure]) => top(column(figure).max)), this.unit.least);
    const end = typeof facts?.[most] === "number" ? facts[most] : highest * 1.08;
    [this.from, this.to, this.most] = [from, to, this.chart.unit === "part" ? 1 : Math.max(end, highest)];
    const edges = this.band().map((edge) => column(lines[0][0])[edge]);
    this.data = [columns.time, ...lines.map(([figure]) => column(figure).avg), ...edges];
    this.plot.setData(this.data);
    this.point(this.plot.cursor.idx ?? null);
    const words = lines.map(([figure, name]) => `${name}: ${this.summary(column(figure))}`);
    setAttribute(this.place, "aria-label", `${this.chart.title}, ${this.time(from)} to ${this.time(to)}. ${words.join(". ")}`);
  }

  summary({ avg, max }) {
    const known = avg.filter((value) => value !== null);
    if (known.length === 0) return "nothing is known";
    const average = known.reduce((sum, value) => sum + value, 0) / known.length;
    const missing = avg.length - known.length;
    const gaps = missing > 0 ? `; of ${Math.round((missing / avg.length) * 100)} % of the time nothing is known` : "";
    return `last ${this.unit.text(known.at(-1))}, average ${this.unit.text(average)}, most ${this.unit.text(top(max))}${gaps}`;
  }

  /** Tells the values at a place of the chart, or the last ones. */
  point(index) {
    if (!this.data) return;
    for (const [place, node] of this.values.entries()) {
      const line = this.data[place + 1];
      const value = index === null ? line.findLast((known) => known !== null) : line[index];
      setText(node, typeof value === "number" ? this.unit.text(value) : "nothing known");
    }
    setText(this.at, index === null ? "" : format.time(this.data[0][index] * 1000));
  }

  /** The arrows go along the line. */
  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const rows = this.data?.[0].length ?? 0;
    if (!step || rows === 0) return;
    event.preventDefault();
    const index = Math.min(Math.max((this.plot.cursor.idx ?? rows) + step, 0), rows - 1);
    this.plot.setCursor({ left: this.plot.valToPos(this.data[0][index], "x"), top: 0 });
    announce([this.at, ...this.values].map((node) => node.textContent).join(", "));
  }

  /** The time below a line of the grid, unless the edge of the chart would cut it. */
  label(plot, seconds) {
    const text = this.time(seconds);
    const end = plot.valToPos(seconds, "x") + (text.length * DIGIT) / 2;
    return end > plot.valToPos(this.to, "x") + RIGHT ? "" : text;
  }

  time(seconds) {
    const at = new Date(seconds * 1000);
    const pad = (number) => String(number).padStart(2, "0");
    const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
    return this.to - this.from > 2 * 86400 ? `${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock}` : clock;
  }

  close() {
    this.plot.destroy();
    this.node.remove();
  }
}

function top(values) { return values.reduce((most, value) => Math.max(most, value ?? 0), 0); }

/** The places of values between two gaps: no line would show them. */
function alone(values) {
  const known = (place) => typeof values[place] === "number";
  const places = values.map((_, place) => place);
  return places.filter((place) => known(place) && !known(place - 1) && !known(place + 1));
}
