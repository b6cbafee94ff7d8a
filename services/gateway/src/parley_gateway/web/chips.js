// The sources below an answer: those that it cites by name, the others behind one quieter button.

import { h, langOf } from "./dom.js";
import { t } from "./i18n.js";

// -> buttons; `open(n)` gives the listener that opens source n (from 1). An answer that has ended without citing any
// shows all of them, for none is known to matter less.
export function chips(sources, cited, ended, open) {
  const numbers = sources.map((_, at) => at + 1);
  const named = cited.size === 0 && ended ? numbers : numbers.filter((n) => cited.has(n));
  const others = numbers.filter((n) => !named.includes(n));
  const buttons = named.map((n) => chip(sources[n - 1], n, open(n)));
  if (!others.length) return buttons;
  const words = t(named.length ? "more" : "found", { n: others.length });
  return [...buttons, h("button", { class: "chip quiet", type: "button", onclick: open(others[0]) }, words)];
}

function chip(source, n, onclick) {
  const title = source.title || source.document || source.id;
  const name = h("span", { class: "name", lang: langOf(title) }, title);
  const label = t("source", { n, title });
  return h("button", { class: "chip", type: "button", "aria-label": label, title: source.document || null, onclick }, h("span", { class: "badge" }, String(n)), name);
}
