// The page around the turns: the log and its scrolling, the composer, the state of the connection, notices.

import { byId, h, langOf } from "./dom.js";
import { t } from "./i18n.js";
import { choices } from "./store.js";
import { TurnView } from "./turnview.js";

const NEAR_END_PX = 80;
const TOAST_MS = 6_000;
// The text of close codes; others in 4100-4199 get the general one.
const CODES = new Set([4101, 4108, 4109, 4110, 4129]);

export class Log {
  constructor(actions) {
    this.actions = actions;
    this.scroller = byId("scroll");
    this.root = byId("log");
    this.latest = byId("latest");
    this.views = new Map();
    this.pending = new Set();
    this.frame = null;
    this.pinned = true;
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.latest.addEventListener("click", () => this.toEnd());
    // The window, the composer above a keyboard, or a disclosure within the log changed its size.
    const resized = new ResizeObserver(() => this.pinned && this.#jump());
    resized.observe(this.scroller);
    resized.observe(this.root);
  }

  show(turns) {
    for (const view of this.views.values()) view.dispose();
    this.views.clear();
    for (const turn of turns) this.add(turn);
    this.#empty();
    this.toEnd();
  }

  add(turn) {
    const view = new TurnView(turn, this.actions);
    this.views.set(turn.id, view);
    this.root.append(view.root);
    this.#empty();
    this.toEnd();
  }

  remove(turn) {
    this.views.get(turn.id)?.dispose();
    this.views.delete(turn.id);
    this.#empty();
  }

  // Draws at most once per frame, however many events come; a hidden page draws when it is seen again.
  update(turn) {
    this.pending.add(turn.id);
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      for (const id of this.pending) this.views.get(id)?.update();
      this.pending.clear();
      if (this.pinned) this.#jump();
      else this.#scrolled();
    });
  }

  toEnd() {
    this.pinned = true;
    this.#jump();
  }

  #jump() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.latest.hidden = true;
  }

  #scrolled() {
    const left = this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
    this.pinned = left < NEAR_END_PX;
    this.latest.hidden = this.pinned;
  }

  #empty() {
    byId("empty").hidden = this.views.size > 0;
  }
}

export class Composer {
  // actions: send(text), cancel() -> whether there was something to stop, history() -> texts, newest first
  constructor(actions) {
    this.actions = actions;
    this.box = byId("question");
    this.limit = Infinity;
    this.recalled = -1;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId("stop").addEventListener("click", () => {
      actions.cancel();
      this.box.focus();
    });
    this.box.addEventListener("input", () => this.#changed());
    this.box.addEventListener("keydown", (event) => this.#key(event));
    this.#changed();
  }

  running(isRunning) {
    byId("stop").hidden = !isRunning;
  }

  focus() {
    this.box.focus({ preventScroll: true });
  }

  #submit() {
    const text = this.box.value.trim();
    if (!text) return;
    const length = [...text].length;
    if (length > this.limit) {
      toast(t("tooLong", { n: length, max: this.limit }));
      return;
    }
    this.#set("");
    this.recalled = -1;
    this.actions.send(text);
  }

  #key(event) {
    // While an input method composes (Chinese, Japanese), Enter and arrows are its own.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      if (this.#recall(event.key === "ArrowUp" ? 1 : -1)) event.preventDefault();
    }
  }

  // Up in an empty box brings the last question back; further presses walk on while it is left as it was.
  #recall(by) {
    const texts = this.actions.history();
    const untouched = this.recalled < 0 ? this.box.value === "" : this.box.value === texts[this.recalled];
    const next = this.recalled + by;
    if (!untouched || next < -1 || next >= texts.length) return false;
    this.recalled = next;
    this.#set(next < 0 ? "" : texts[next]);
    return true;
  }

  #set(text) {
    this.box.value = text;
    this.#changed();
  }

  #changed() {
    byId("send").disabled = !this.box.value.trim();
    this.box.lang = langOf(this.box.value);
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight}px`;
  }
}

export class LinkState {
  constructor(reconnect) {
    this.timer = null;
    this.last = "";
    byId("banner-act").addEventListener("click", reconnect);
  }

  show(state) {
    clearInterval(this.timer);
    byId("link").dataset.phase = phaseOf(state);
    if (state.phase === "waiting") this.#countdown(state);
    else this.#text(linkText(state));
    this.#banner(state);
  }

  #countdown(state) {
    const until = Date.now() + state.retryMs;
    const tick = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      this.#text(left > 1 ? t("reconnectIn", { s: left }) : t("reconnecting"));
    };
    tick();
    this.timer = setInterval(tick, 250);
  }

  #text(text) {
    if (text === this.last) return;
    this.last = text;
    byId("link-text").textContent = text;
    byId("link").title = text;
  }

  #banner(state) {
    const text = bannerText(state);
    byId("banner").hidden = !text;
    if (text) byId("banner-text").textContent = text;
    byId("banner-act").hidden = !(state.phase === "stopped" || state.phase === "waiting");
  }
}

function phaseOf(state) {
  if (state.phase !== "open") return state.phase;
  return state.degraded || state.drainMs !== null ? "degraded" : "open";
}

function linkText(state) {
  if (state.phase === "stopped") return t("stopped");
  if (state.phase !== "open") return t(state.attempt ? "reconnecting" : "connecting");
  if (state.drainMs !== null) return t("draining");
  return t(state.degraded ? "degraded" : "connected");
}

function bannerText(state) {
  if (state.phase === "stopped") return CODES.has(state.code) ? t(`code${state.code}`) : t("codeOther", { code: state.code });
  if (state.phase === "open" && state.degraded) return t("degradedLong");
  return state.attempt >= 4 && state.phase !== "open" ? t("unreachable") : "";
}

export function toast(text) {
  const note = h("p", { class: "toast", lang: langOf(text) }, text);
  const region = byId("toasts");
  region.append(note);
  while (region.children.length > 3) region.firstChild.remove();
  setTimeout(() => note.remove(), TOAST_MS);
}

export function setUpTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    choices.set("theme", root.dataset.theme);
  });
}

export function showSamples(ask) {
  const texts = [t("sample1"), t("sample2"), t("sample3")];
  const buttons = texts.map((text) => h("button", { type: "button", class: "sample", lang: langOf(text), onclick: () => ask(text) }, text));
  byId("samples").replaceChildren(...buttons);
}
