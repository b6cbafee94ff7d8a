"use strict";
// The timeline: lanes of clients, bars of turns, bands of faults. Draws only what lies in the window of time in view.
const data = JSON.parse(document.getElementById("data").textContent);
const [LEFT, TOP, ROW, BAR, PAD, MOST] = [84, 8, 13, 9, 9, 5000];
const $ = (id) => document.getElementById(id);
const turns = data.turns.map(([lane, row, client, turn, status, asked, accepted, first, done, cancelled, restarts, broken], index) =>
  ({ index, lane, row, client, turn, status, asked, accepted, first, done, cancelled, restarts, broken }));
const violations = data.violations.map(([rule, lane, client, turn, at]) => ({ rule, lane, client, turn, at }));
const gateways = [...new Set(data.sockets.map((socket) => socket[2]))].sort();
const lasted = Math.max(data.lasted || 0, 1);
let [from, to, chosen, seen] = [0, lasted, null, -1];
let tops = [];
const hurt = new Set(violations.map((violation) => violation.lane));

function make(parent, name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}
const seconds = (value) => (value === null ? "never" : `${value.toFixed(3)} s`);
const wanted = () => {
  const rule = $("rule").value, find = $("find").value.trim().toLowerCase();
  const keep = (turn) => (!rule || (rule === "*" ? turn.broken.length > 0 : turn.broken.some((each) => violations[each].rule === rule)))
    && (!find || turn.client.toLowerCase().includes(find) || turn.turn.toLowerCase().includes(find));
  keep.all = !rule && !find;
  return keep;
};

function steps(width) {
  const least = (to - from) / Math.max(2, width / 90);
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].find((each) => each * power >= least) * power;
  const marks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) marks.push([at, step < 1 ? at.toFixed(Math.min(3, Math.ceil(-Math.log10(step)))) : Math.round(at).toString()]);
  return marks;
}

function overview() {
  const svg = $("overview"), width = svg.clientWidth, x = (at) => (at / lasted) * width;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} 34`);
  for (const [, , begin, end] of data.faults) make(svg, "rect", { class: "band", x: x(begin), y: 0, width: Math.max(1, x(end) - x(begin)), height: 34 });
  const bins = new Array(Math.max(1, Math.floor(width / 3))).fill(0);
  for (const turn of turns) bins[Math.min(bins.length - 1, Math.floor((turn.done / lasted) * bins.length))] += 1;
  const most = Math.max(...bins, 1);
  bins.forEach((count, index) => count && make(svg, "rect", { class: "turn completed", x: (index * width) / bins.length, y: 33 - 26 * (count / most), width: Math.max(1, width / bins.length - 1), height: 26 * (count / most) }));
  for (const violation of violations) make(svg, "circle", { class: "mark", cx: x(violation.at), cy: 5, r: 3 });
  make(svg, "rect", { class: "view", x: x(from), y: 0, width: Math.max(2, x(to) - x(from)), height: 34 });
}

function draw() {
  const svg = $("chart"), width = svg.clientWidth || 1000, x = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - 8);
  const keep = wanted(), filtered = $("rule").value || $("find").value.trim();
  tops = [];
  let height = TOP;
  for (const [, rows] of data.lanes) { tops.push(height); height += rows * ROW + PAD; }
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  const axis = $("axis");
  axis.replaceChildren();
  axis.setAttribute("viewBox", `0 0 ${$("lanes").offsetWidth - 2} 36`);
  for (const [at, label] of steps(width)) {
    make(svg, "line", { class: "rule", x1: x(at), x2: x(at), y1: 0, y2: height });
    make(axis, "line", { class: "rule", x1: x(at), x2: x(at), y1: 0, y2: 36 });
    make(axis, "text", { x: x(at) + 3, y: 13 }, `${label} s`);
  }
  bands(svg, axis, x, height);
  data.lanes.forEach(([name], lane) => {
    make(svg, "line", { class: "rule", x1: 0, x2: width, y1: tops[lane] - 4, y2: tops[lane] - 4 });
    make(svg, "text", { class: hurt.has(lane) ? "name hurt" : "name", x: 8, y: tops[lane] + 9 }, name.length > 11 ? `${name.slice(0, 10)}…` : name);
  });
  for (const [lane, , where, begin, end] of data.sockets) {
    if (end < from || begin > to) continue;
    const y = tops[lane] + data.lanes[lane][1] * ROW;
    make(svg, "line", { class: `socket g${Math.min(2, gateways.indexOf(where))}`, x1: Math.max(LEFT, x(begin)) + 0.5, x2: Math.max(LEFT, x(end)) - 0.5, y1: y, y2: y });
  }
  const inView = turns.filter((turn) => turn.done >= from && turn.asked <= to);
  const shown = sample(inView, keep);
  for (const turn of shown) bar(svg, turn, x, filtered && !keep(turn));
  for (const violation of violations) {
    if (violation.at < from || violation.at > to) continue;
    const left = x(violation.at), y = tops[violation.lane] - 3;
    make(svg, "path", { class: "mark", d: `M${left} ${y + 3} l-4 -6 h8 z` });
  }
  const out = inView.length - shown.length;
  $("note").textContent = [out ? `${out} turns not drawn at this zoom` : "", data.leftOut ? `${data.leftOut} turns are in no timeline` : ""].filter(Boolean).join("; ");
  overview();
}

// Those with a violation and those wanted first, then every so-manieth of the rest.
function sample(inView, keep) {
  if (inView.length <= MOST) return inView;
  const first = inView.filter((turn) => turn.broken.length || (keep(turn) && !keep.all)).slice(0, MOST);
  const taken = new Set(first), rest = inView.filter((turn) => !taken.has(turn));
  const step = rest.length / Math.max(1, MOST - first.length);
  return [...rest.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step)), ...first];
}

function bands(svg, axis, x, height) {
  let free = -Infinity;
  const few = data.faults.filter(([, , begin, end]) => end >= from && begin <= to).length < svg.clientWidth / 12;
  data.faults.forEach(([name, where, begin, end, note], index) => {
    if (end < from || begin > to) return;
    const left = Math.max(LEFT, x(begin)), right = Math.max(left + 1, x(end));
    make(svg, "rect", { class: "band", x: left, y: 0, width: right - left, height, "data-fault": index });
    if (few) make(svg, "line", { class: "edge", x1: left, x2: left, y1: 0, y2: height });
    if (left < free) return;
    const label = [name, where].filter(Boolean).join(" ");
    make(axis, "text", { x: left + 3, y: 29 }, label);
    free = left + 8 + label.length * 6;
  });
}

function bar(svg, turn, x, faint) {
  const y = tops[turn.lane] + turn.row * ROW, index = turn.index;
  const clip = (at) => Math.max(LEFT, x(at));
  const waits = clip(turn.asked), begin = clip(turn.accepted ?? turn.asked), end = Math.max(begin + 1.5, clip(turn.done));
  if (begin - waits > 0.5) make(svg, "rect", { class: faint ? "wait faint" : "wait", x: waits, y: y + BAR / 2 - 1, width: begin - waits, height: 2, "data-turn": index });
  make(svg, "rect", { class: `turn ${turn.status}${turn.broken.length ? " hurt" : ""}${faint ? " faint" : ""}`, x: begin, y, width: end - begin, height: BAR, rx: 1.5, "data-turn": index });
  if (faint || end - begin < 6) return;
  const tick = (at, kind) => at !== null && at >= from && make(svg, "line", { class: kind, x1: x(at), x2: x(at), y1: y, y2: y + BAR, "data-turn": index });
  tick(turn.first, "first");
  tick(turn.cancelled, "cancel");
  for (const at of turn.restarts) tick(at, "restart");
}

function describe(node) {
  if (node.dataset.turn !== undefined) {
    const turn = turns[node.dataset.turn];
    const since = (at) => (at === null ? "never" : `${seconds(at)} (after ${((at - turn.asked) * 1000).toFixed(0)} ms)`);
    return [`${turn.client} ${turn.turn}: ${turn.status}`, `asked ${seconds(turn.asked)}`, `accepted ${since(turn.accepted)}`, `first words ${since(turn.first)}`,
      turn.cancelled === null ? "" : `cancelled ${since(turn.cancelled)}`, ...turn.restarts.map((at) => `began anew ${since(at)}`),
      turn.status === "open" ? "no end" : `end ${since(turn.done)}`, ...turn.broken.map((each) => `broken: ${violations[each].rule}`)].filter(Boolean).join("\n");
  }
  if (node.dataset.fault !== undefined) {
    const [name, where, begin, end, note] = data.faults[node.dataset.fault];
    return [`${name} ${where}`, note && `aimed at: ${note}`, `${seconds(begin)} to ${seconds(end)}`].filter(Boolean).join("\n");
  }
  return "";
}

function look(begin, end) {
  const length = Math.min(lasted, Math.max(0.05, end - begin));
  from = Math.min(Math.max(0, begin), lasted - length);
  to = from + length;
  requestAnimationFrame(draw);
}
const zoom = (factor, around = (from + to) / 2) => look(around - (around - from) * factor, around + (to - around) * factor);
const timeAt = (event) => from + ((event.clientX - $("chart").getBoundingClientRect().left - LEFT) / ($("chart").clientWidth - LEFT - 8)) * (to - from);

$("in").onclick = () => zoom(0.5);
$("out").onclick = () => zoom(2);
$("all").onclick = () => look(0, lasted);
$("rule").onchange = $("find").oninput = () => draw();
if ($("next")) $("next").onclick = () => {
  const rule = $("rule").value;
  const those = violations.map((violation, index) => [violation, index]).filter(([violation]) => !rule || rule === "*" || violation.rule === rule);
  if (!those.length) return;
  seen = (seen + 1) % those.length;
  const [violation] = those[seen];
  look(violation.at - 3, violation.at + 3);
  $("lanes").scrollTop = tops[violation.lane] - 120;
};
$("chart").addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.shiftKey) return;
  event.preventDefault();
  zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, timeAt(event));
}, { passive: false });
let drag = null;
$("chart").onpointerdown = (event) => { drag = { at: event.clientX, from, to, moved: false }; };
window.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const by = ((drag.at - event.clientX) / ($("chart").clientWidth - LEFT)) * (drag.to - drag.from);
  if (Math.abs(drag.at - event.clientX) > 3) { drag.moved = true; look(drag.from + by, drag.to + by); }
});
window.addEventListener("pointerup", () => { setTimeout(() => { drag = null; }); });
$("overview").onclick = (event) => {
  const at = (event.offsetX / $("overview").clientWidth) * lasted, half = (to - from) / 2;
  look(at - half, at + half);
};
$("chart").onmousemove = (event) => {
  const text = describe(event.target), tip = $("tip");
  tip.hidden = !text || Boolean(drag && drag.moved);
  tip.textContent = text;
  tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 12)}px`;
  tip.style.top = `${Math.min(event.clientY + 16, window.innerHeight - tip.offsetHeight - 12)}px`;
};
$("chart").onmouseleave = () => { $("tip").hidden = true; };
$("chart").onclick = (event) => {
  if (drag && drag.moved) return;
  const text = describe(event.target), box = $("details");
  box.hidden = !text;
  box.textContent = text;
  for (const each of event.target.dataset.turn === undefined ? [] : turns[event.target.dataset.turn].broken) {
    const link = document.createElement("a");
    link.href = `#v${each}`;
    link.textContent = `\nwhat was seen around ${violations[each].rule}`;
    link.onclick = () => { $(`v${each}`).open = true; };
    box.append(link);
  }
};
const legend = [["completed", "completed"], ["cancelled", "cancelled"], ["failed", "failed"], ["expired", "expired"], ["open", "no end"], ["wait", "asked, not yet accepted"],
  ["restart", "began anew"], ["fault", "fault"], ...gateways.slice(0, 2).map((name, index) => [`gateway${index + 1}`, `socket at ${name || "a gateway"}`])];
for (const [kind, text] of legend) {
  const item = document.createElement("li"), box = document.createElement("i");
  box.className = kind;
  item.append(box, text);
  document.querySelector(".legend").append(item);
}
new ResizeObserver(() => draw()).observe($("lanes"));
