// The source panel: beside the conversation on a wide screen, a sheet over it on a narrow one.

import { byId, h, langOf } from "./dom.js";
import { excerpt } from "./excerpt.js";
import { t } from "./i18n.js";
import { support } from "./passages.js";

const WIDE = matchMedia("(min-width: 1080px)");

export class SourcePanel {
  constructor() {
    this.dialog = byId("sources");
    this.list = byId("sources-list");
    this.opener = null;
    byId("sources-close").addEventListener("click", () => this.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.close(); // the backdrop of the sheet
    });
    this.dialog.addEventListener("close", () => this.#closed());
    this.dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      event.preventDefault();
      this.close();
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  // Shows the turn's sources, those that the answer cites (`cited`: their numbers, from 1) before the others, with the
  // n-th open, the words behind the `claims` marked, and brings it into view.
  open(turn, n, { claims, cited, opener }) {
    this.opener = opener;
    byId("sources-of").textContent = t("sourcesOf", { text: turn.text.slice(0, 120) });
    byId("sources-of").lang = langOf(turn.text);
    const numbers = citedFirst(turn.sources.length, cited);
    const items = new Map(numbers.map((each) => [each, item(turn.sources[each - 1], each, each === n ? claims : null)]));
    for (const [each, element] of items) element.classList.toggle("quiet", cited.size > 0 && !cited.has(each));
    this.list.replaceChildren(...items.values());
    if (!this.dialog.open) {
      if (WIDE.matches) this.dialog.show();
      else this.dialog.showModal();
    }
    document.body.classList.add("with-sources");
    const chosen = items.get(n);
    chosen?.querySelector("summary").focus({ preventScroll: true });
    (chosen?.querySelector("mark") ?? chosen)?.scrollIntoView({ block: "nearest" });
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  #closed() {
    document.body.classList.remove("with-sources");
    if (this.opener?.isConnected) this.opener.focus();
    else byId("question").focus();
    this.opener = null;
  }
}

// The numbers 1 to `count`, those of `cited` first.
export function citedFirst(count, cited) {
  const numbers = Array.from({ length: count }, (_, at) => at + 1);
  return [...numbers.filter((n) => cited.has(n)), ...numbers.filter((n) => !cited.has(n))];
}

function item(source, n, claims) {
  const active = claims !== null;
  const ranges = active ? supportOf(source.text, claims) : [];
  const place = source.start === null || source.end === null ? null : t("characters", source);
  const score = source.score === null ? null : t("score", { score: source.score.toFixed(2) });
  const facts = [source.document, place, score].filter(Boolean).join(" · ");
  const title = source.title || source.document || source.id;
  const name = h("span", { class: "name", lang: langOf(title) }, title);
  const summary = h("summary", { "aria-label": t("source", { n, title }) }, h("span", { class: "badge" }, String(n)), name);
  const note = ranges.length ? h("p", { class: "facts" }, t("supports")) : null;
  const details = h("details", { open: active }, summary, h("p", { class: "facts" }, facts), passage(source.text, ranges, active), note);
  return h("li", { class: active ? "active" : null }, details);
}

function supportOf(text, claims) {
  const found = claims.flatMap((claim) => support(text, claim)).sort((one, other) => one[0] - other[0]);
  return found.filter(([from], at) => at === 0 || from !== found[at - 1][0]);
}

// The whole of the passage is marked where no single sentence could be told.
function passage(text, ranges, active) {
  if (!text) return h("p", { class: "facts" }, t("noText"));
  const wanted = ranges.length || !active ? ranges : [[0, text.length]];
  return h("blockquote", { class: ranges.length ? "passage" : "passage whole", lang: langOf(text) }, excerpt(text, wanted));
}
