// Speaking with the page: the microphone button, hands-free, captions, and answers read aloud.
//
// Guarantees: the microphone is open only while its button says so; what the server flushes is silent at once; without
// a microphone, or without sound at all, typing works as before and the reason is said.

import { byId } from "./dom.js";
import { t } from "./i18n.js";
import { Sound, readAudio } from "./sound.js";
import { choices, randomId } from "./store.js";
import { toast } from "./view.js";

const REASONS = new Set(["NotAllowedError", "NotFoundError", "NotReadableError", "InsecureError"]);

export class Voice {
  // actions: exchange(), kb(), heard(turn id): a turn is being said, changed(): whether something is spoken
  constructor(actions) {
    this.actions = actions;
    this.sound = new Sound({
      heard: (pcm, level) => this.#heard(pcm, level),
      played: (turn, ms) => this.#played(turn, ms),
      idle: () => this.#quiet(),
      ended: () => this.#unplugged(),
    });
    this.base = null; // the id that audio.start was given, while the microphone is open
    this.starting = false;
    this.speaking = null; // the turn whose answer is being played
    this.place = null; // in it: {turn, starts: [[sentence, its first sample], ...], at: samples played}
    this.broken = null; // {turn, sentence} that was being played when the socket went
    this.aloud = choices.get("aloud") === "1";
    byId("mic").addEventListener("click", () => this.toggle());
    byId("aloud").addEventListener("click", () => this.#setAloud(!this.aloud));
    byId("free").addEventListener("change", () => this.base && this.stop());
    // Browsers give a page sound only after a gesture: the first one, where answers were read aloud last time.
    const wake = () => this.aloud && this.sound.wake().catch(() => {});
    for (const gesture of ["pointerdown", "keydown"]) addEventListener(gesture, wake, { once: true });
    this.#show();
  }

  // What a question is to be sent with: null where its answer is not to be read aloud.
  get wanted() {
    return this.aloud && this.sound.context ? { rate: this.sound.rate } : null;
  }

  get free() {
    return byId("free").checked;
  }

  // Whether a turn that the server tells of was begun by the voice: each utterance of hands-free is one.
  began(turn) {
    return this.base !== null && turn.startsWith(`${this.base}.`);
  }

  async toggle() {
    if (this.base) this.stop();
    else if (!this.starting) await this.#start();
  }

  // What was said so far is asked.
  stop() {
    if (!this.base) return;
    this.#send({ type: "audio.stop" });
    this.#close();
  }

  // The socket has gone: nobody hears what is said any more, and the answer waits for the next one.
  lost() {
    if (this.speaking !== null) this.broken = { turn: this.speaking, sentence: this.#sentence() };
    this.silence();
    if (this.base) this.#close();
  }

  // The conversation is another one.
  leave() {
    this.lost();
    this.broken = null;
  }

  // There is a socket again: the answer goes on with the sentence in which it broke.
  back() {
    const { broken, wanted } = this;
    this.broken = null;
    if (broken && wanted) this.#send({ type: "answer.speak", speak: wanted, ...broken });
  }

  // This answer, from its beginning, in place of any other.
  async read(turn) {
    try {
      await this.sound.wake();
    } catch {
      toast(t("noSound"));
      return;
    }
    if (this.speaking) this.#send({ type: "turn.cancel", turn: this.speaking });
    this.silence();
    if (!this.#send({ type: "answer.speak", turn, speak: { rate: this.sound.rate } })) toast(t("stopped"));
  }

  // The server has said why it hears no more of what is being said.
  refused(id) {
    if (this.base !== null && id === this.base) this.#close();
  }

  silence() {
    this.sound.flush();
    this.#quiet();
  }

  audio(buffer) {
    const frame = readAudio(buffer);
    if (!frame || !this.sound.context) return;
    this.sound.play(frame.turn, frame.at, frame.pcm);
    if (this.place?.turn !== frame.turn || frame.at === 0) this.place = { turn: frame.turn, starts: [], at: 0 };
    if (this.place.starts.at(-1)?.[0] !== frame.sentence) this.place.starts.push([frame.sentence, frame.at]);
    if (this.speaking === frame.turn) return;
    this.speaking = frame.turn;
    this.actions.changed();
  }

  event(frame) {
    if (frame.type === "answer.flush") {
      this.sound.flush();
      if (this.place?.turn === frame.turn) this.#takeBack((frame.ms * this.sound.rate) / 1000);
      if (frame.ended) this.#quiet();
    }
    if (frame.type === "answer.spoken" && frame.fault) toast(frame.fault.message);
    if (frame.type === "speech.started") this.#caption(t("hearing"));
    if (frame.type === "speech.stopped") this.#caption(this.free ? t("listening") : t("thinking"));
  }

  caption(text) {
    if (this.base) this.#caption(text);
  }

  async #start() {
    this.starting = true;
    this.#show();
    try {
      await this.sound.listen();
    } catch (error) {
      toast(t(REASONS.has(error.name) ? `mic_${error.name}` : "mic_other"));
      this.sound.deafen();
      return;
    } finally {
      this.starting = false;
      this.#show();
    }
    this.silence();
    this.#choose(true);
    const turn = randomId();
    const format = { encoding: "pcm_s16le", rate: this.sound.rate, channels: 1 };
    const start = { type: "audio.start", turn, format, hands_free: this.free, interrupt: true, speak: this.wanted };
    if (!this.#send({ ...start, kb: this.actions.kb() })) {
      this.sound.deafen();
      toast(t("stopped"));
      return;
    }
    this.base = turn;
    if (!this.free) this.actions.heard(turn);
    this.#caption(t("listening"));
    this.#show();
  }

  // What was said until then is asked.
  #unplugged() {
    toast(t("mic_other"));
    this.stop();
  }

  #close() {
    this.base = null;
    this.sound.deafen();
    this.#show();
  }

  #heard(pcm, level) {
    if (!this.base) return;
    byId("level").style.setProperty("--level", Math.min(1, Math.sqrt(level)).toFixed(3));
    this.actions.exchange().connection.sendBytes(pcm);
  }

  #played(turn, ms) {
    if (this.place?.turn === turn) this.place.at = (ms * this.sound.rate) / 1000;
    this.#send({ type: "audio.played", turn, ms });
  }

  // What comes after that sample was not heard.
  #takeBack(at) {
    this.place.at = Math.min(this.place.at, at);
    this.place.starts = this.place.starts.filter(([, start], index) => index === 0 || start < at);
  }

  // The one that is being heard.
  #sentence() {
    if (this.place?.turn !== this.speaking) return 0;
    return this.place.starts.findLast(([, start]) => start <= this.place.at)?.[0] ?? 0;
  }

  #quiet() {
    if (this.speaking === null) return;
    this.speaking = null;
    this.actions.changed();
  }

  // Said by its button once there is sound: a question that is asked from then on is answered aloud.
  async #setAloud(aloud) {
    try {
      if (aloud) await this.sound.wake();
    } catch {
      toast(t("noSound"));
      return;
    }
    this.#choose(aloud);
    if (aloud) return;
    if (this.speaking) this.#send({ type: "turn.cancel", turn: this.speaking });
    this.silence();
  }

  #choose(aloud) {
    this.aloud = aloud;
    choices.set("aloud", aloud ? "1" : "0");
    this.#show();
  }

  #send(frame) {
    return this.actions.exchange().connection.send(frame);
  }

  #caption(text) {
    byId("caption").textContent = text;
  }

  #show() {
    const open = this.base !== null;
    byId("mic").setAttribute("aria-pressed", String(open));
    byId("mic").disabled = this.starting;
    byId("aloud").setAttribute("aria-pressed", String(this.aloud));
    byId("voice").hidden = !open;
    byId("level").style.setProperty("--level", "0");
  }
}
