// Speaks a streaming answer to screen readers by whole sentences, politely. Announcing every change of the visible
// text would repeat it from the start over and over.

import { byId, h, langOf } from "./dom.js";

const EVERY_MS = 800;
const KEPT = 6;

export class Announcer {
  constructor() {
    this.region = byId("spoken");
    this.said = new Map(); // turn id -> characters spoken
    this.waiting = new Map();
    this.timer = null;
  }

  // `whole`: say the rest too, for no more will come.
  answer(turn, whole) {
    this.waiting.set(turn.id, { turn, whole });
    this.timer ??= setTimeout(() => this.#flush(), EVERY_MS);
  }

  // What was there before the page was loaded is not news.
  skip(turn) {
    this.said.set(turn.id, turn.answer.length);
  }

  // A restarted answer is told from its start.
  forget(turn) {
    this.said.delete(turn.id);
  }

  say(text) {
    this.region.append(h("p", { lang: langOf(text) }, text));
    while (this.region.children.length > KEPT) this.region.firstChild.remove();
  }

  #flush() {
    this.timer = null;
    for (const { turn, whole } of this.waiting.values()) {
      const from = Math.min(this.said.get(turn.id) ?? 0, turn.answer.length);
      const rest = turn.answer.slice(from);
      const sentences = whole ? rest : /^[\s\S]*[.!?。！？\n](?=\s|$|\p{Script=Han})/u.exec(rest)?.[0];
      if (!sentences?.trim()) continue;
      this.said.set(turn.id, from + sentences.length);
      this.say(sentences.replace(/[*_`#|]|\[\d+\]/g, "").trim());
    }
    this.waiting.clear();
  }
}
