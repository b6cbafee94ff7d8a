// Puts the parts together: what the user does, what the server says, and what is kept.

import { Announcer } from "./announcer.js";
import { NO_TOKEN } from "./connection.js";
import { byId } from "./dom.js";
import { t, translatePage } from "./i18n.js";
import { KnowledgeBase } from "./kb.js";
import { Connection } from "./socket.js";
import { SourcePanel } from "./sources.js";
import { openConversation, randomId, token } from "./store.js";
import { TokenDialog } from "./tokens.js";
import * as turns from "./turns.js";
import { Composer, LinkState, Log, setUpTheme, showSamples, toast } from "./view.js";

const clock = () => performance.timeOrigin + performance.now();

class App {
  constructor(talk) {
    this.talk = talk;
    this.hole = null; // {turn, seq} while a missing event is fetched by resuming
    this.panel = new SourcePanel();
    this.announcer = new Announcer();
    this.kb = new KnowledgeBase();
    this.tokens = new TokenDialog(() => this.connection.start());
    this.log = new Log({
      openSource: (...which) => this.panel.open(...which),
      retry: (turn) => this.ask(turn.text, turn.kb),
      copy: (turn) => copy(turn.answer),
    });
    this.composer = new Composer({
      send: (text) => this.ask(text, this.kb.name),
      cancel: () => this.cancel(),
      history: () => this.talk.turns.map((turn) => turn.text).reverse(),
    });
    this.link = new LinkState(() => this.#reconnect());
    this.connection = this.#newConnection();
  }

  start() {
    for (const turn of this.talk.turns) this.announcer.skip(turn);
    this.log.show(this.talk.turns);
    this.#running();
    this.connection.start();
    this.composer.focus();
  }

  ask(text, kb) {
    const turn = turns.create(randomId(), text, kb, clock());
    this.talk.add(turn);
    this.log.add(turn);
    this.#startTurn(turn);
    this.#running();
    this.composer.focus();
  }

  // Stops the turn that runs; those behind it go on.
  cancel() {
    const turn = this.#open()[0];
    if (!turn) return false;
    if (turn.state === "unsent") {
      turns.withdraw(turn, clock());
    } else if (!turn.cancelling) {
      turn.cancelling = true;
      this.#send({ type: "turn.cancel", turn: turn.id });
    }
    this.#changed(turn);
    return true;
  }

  async renew() {
    for (const turn of this.#open()) this.#send({ type: "turn.cancel", turn: turn.id });
    this.talk.save();
    this.panel.close();
    this.connection.stop();
    this.talk = await openConversation({ fresh: true });
    this.hole = null;
    this.connection = this.#newConnection();
    this.start();
  }

  deliver(frame) {
    if (frame.type === "welcome") this.#welcomed(frame);
    else if (frame.type === "error") this.#erred(frame);
    else if (frame.turn !== undefined) this.#turnEvent(frame);
  }

  #newConnection() {
    const url = new URL("v1/connect", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return new Connection(url.href, {
      cursor: () => this.#cursor(),
      deliver: (frame) => this.deliver(frame),
      ready: () => this.#ready(),
      changed: (state) => this.#linkChanged(state),
    });
  }

  #open() {
    return this.talk.turns.filter((turn) => !turns.ended(turn));
  }

  #cursor() {
    const pending = this.#open().filter((turn) => turn.state !== "unsent");
    const { session, position } = this.talk;
    return { session, position, pending: pending.map((turn) => turn.id), token: token.get() };
  }

  #welcomed(frame) {
    this.composer.limit = frame.limits?.text > 0 ? frame.limits.text : Infinity;
    const another = this.talk.session !== null && this.talk.session !== frame.session && !frame.resumed;
    for (const turn of this.#open()) {
      if (another && turn.state === "accepted") this.#ended(turn, () => turns.lose(turn, clock()));
      else if (frame.gap) turn.seq = null;
    }
    if (frame.gap) toast(t("gap"));
    if (another) this.talk.position = null;
    this.talk.session = frame.session;
    this.talk.save();
  }

  // Sent again after each reconnect: the same turn id and text is the same turn, so a repeat does no harm.
  #ready() {
    for (const turn of this.#open()) {
      if (turn.state !== "accepted") this.#startTurn(turn);
      if (turn.cancelling) this.#send({ type: "turn.cancel", turn: turn.id });
    }
    this.kb.load();
  }

  #startTurn(turn) {
    if (!this.connection.accepting) return;
    if (this.#send({ type: "turn.start", turn: turn.id, text: turn.text, kb: turn.kb })) turn.state = "sent";
    this.#changed(turn);
  }

  #send(frame) {
    return this.connection.send(frame);
  }

  #erred(frame) {
    const turn = this.talk.turns.find((each) => each.id === frame.turn);
    if (!turn) toast(frame.message || frame.code);
    else if (!turns.ended(turn)) this.#ended(turn, () => turns.fail(turn, frame, clock()));
  }

  #turnEvent(frame) {
    // Behind a hole every event waits for the resume: its position would skip what is missing.
    if (this.hole?.filling === false) return;
    const turn = this.talk.turns.find((each) => each.id === frame.turn);
    const verdict = turn ? turns.apply(turn, frame, clock()) : "applied";
    if (verdict === "gap") {
      this.#missing(turn, frame);
      return;
    }
    if (verdict === "applied" && frame.position) this.talk.position = frame.position;
    if (!turn || verdict !== "applied") return;
    if (turns.ended(turn)) this.#finished(turn);
    else this.#changed(turn);
    if (frame.type === "answer.delta") this.announcer.answer(turn, false);
    if (frame.type === "turn.restarted") this.announcer.said.delete(turn.id);
  }

  // One resume per hole; where the server sends the same numbers again, its order is taken as it is.
  #missing(turn, frame) {
    if (this.hole?.turn === turn.id && this.hole.seq === turn.seq) {
      turn.seq = null;
      this.hole = null;
      this.#turnEvent(frame);
      return;
    }
    this.hole = { turn: turn.id, seq: turn.seq, filling: false };
    this.connection.resync();
  }

  #finished(turn) {
    this.announcer.answer(turn, true);
    if (this.talk.position) this.#send({ type: "ack", position: this.talk.position });
    this.#ended(turn, () => {});
  }

  #ended(turn, act) {
    act();
    this.#changed(turn);
    this.talk.save();
    if (turns.ended(turn) && turn.error?.message) this.announcer.say(turn.error.message);
    if (turn.state === "cancelled") this.announcer.say(t("cancelled"));
  }

  #changed(turn) {
    this.talk.touch(turn);
    this.log.update(turn);
    this.#running();
  }

  #running() {
    this.composer.running(this.#open().length > 0);
  }

  #linkChanged(state) {
    if (state.phase === "open" && this.hole) this.hole.filling = true;
    this.link.show(state);
    if (state.phase === "stopped" && state.code === NO_TOKEN) this.tokens.ask();
  }

  #reconnect() {
    const { phase, code } = this.connection.state;
    if (phase === "waiting") this.connection.wake();
    else if (code === NO_TOKEN) this.tokens.ask();
    else this.connection.start();
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
  const wake = () => document.visibilityState === "visible" && app.connection.wake();
  addEventListener("online", wake);
  document.addEventListener("visibilitychange", wake);
  addEventListener("pagehide", () => app.talk.save());
}

translatePage();
setUpTheme();
const app = new App(await openConversation());
showSamples((text) => app.ask(text, app.kb.name));
listen(app);
app.start();
