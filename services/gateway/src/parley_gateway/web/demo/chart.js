// A line chart of readings, drawn as SVG: one line for each sensor, one point for each reading.

import { h } from "../assets/dom.js";
import { chinese, say } from "./common.js";

const SVG = "http://www.w3.org/2000/svg";
const PAD = { top: 14, right: 14, bottom: 28, left: 48 };
const HEIGHT = 240;
const HUES = 6;
const STEPS_MS = [1, 5, 10, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400, 43200].map((minutes) => minutes * 60_000);

// Round numbers that cover [low, high] in about `count` steps.
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  return Array.from({ length: last - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

// Full hours or days within [from, to], at most `count`, in the zone of the browser.
export function moments(from, to, count) {
  const step = STEPS_MS.find((each) => (to - from) / each <= count) ?? Math.ceil((to - from) / count);
  const offset = new Date(from).getTimezoneOffset() * 60_000;
  const first = Math.ceil((from - offset) / step) * step + offset;
  const found = [];
  for (let at = first; at <= to; at += step) found.push(at);
  return found;
}

// Readings by sensor, oldest first.
export function series(readings) {
  const found = new Map();
  for (const reading of readings) {
    const point = { at: Date.parse(reading.timestamp), value: Number(reading.value), shown: String(reading.value), unit: reading.unit };
    if (!found.has(reading.sensor)) found.set(reading.sensor, []);
    found.get(reading.sensor).push(point);
  }
  for (const points of found.values()) points.sort((one, other) => one.at - other.at);
  return found;
}

// The range of values to draw: never empty, so that a single reading has a place.
export function range(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = high > low ? (high - low) * 0.08 : Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

export class Chart {
  constructor(entry, title) {
    this.lines = series(entry.readings);
    this.title = title;
    this.unit = entry.readings[0]?.unit ?? "";
    this.figure = h("p", { class: "readout", "aria-live": "off" });
    this.canvas = h("div", { class: "canvas" });
    const legend = [...this.lines.keys()].map((sensor, at) => h("span", { class: `key hue${at % HUES}` }, sensor));
    this.root = h("figure", { class: "chart", "data-metric": entry.metric }, h("figcaption", null, h("strong", null, this.unit ? `${title} (${this.unit})` : title), ...legend), this.canvas, this.figure, this.#table(entry));
    this.watcher = new ResizeObserver(() => this.#draw());
    this.watcher.observe(this.canvas);
  }

  dispose() {
    this.watcher.disconnect();
  }

  #draw() {
    const width = Math.max(260, this.canvas.clientWidth);
    const points = [...this.lines.values()].flat();
    const [from, to] = widened(points.map((point) => point.at));
    const marks = ticks(...range(points.map((point) => point.value)), 4);
    const x = scale(from, to, PAD.left, width - PAD.right);
    const y = scale(marks[0], marks.at(-1), HEIGHT - PAD.bottom, PAD.top);
    const svg = node("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${this.title}: ${points.length}` });
    svg.append(...marks.map((mark) => this.#level(mark, y(mark), width)));
    svg.append(...moments(from, to, Math.floor(width / 80)).map((at) => label(x(at), HEIGHT - 8, "middle", when(at, to - from))));
    [...this.lines].forEach(([sensor, line], number) => svg.append(this.#line(sensor, line, number % HUES, x, y)));
    svg.addEventListener("pointermove", (event) => this.#nearest(event, svg));
    this.canvas.replaceChildren(svg);
    this.figure.textContent = say("Point at a reading to see its figures.", "指向一个读数可查看数值。");
  }

  #level(mark, at, width) {
    const level = node("g", {});
    level.append(node("line", { class: "level", x1: PAD.left, x2: width - PAD.right, y1: at, y2: at }), label(PAD.left - 8, at + 4, "end", String(mark)));
    return level;
  }

  #line(sensor, line, hue, x, y) {
    const group = node("g", { class: `hue${hue}`, "data-sensor": sensor });
    group.append(node("polyline", { points: line.map((point) => `${x(point.at)},${y(point.value)}`).join(" ") }));
    const size = line.length > 80 ? 2 : 3.2;
    for (const point of line) {
      const circle = node("circle", { class: "point", cx: x(point.at), cy: y(point.value), r: size, "data-value": point.shown });
      circle.said = `${sensor} · ${new Date(point.at).toLocaleString(chinese ? "zh-CN" : undefined)} · ${point.shown} ${point.unit}`;
      group.append(circle);
    }
    return group;
  }

  #nearest(event, svg) {
    const box = svg.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    const away = (circle) => Math.hypot(circle.getAttribute("cx") - left, circle.getAttribute("cy") - top);
    const circles = [...svg.querySelectorAll(".point")];
    const found = circles.reduce((best, each) => (away(each) < away(best) ? each : best), circles[0]);
    for (const each of svg.querySelectorAll(".near")) each.classList.remove("near");
    found.classList.add("near");
    this.figure.textContent = found.said;
  }

  // The same readings for those who do not see the drawing.
  #table(entry) {
    const rows = entry.readings.map((each) => h("tr", null, h("td", null, new Date(each.timestamp).toLocaleString(chinese ? "zh-CN" : undefined)), h("td", null, each.sensor), h("td", { class: "number" }, `${each.value} ${each.unit}`)));
    const more = entry.truncated ? say(", newest only", "，仅最新的") : "";
    const words = say(`${rows.length} readings${more}`, `${rows.length} 条读数${more}`);
    return h("details", { class: "rows" }, h("summary", null, words), h("div", { class: "table" }, h("table", null, h("tbody", null, rows))));
  }
}

function widened(times) {
  const from = Math.min(...times);
  const to = Math.max(...times);
  return to > from ? [from, to] : [from - 3_600_000, to + 3_600_000];
}

function scale(low, high, from, to) {
  return (value) => Math.round((from + ((value - low) / (high - low)) * (to - from)) * 10) / 10;
}

function when(at, span) {
  const day = { month: "numeric", day: "numeric" };
  const hour = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const form = span > 5 * 86_400_000 ? day : span > 86_400_000 ? { ...day, ...hour } : hour;
  return new Intl.DateTimeFormat(chinese ? "zh-CN" : undefined, form).format(at);
}

function node(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function label(x, y, anchor, text) {
  const element = node("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}
