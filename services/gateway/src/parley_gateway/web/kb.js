// The knowledge base to ask: a list where the server offers one, else a plain field.

import { byId, h } from "./dom.js";
import { t } from "./i18n.js";
import { choices, token } from "./store.js";

const DEFAULT = "default";
const TIMEOUT_MS = 10_000;

export class KnowledgeBase {
  constructor() {
    this.field = null;
    this.#plain();
  }

  get name() {
    return this.field.value.trim() || DEFAULT;
  }

  // Keeps what is there where the list cannot be had; called again after each new connection.
  async load() {
    const bases = await fetchBases();
    if (!bases.length) return;
    const wanted = choices.get("kb") ?? DEFAULT;
    const names = bases.map((base) => base.name);
    const chosen = names.includes(wanted) ? wanted : names.includes(DEFAULT) ? DEFAULT : names[0];
    const options = names.map((name) => h("option", { value: name, selected: name === chosen }, name));
    this.#place(h("select", { id: "kb", "aria-label": t("kb"), title: t("kb") }, options));
  }

  #plain() {
    const value = choices.get("kb") ?? DEFAULT;
    this.#place(h("input", { id: "kb", value, maxlength: "128", spellcheck: "false", "aria-label": t("kb"), title: t("kb") }));
  }

  #place(field) {
    if (document.activeElement === this.field && this.field) return;
    field.addEventListener("change", () => choices.set("kb", this.name));
    this.field = field;
    byId("kb-slot").replaceChildren(field);
  }
}

async function fetchBases() {
  const secret = token.get();
  const headers = secret ? { Authorization: `Bearer ${secret}` } : {};
  try {
    const url = new URL("v1/kb", document.baseURI);
    const reply = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!reply.ok) return [];
    const { bases } = await reply.json();
    return Array.isArray(bases) ? bases.filter((base) => typeof base?.name === "string" && base.name) : [];
  } catch {
    return []; // no list is a normal state: the field stays
  }
}
