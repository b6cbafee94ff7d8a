// Puts the parts together: what the user does, what the server says, and what is kept.

import { Announcer } from "./announcer.js";
import { NO_TOKEN } from "./connection.js";
import { byId } from "./dom.js";
import { Exchange } from "./exchange.js";
import { t, translatePage } from "./i18n.js";
import { KnowledgeBase } from "./kb.js";
import { SourcePanel } from "./sources.js";
import { openConversation } from "./store.js";
import { TokenDialog } from "./tokens.js";
import { ended } from "./turns.js";
import { Composer, LinkState, Log, setUpTheme, showSamples, toast } from "./view.js";
import { Voice } from "./voice.js";

class App {
  constructor(talk) {
    this.panel = new SourcePanel();
    this.announcer = new Announcer();
    this.kb = new KnowledgeBase();
    this.tokens = new TokenDialog(() => this.exchange.connection.start());
    this.log = new Log({
      openSource: (...which) => this.panel.open(...which),
      retry: (turn) => this.ask(turn.text, turn.kb),
      copy: (turn) => copy(turn.answer),
      read: (turn) => this.voice.read(turn.id),
    });
    this.composer = new Composer({
      send: (text) => this.ask(text, this.kb.name),
      cancel: () => this.cancel(),
      history: () => this.talk.turns.map((turn) => turn.text).reverse(),
    });
    this.voice = new Voice({
      exchange: () => this.exchange,
      kb: () => this.kb.name,
      heard: (turn) => this.#hear(turn),
      changed: () => this.#running(),
    });
    this.link = new LinkState(() => this.#reconnect());
    this.#show(talk);
  }

  get talk() {
    return this.exchange.talk;
  }

  ask(text, kb) {
    this.log.add(this.exchange.ask(text, kb, this.voice.wanted));
    this.#running();
    this.composer.focus();
  }

  // Stops the turn that runs; those behind it go on.
  cancel() {
    const turn = this.exchange.open[0];
    if (turn) this.exchange.cancel(turn);
    return this.#hush() || turn !== undefined;
  }

  // An answer that is read aloud may have ended long before.
  #hush() {
    const { speaking } = this.voice;
    if (speaking === null) return false;
    this.exchange.connection.send({ type: "turn.cancel", turn: speaking });
    this.voice.silence();
    return true;
  }

  #hear(id) {
    this.log.add(this.exchange.hear(id, this.kb.name));
    this.#running();
  }

  async renew() {
    this.voice.leave();
    this.exchange.leave();
    this.panel.close();
    this.#show(await openConversation({ fresh: true }));
  }

  #show(talk) {
    const url = new URL("v1/connect", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.exchange = new Exchange(url.href, talk, {
      changed: (turn, frame) => this.#changed(turn, frame),
      greeted: (welcome, lost) => this.#greeted(welcome, lost),
      notice: toast,
      audio: (buffer) => this.voice.audio(buffer),
      voice: (frame) => this.voice.event(frame),
      removed: (turn) => this.log.remove(turn),
      refused: (id) => this.voice.refused(id),
      ready: () => this.voice.back(),
      begun: (id) => {
        if (!this.voice.began(id)) return false;
        this.#hear(id);
        return true;
      },
      link: (state) => this.#linkChanged(state),
    });
    for (const turn of talk.turns) this.announcer.skip(turn);
    this.log.show(talk.turns);
    this.#running();
    this.exchange.connection.start();
    this.composer.focus();
  }

  #greeted(welcome, lost) {
    this.composer.limit = welcome.limits?.text > 0 ? welcome.limits.text : Infinity;
    if (lost) toast(t("gap"));
    this.kb.load();
  }

  #changed(turn, frame) {
    this.log.update(turn);
    this.#running();
    if (frame?.type.startsWith("transcript.")) this.voice.caption(turn.text);
    if (frame?.type === "answer.delta") this.announcer.answer(turn, false);
    if (frame?.type === "turn.restarted") this.announcer.forget(turn);
    if (frame?.type === "turn.done") this.announcer.answer(turn, true);
    if (ended(turn) && turn.error?.message) this.announcer.say(turn.error.message);
    if (turn.state === "cancelled") this.announcer.say(t("cancelled"));
  }

  #running() {
    this.composer.running(this.exchange.open.length > 0 || this.voice.speaking !== null);
  }

  #linkChanged(state) {
    this.link.show(state);
    if (state.phase !== "open") this.voice.lost();
    if (state.phase === "stopped" && state.code === NO_TOKEN) this.tokens.ask();
  }

  #reconnect() {
    const { connection } = this.exchange;
    if (connection.state.phase === "waiting") connection.wake();
    else if (connection.state.code === NO_TOKEN) this.tokens.ask();
    else connection.start();
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    toast(t("copyFailed"));
    return false;
  }
}

function listen(app) {
  byId("new-talk").addEventListener("click", () => app.renew());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
    if (document.querySelector("dialog:modal")) return;
    if (app.cancel()) event.preventDefault();
    else app.panel.close();
  });
  const wake = () => document.visibilityState === "visible" && app.exchange.connection.wake();
  addEventListener("online", wake);
  document.addEventListener("visibilitychange", wake);
  addEventListener("pagehide", () => app.talk.save());
}

translatePage();
setUpTheme();
const app = new App(await openConversation());
showSamples((text) => app.ask(text, app.kb.name));
listen(app);
