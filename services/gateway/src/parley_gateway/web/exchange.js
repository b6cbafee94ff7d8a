// The turns of one conversation on their way to the server and back: what is sent when, and what its frames change.
//
// Guarantees: a question is sent in the order it was asked, and again after each reconnect until the server has
// accepted it (the same id and text is the same turn, so a repeat does no harm); events are taken once and in order.

import { Connection } from "./socket.js";
import { randomId, token } from "./store.js";
import * as turns from "./turns.js";

// Turns in flight where the server names no number of its own.
const QUEUED = 8;
// A server refuses a greeting that names more.
const MAX_PENDING = 16;

// About sound, and not about what a turn holds.
const SOUND = new Set(["speech.started", "speech.stopped", "answer.flush", "answer.spoken"]);

const clock = () => performance.timeOrigin + performance.now();

export class Exchange {
  // hooks: changed(turn, frame or null), greeted(welcome, lost), notice(text), link(state), audio(buffer), voice(frame),
  // begun(turn id) -> whether a turn that is not known was begun by voice, removed(turn), and refused(turn id): by an error,
  // ready(): the socket takes frames
  constructor(url, talk, hooks) {
    this.talk = talk;
    this.hooks = hooks;
    this.room = QUEUED;
    this.hole = null; // {turn, seq} while a missing event is fetched by resuming
    this.connection = new Connection(url, {
      cursor: () => this.#cursor(),
      deliver: (frame) => this.#deliver(frame),
      audio: (buffer) => hooks.audio?.(buffer),
      ready: () => this.#ready(),
      changed: (state) => hooks.link(state),
    });
  }

  // Turns that have not ended, in the order they were asked.
  get open() {
    return this.talk.turns.filter((turn) => !turns.ended(turn));
  }

  ask(text, kb, speak = null) {
    const turn = { ...turns.create(randomId(), text, kb, clock()), speak };
    this.talk.add(turn);
    this.#pump();
    return turn;
  }

  // A turn that is being said: its text comes from the server.
  hear(id, kb) {
    const turn = { ...turns.create(id, "", kb, clock()), spoken: true, state: "sent" };
    this.talk.add(turn);
    return turn;
  }

  // Nothing was heard of it: it never was a turn.
  forget(turn) {
    turns.withdraw(turn, clock());
    this.talk.remove(turn);
    this.hooks.removed?.(turn);
  }

  cancel(turn) {
    if (turn.state === "unsent") {
      turns.withdraw(turn, clock());
    } else if (!turn.cancelling) {
      turn.cancelling = true;
      this.connection.send({ type: "turn.cancel", turn: turn.id });
    }
    this.#changed(turn);
  }

  // For ever. The server is asked to stop what still runs.
  leave() {
    for (const turn of this.open) this.connection.send({ type: "turn.cancel", turn: turn.id });
    this.talk.save();
    this.connection.stop();
  }

  #cursor() {
    const known = this.open.filter((turn) => turn.state === "accepted" || (turn.state === "sent" && !turn.spoken));
    const pending = known.slice(0, MAX_PENDING);
    const { session, position } = this.talk;
    return { session, position, pending: pending.map((turn) => turn.id), token: token.get() };
  }

  #deliver(frame) {
    if (frame.type === "welcome") this.#welcomed(frame);
    else if (frame.type === "error") this.#erred(frame);
    else if (SOUND.has(frame.type)) this.hooks.voice?.(frame);
    else if (frame.turn !== undefined) this.#event(frame);
  }

  #welcomed(frame) {
    const another = this.talk.session !== null && this.talk.session !== frame.session && !frame.resumed;
    const accepted = this.open.filter((turn) => turn.state === "accepted");
    if (another) {
      this.talk.position = null;
      for (const turn of accepted) turns.lose(turn, clock());
    }
    if (frame.gap) for (const turn of this.open) turn.seq = null;
    this.room = frame.limits?.queued_turns > 0 ? frame.limits.queued_turns : QUEUED;
    this.talk.session = frame.session;
    for (const turn of accepted) this.#changed(turn);
    this.talk.save();
    // A gap among turns that have all ended here is no loss.
    this.hooks.greeted(frame, frame.gap && accepted.length > 0);
  }

  #ready() {
    if (this.hole) this.hole.filling = true;
    this.hooks.ready?.();
    for (const turn of this.open.filter((each) => each.state === "sent")) {
      // What was said in mid-sentence is gone with the socket that it was said to.
      if (turn.spoken) this.forget(turn);
      else turn.state = "unsent";
    }
    this.#pump();
    for (const turn of this.open) {
      if (turn.cancelling) this.connection.send({ type: "turn.cancel", turn: turn.id });
    }
  }

  // Sends what waits, as far as the server queues it.
  #pump() {
    if (!this.connection.accepting) return;
    let room = this.room - this.open.filter((turn) => turn.state !== "unsent").length;
    for (const turn of this.open) {
      if (turn.state !== "unsent") continue;
      const frame = { type: "turn.start", turn: turn.id, text: turn.text, kb: turn.kb };
      if (turn.speak) frame.speak = turn.speak;
      if (room <= 0 || !this.connection.send(frame)) return;
      room -= 1;
      turn.state = "sent";
      this.#changed(turn);
    }
  }

  #erred(frame) {
    const turn = this.talk.turns.find((each) => each.id === frame.turn);
    this.hooks.refused?.(frame.turn);
    if (!turn) this.hooks.notice(frame.message || frame.code);
    if (!turn || turns.ended(turn)) return;
    if (turn.spoken && turn.state === "sent") {
      this.hooks.notice(frame.message || frame.code);
      this.forget(turn);
      return;
    }
    // Sent a moment before the server said that it goes away: the next one gets it.
    if (turn.state === "sent" && frame.retryable && this.connection.draining) turn.state = "unsent";
    else turns.fail(turn, frame, clock());
    this.#changed(turn);
  }

  #event(frame) {
    // Behind a hole every event waits for the resume: its position would skip what is missing.
    if (this.hole?.filling === false) return;
    const turn = this.talk.turns.find((each) => each.id === frame.turn) ?? this.#begun(frame.turn);
    const verdict = turn ? turns.apply(turn, frame, clock()) : "applied";
    if (verdict === "gap") this.#missing(turn, frame);
    if (verdict !== "applied") return;
    if (frame.position) this.talk.position = frame.position;
    if (!turn) return;
    if (turns.ended(turn)) this.connection.send({ type: "ack", position: this.talk.position });
    this.#changed(turn, frame);
  }

  #begun(id) {
    return this.hooks.begun?.(id) ? this.talk.turns.find((each) => each.id === id) : undefined;
  }

  // One resume per hole; where the server sends the same numbers again, its order is taken as it is.
  #missing(turn, frame) {
    if (this.hole?.turn === turn.id && this.hole.seq === turn.seq) {
      turn.seq = null;
      this.hole = null;
      this.#event(frame);
      return;
    }
    this.hole = { turn: turn.id, seq: turn.seq, filling: false };
    this.connection.resync();
  }

  #changed(turn, frame = null) {
    this.talk.touch(turn);
    if (turns.ended(turn)) this.talk.save();
    this.hooks.changed(turn, frame);
    if (turns.ended(turn)) this.#pump();
  }
}
