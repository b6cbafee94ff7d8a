// Performs what connection.js decides: one WebSocket, the named timers, and the calls back into the page.

import { accepting, initial, step } from "./connection.js";

// A JSON text frame above this is the server's fault; reading it would freeze the page.
const MAX_FRAME_CHARS = 4 * 1024 * 1024;
// A browser gives no sign of a peer that vanished while closing; after this the socket counts as closed.
const CLOSE_WAIT_MS = 1_000;

export class Connection {
  // hooks: cursor() -> {session, position, pending, token}; deliver(frame); audio(buffer); ready(); changed(state)
  constructor(url, hooks) {
    this.url = url;
    this.hooks = hooks;
    this.state = initial();
    this.socket = null;
    this.timers = new Map();
  }

  start() {
    this.#step({ type: "start" });
  }

  // For ever: nothing is delivered or tried after this.
  stop() {
    const { socket } = this;
    this.socket = null;
    this.state = initial();
    this.#clear();
    socket?.close(1000);
  }

  wake() {
    this.#step({ type: "wake" });
  }

  resync() {
    this.#step({ type: "resync" });
  }

  get accepting() {
    return accepting(this.state);
  }

  get draining() {
    return this.state.phase === "open" && this.state.drainMs !== null;
  }

  // True where the frame was handed to an open socket; that says nothing about its arrival.
  send(frame) {
    if (this.state.phase !== "open" || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  // Sound, which is not sent again: where it does not go out now, it is lost.
  sendBytes(buffer) {
    if (this.state.phase !== "open" || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(buffer);
    return true;
  }

  #step(event) {
    const { state, effects } = step(this.state, event);
    const changed = state !== this.state;
    this.state = state;
    for (const effect of effects) this.#perform(effect);
    if (changed) this.hooks.changed(this.state);
  }

  #perform(effect) {
    if (effect.do === "connect") this.#connect();
    else if (effect.do === "send") this.#write(effect.frame);
    else if (effect.do === "close") this.#close(effect.code);
    else if (effect.do === "timer") this.#timer(effect.name, effect.ms);
    else if (effect.do === "clear") this.#clear(effect.keep);
    else if (effect.do === "deliver") this.hooks.deliver(effect.frame);
    else if (effect.do === "ready") this.hooks.ready();
  }

  #connect() {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    const mine = (act) => (event) => {
      if (this.socket === socket) act(event);
    };
    socket.onopen = mine(() => this.#step({ type: "opened", cursor: this.hooks.cursor() }));
    socket.onmessage = mine((event) => this.#read(event.data));
    socket.onclose = mine((event) => this.#closed(event.code));
  }

  #read(data) {
    if (data instanceof ArrayBuffer) this.hooks.audio?.(data);
    if (typeof data !== "string" || data.length > MAX_FRAME_CHARS) return;
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      console.warn("parley: a frame that is not JSON was left out");
      return;
    }
    if (frame && typeof frame.type === "string") this.#step({ type: "frame", frame });
  }

  #write(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  #close(code) {
    const socket = this.socket;
    socket?.close(code);
    setTimeout(() => {
      if (this.socket === socket) this.#closed(1006);
    }, CLOSE_WAIT_MS);
  }

  #closed(code) {
    this.socket = null;
    this.#step({ type: "closed", code, random: Math.random() });
  }

  #timer(name, ms) {
    clearTimeout(this.timers.get(name));
    this.timers.set(
      name,
      setTimeout(() => {
        this.timers.delete(name);
        this.#step({ type: "timer", name });
      }, ms),
    );
  }

  #clear(keep) {
    for (const [name, id] of this.timers) {
      if (name === keep) continue;
      clearTimeout(id);
      this.timers.delete(name);
    }
  }
}
