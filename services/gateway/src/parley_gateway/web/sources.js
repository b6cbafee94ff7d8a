// The source panel: beside the conversation on a wide screen, a sheet over it on a narrow one.

import { byId, h, langOf } from "./dom.js";
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

  // Shows the turn's sources with the n-th (from 1) open, the words behind `claim` marked, and brings it into view.
  open(turn, n, claim, opener) {
    this.opener = opener;
    byId("sources-of").textContent = t("sourcesOf", { text: turn.text.slice(0, 120) });
    byId("sources-of").lang = langOf(turn.text);
    const items = turn.sources.map((source, at) => this.#item(source, at + 1, at + 1 === n ? claim : null));
    this.list.replaceChildren(...items);
    if (!this.dialog.open) {
      if (WIDE.matches) this.dialog.show();
      else this.dialog.showModal();
    }
    document.body.classList.add("with-sources");
    const chosen = items[n - 1];
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

  #item(source, n, claim) {
    const active = claim !== null;
    const ranges = active && claim ? support(source.text, claim) : [];
    const place = source.start === null || source.end === null ? null : t("characters", source);
    const score = source.score === null ? null : t("score", { score: source.score.toFixed(2) });
    const facts = [source.document, place, score].filter(Boolean).join(" · ");
    return h(
      "li",
      { class: active ? "active" : null },
      h(
        "details",
        { open: active },
        h(
          "summary",
          { "aria-label": t("source", { n, title: source.title || source.document }) },
          h("span", { class: "badge" }, String(n)),
          h("span", { class: "name", lang: langOf(source.title) }, source.title || source.document || source.id),
        ),
        h("p", { class: "facts" }, facts),
        passage(source.text, ranges, active),
        ranges.length ? h("p", { class: "facts" }, t("supports")) : null,
      ),
    );
  }
}

// The passage as the plain text it is; the whole of it is marked where no single sentence could be told.
function passage(text, ranges, active) {
  if (!text) return h("p", { class: "facts" }, t("noText"));
  const wanted = ranges.length || !active ? ranges : [[0, text.length]];
  const parts = [];
  let last = 0;
  for (const [from, to] of wanted) {
    parts.push(text.slice(last, from), h("mark", null, text.slice(from, to)));
    last = to;
  }
  return h("blockquote", { class: ranges.length ? "passage" : "passage whole", lang: langOf(text) }, parts, text.slice(last));
}
