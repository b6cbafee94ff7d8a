// One turn on the page. update() may be called as often as events come; it changes only what differs.

import { h, icon, langOf } from "./dom.js";
import { duration, stageName, t } from "./i18n.js";
import { render } from "./markdown.js";
import { claimBefore } from "./passages.js";
import { citedFirst } from "./sources.js";
import { ended, latencyOf, measured } from "./turns.js";

const PATH = ["routing", "retrieving", "generating"];

export class TurnView {
  // actions: openSource(turn, n, {claims, cited, opener}), retry(turn), copy(turn)
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    const lang = langOf(turn.text);
    this.stages = h("ol", { class: "stages" });
    this.answer = h("div", { class: "answer", "aria-label": t("answer"), role: "group" });
    this.sources = h("div", { class: "chips", role: "group", "aria-label": t("sources") });
    this.note = h("div", { class: "note" });
    this.foot = h("div", { class: "foot" });
    const question = h("h2", { class: "question", lang }, h("span", { class: "hidden" }, t("you")), h("span", { class: "words" }, turn.text));
    this.root = h("article", { class: "turn", "data-turn": turn.id }, question, this.stages, this.answer, this.sources, this.note, this.foot);
    this.shown = {};
    this.ticker = null;
    this.update();
  }

  update() {
    const { turn } = this;
    this.root.dataset.state = turn.state;
    this.root.setAttribute("aria-busy", String(!ended(turn)));
    this.#once("stages", [turn.state, turn.stage, turn.cancelling], () => this.#showStages());
    this.#once("answer", [turn.answer, turn.sources.length], () => this.#showAnswer());
    this.#once("sources", [turn.sources, [...this.#cited()], ended(turn)], () => this.#showSources());
    this.#once("note", [turn.state, turn.error, this.retryWait()], () => this.#showNote());
    this.#once("foot", [turn.state, turn.latency], () => this.#showFoot());
  }

  dispose() {
    clearInterval(this.ticker);
    this.root.remove();
  }

  // Seconds left before the question may be asked again.
  retryWait() {
    const left = Math.ceil(((this.turn.error?.retryAt ?? 0) - Date.now()) / 1000);
    return Math.max(0, left);
  }

  #once(part, value, show) {
    const key = JSON.stringify(value);
    if (this.shown[part] === key) return;
    this.shown[part] = key;
    show();
  }

  #showStages() {
    const { turn } = this;
    if (ended(turn)) return this.stages.replaceChildren();
    if (turn.cancelling) return this.stages.replaceChildren(h("li", { class: "now" }, t("cancelling")));
    const current = turn.stage ?? { unsent: "waiting", sent: "sent" }[turn.state] ?? "queued";
    const known = PATH.includes(current) ? PATH : [...turn.stages.filter((stage) => stage !== current), current];
    const passed = known.indexOf(current);
    const items = known.map((stage, at) => {
      const kind = at < passed ? "past" : at === passed ? "now" : "next";
      return h("li", { class: kind, "aria-current": kind === "now" ? "step" : null }, stageName(stage));
    });
    return this.stages.replaceChildren(...items);
  }

  #showAnswer() {
    const { turn } = this;
    render(this.answer, turn.answer, (n) => this.#cite(n), String(turn.sources.length));
  }

  #cite(n) {
    const source = this.turn.sources[n - 1];
    if (!source) return null;
    const title = source.title || source.document;
    const open = (event) => this.#open(n, [event.currentTarget], event.currentTarget);
    return h("button", { class: "cite", type: "button", "aria-label": t("source", { n, title }), title, onclick: open }, String(n));
  }

  // The numbers of the sources that the answer cites so far.
  #cited() {
    return new Set(this.#marks().map((mark) => Number(mark.textContent)));
  }

  #marks() {
    return [...this.answer.querySelectorAll(".cite")];
  }

  #open(n, marks, opener) {
    this.actions.openSource(this.turn, n, { claims: marks.map(claimBefore), cited: this.#cited(), opener });
  }

  // Sources that the answer cites stand out; the others are there, more quietly, unless it cites none at all.
  #showSources() {
    const { sources } = this.turn;
    const cited = this.#cited();
    const loud = (n) => cited.has(n) || (cited.size === 0 && ended(this.turn));
    const chips = citedFirst(sources.length, cited).map((n) => this.#chip(sources[n - 1], n, loud(n)));
    this.sources.replaceChildren(...chips);
  }

  #chip(source, n, loud) {
    const title = source.title || source.document || source.id;
    const open = (event) => {
      const marks = this.#marks().filter((mark) => Number(mark.textContent) === n);
      this.#open(n, marks, event.currentTarget);
    };
    const props = { class: loud ? "chip" : "chip quiet", type: "button", "aria-label": t("source", { n, title }), title: source.document || null, onclick: open };
    return h("button", props, h("span", { class: "badge" }, String(n)), h("span", { class: "name", lang: langOf(title) }, title));
  }

  #showNote() {
    const { turn } = this;
    const words = this.#noteWords();
    const parts = words ? [turn.state === "cancelled" ? null : icon("warn"), h("span", null, words)] : [];
    if (["failed", "expired", "refused"].includes(turn.state)) parts.push(this.#retryButton());
    this.note.replaceChildren(...parts.filter(Boolean));
    this.note.className = `note ${turn.state}`;
    if (this.retryWait() > 0) this.ticker ??= setInterval(() => this.update(), 500);
    else clearInterval(this.ticker);
  }

  #noteWords() {
    const { turn } = this;
    if (turn.state === "cancelled") return t(turn.answer ? "cancelled" : "cancelledEmpty");
    if (turn.state === "completed") return turn.answer ? null : t("noAnswer");
    if (!ended(turn)) return turn.error?.message || null;
    const reason = turn.error?.message || (turn.error?.code === "session_lost" ? t("session_lost") : "");
    return reason || t(turn.state);
  }

  #retryButton() {
    const wait = this.retryWait();
    const words = wait > 0 ? t("retryIn", { s: wait }) : t("retry");
    const act = () => this.actions.retry(this.turn);
    return h("button", { class: "plain", type: "button", disabled: wait > 0, onclick: act }, icon("retry"), words);
  }

  #showFoot() {
    const { turn } = this;
    if (!ended(turn) || turn.state === "refused") return this.foot.replaceChildren();
    const { first, total } = measured(turn);
    const time = (label, ms, name) => h("span", { class: "time", "data-time": name }, h("span", { class: "label" }, `${label} `), duration(ms));
    const summary = h("summary", null, first === null ? null : time(t("firstToken"), first, "first"), time(t("total"), total, "total"));
    const copy = h("button", { class: "tool copy", type: "button", "aria-label": t("copy"), title: t("copy") }, icon("copy"));
    copy.addEventListener("click", () => this.#copy(copy));
    const details = h("details", { class: "latency" }, summary, this.#latency());
    return this.foot.replaceChildren(details, ...(turn.answer ? [copy] : []));
  }

  async #copy(button) {
    if (!(await this.actions.copy(this.turn))) return;
    button.replaceChildren(icon("done"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1_500);
  }

  #latency() {
    const { turn } = this;
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
}

// A bar from the wait (pale) to the work (full), drawn as SVG attributes because inline styles are not allowed.
function stageRow({ stage, wait, work }, scale) {
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  bar.setAttribute("viewBox", "0 0 100 6");
  bar.setAttribute("preserveAspectRatio", "none");
  bar.setAttribute("aria-hidden", "true");
  const piece = (kind, from, length) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("class", kind);
    rect.setAttribute("x", String(from));
    rect.setAttribute("width", String(Math.max(length, 0.8)));
    rect.setAttribute("height", "6");
    return rect;
  };
  const percent = (ms) => (100 * ms) / scale;
  bar.append(piece("wait", 0, percent(wait)), piece("work", Math.min(99, percent(wait)), percent(work)));
  const words = `${t("wait", { ms: duration(wait) })} · ${t("work", { ms: duration(work) })}`;
  return h("tr", null, h("th", { scope: "row" }, stageName(stage)), h("td", { class: "bar" }, bar), h("td", null, words));
}
