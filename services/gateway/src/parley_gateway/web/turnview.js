// One turn on the page. update() may be called as often as events come; it changes only what differs.

import { chips } from "./chips.js";
import { h, icon, langOf } from "./dom.js";
import { foot } from "./foot.js";
import { stageName, t } from "./i18n.js";
import { render } from "./markdown.js";
import { claimBefore } from "./passages.js";
import { ended } from "./turns.js";

const PATH = ["routing", "retrieving", "generating"];

export class TurnView {
  // actions: openSource(turn, n, {claims, cited, opener}), retry(turn), copy(turn), read(turn)
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    const lang = langOf(turn.text);
    this.stages = h("ol", { class: "stages" });
    this.answer = h("div", { class: "answer", "aria-label": t("answer"), role: "group" });
    this.sources = h("div", { class: "chips", role: "group", "aria-label": t("sources") });
    this.note = h("div", { class: "note" });
    this.foot = h("div", { class: "foot" });
    this.words = h("span", { class: "words" }, turn.text);
    const question = h("h2", { class: "question", lang }, h("span", { class: "hidden" }, t("you")), this.words);
    this.root = h("article", { class: "turn", "data-turn": turn.id }, question, this.stages, this.answer, this.sources, this.note, this.foot);
    this.shown = {};
    this.ticker = null;
    this.update();
  }

  update() {
    const { turn } = this;
    this.root.dataset.state = turn.state;
    this.root.setAttribute("aria-busy", String(!ended(turn)));
    this.#once("question", [turn.text], () => this.#showQuestion());
    this.#once("stages", [turn.state, turn.stage, turn.cancelling], () => this.#showStages());
    this.#once("answer", [turn.answer, turn.sources.length], () => this.#showAnswer());
    this.#once("sources", [turn.sources, [...this.#cited()], ended(turn)], () => this.#showSources());
    this.#once("note", [turn.state, turn.error, retryWait(turn)], () => this.#showNote());
    this.#once("foot", [turn.state, turn.latency], () => this.foot.replaceChildren(...foot(turn, this.actions)));
  }

  dispose() {
    clearInterval(this.ticker);
    this.root.remove();
  }

  #once(part, value, show) {
    const key = JSON.stringify(value);
    if (this.shown[part] === key) return;
    this.shown[part] = key;
    show();
  }

  #showQuestion() {
    this.words.textContent = this.turn.text || "…";
    this.words.parentElement.lang = langOf(this.turn.text);
  }

  #showStages() {
    const { turn } = this;
    if (ended(turn)) return this.stages.replaceChildren();
    if (turn.cancelling) return this.stages.replaceChildren(h("li", { class: "now" }, t("cancelling")));
    const sent = turn.spoken ? "transcribing" : "sent";
    const current = turn.stage ?? { unsent: "waiting", sent }[turn.state] ?? "queued";
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

  #showSources() {
    const cited = this.#cited();
    const open = (n) => (event) => {
      const marks = this.#marks().filter((mark) => Number(mark.textContent) === n);
      this.#open(n, marks, event.currentTarget);
    };
    this.sources.replaceChildren(...chips(this.turn.sources, cited, ended(this.turn), open));
  }

  #showNote() {
    const { turn } = this;
    const words = this.#noteWords();
    const parts = words ? [turn.state === "cancelled" ? null : icon("warn"), h("span", null, words)] : [];
    if (["failed", "expired", "refused"].includes(turn.state)) parts.push(this.#retryButton());
    this.note.replaceChildren(...parts.filter(Boolean));
    this.note.className = `note ${turn.state}`;
    if (retryWait(this.turn) > 0) this.ticker ??= setInterval(() => this.update(), 500);
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
    const wait = retryWait(this.turn);
    const words = wait > 0 ? t("retryIn", { s: wait }) : t("retry");
    const act = () => this.actions.retry(this.turn);
    return h("button", { class: "plain", type: "button", disabled: wait > 0, onclick: act }, icon("retry"), words);
  }
}

// Seconds left before the question may be asked again.
function retryWait(turn) {
  const left = Math.ceil(((turn.error?.retryAt ?? 0) - Date.now()) / 1000);
  return Math.max(0, left);
}
