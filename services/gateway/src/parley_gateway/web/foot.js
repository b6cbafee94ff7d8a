// The line below an ended turn: its times, the latency record behind them, and the buttons that read the answer aloud
// and copy it.

import { h, icon } from "./dom.js";
import { duration, stageName, t } from "./i18n.js";
import { ended, latencyOf, measured } from "./turns.js";

const COPIED_MS = 1_500;

// -> nodes; `copy(turn)` resolves to whether the answer is in the clipboard, `read(turn)` has it read aloud.
export function foot(turn, { copy, read }) {
  if (!ended(turn) || turn.state === "refused") return [];
  const { first, total } = measured(turn);
  const times = [first === null ? null : time("first", t("firstToken"), first), time("total", t("total"), total)];
  const details = h("details", { class: "latency" }, h("summary", null, times), record(turn));
  if (!turn.answer) return [details];
  const tools = turn.state === "completed" ? [readButton(() => read(turn))] : [];
  return [details, h("span", { class: "tools" }, tools, copyButton(() => copy(turn)))];
}

function time(name, label, ms) {
  return h("span", { class: "time", "data-time": name }, h("span", { class: "label" }, `${label} `), duration(ms));
}

function readButton(read) {
  return h("button", { class: "tool", type: "button", "aria-label": t("read"), title: t("read"), onclick: read }, icon("speak"));
}

function copyButton(copy) {
  const button = h("button", { class: "tool copy", type: "button", "aria-label": t("copy"), title: t("copy") }, icon("copy"));
  button.addEventListener("click", async () => {
    if (!(await copy())) return;
    button.replaceChildren(icon("done"));
    setTimeout(() => button.replaceChildren(icon("copy")), COPIED_MS);
  });
  return button;
}

function record(turn) {
  const latency = latencyOf(turn.latency);
  if (!latency) return h("p", null, t("noLatency"));
  const scale = Math.max(latency.total ?? 0, ...latency.stages.map(({ wait, work }) => wait + work), 0.001);
  const rows = latency.stages.map((hop) => stageRow(hop, scale));
  const facts = [
    ["serverAccepted", latency.accepted],
    ["serverFirst", latency.first],
    ["serverTotal", latency.total],
  ].flatMap(([label, ms]) => (ms === null ? [] : [h("div", null, h("dt", null, t(label)), h("dd", null, duration(ms)))]));
  const tokens = turn.usage?.completion_tokens ? t("tokens", { n: turn.usage.completion_tokens }) : null;
  const attempt = turn.attempt > 1 ? t("attempt", { n: turn.attempt }) : null;
  const extra = [tokens, attempt].filter(Boolean).join(" · ");
  return h("div", { class: "times" }, h("table", { "aria-label": t("perStage") }, rows), h("dl", null, facts), extra ? h("p", null, extra) : null);
}

// A bar from the wait (pale) to the work (full), drawn as SVG attributes because inline styles are not allowed.
function stageRow({ stage, wait, work }, scale) {
  const percent = (ms) => (100 * ms) / scale;
  const bar = svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  const piece = (kind, from, length) => svg("rect", { class: kind, x: from, width: Math.max(length, 0.8), height: 6 });
  bar.append(piece("wait", 0, percent(wait)), piece("work", Math.min(99, percent(wait)), percent(work)));
  const words = `${t("wait", { ms: duration(wait) })} · ${t("work", { ms: duration(work) })}`;
  return h("tr", null, h("th", { scope: "row" }, stageName(stage)), h("td", { class: "bar" }, bar), h("td", null, words));
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
