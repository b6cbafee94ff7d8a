// The browser's sound as the page uses it: one context, a microphone that is open only while somebody listens, and a
// loudspeaker that can be flushed.

// Above this the server takes no audio.
const HIGHEST_HZ = 48_000;
const WORKLET = new URL("voice-worklet.js", import.meta.url).href;

export class Sound {
  // hooks: heard(buffer, level), played(turn, ms), idle(), ended(): the microphone is gone
  constructor(hooks) {
    this.hooks = hooks;
    this.context = null;
    this.speaker = null;
    this.stream = null;
    this.source = null;
    this.microphone = null;
  }

  get rate() {
    return this.context.sampleRate;
  }

  // After a gesture of the user, as browsers demand. Throws where the browser has no worklets.
  async wake() {
    this.ready ??= this.#open();
    await this.ready;
    if (this.context.state === "suspended") await this.context.resume();
  }

  // Throws an error whose name says why there is no microphone.
  async listen() {
    await this.wake();
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("no secure context", "InsecureError");
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    for (const track of this.stream.getTracks()) track.onended = () => this.stream && this.hooks.ended();
    this.source = this.context.createMediaStreamSource(this.stream);
    this.microphone = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0, channelCount: 1 });
    this.microphone.port.onmessage = ({ data }) => this.stream && this.hooks.heard(data.pcm, data.level);
    this.source.connect(this.microphone);
  }

  // The browser's sign of an open microphone goes out.
  deafen() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.source?.disconnect();
    this.microphone?.port.postMessage("close");
    this.stream = this.source = this.microphone = null;
  }

  play(turn, at, pcm) {
    this.speaker?.port.postMessage({ turn, at, pcm }, [pcm]);
  }

  flush() {
    this.speaker?.port.postMessage({ flush: true });
  }

  async #open() {
    let context = new AudioContext({ latencyHint: "interactive" });
    if (context.sampleRate > HIGHEST_HZ) {
      await context.close();
      context = new AudioContext({ latencyHint: "interactive", sampleRate: HIGHEST_HZ });
    }
    await context.audioWorklet.addModule(WORKLET);
    this.context = context;
    this.speaker = new AudioWorkletNode(context, "loudspeaker", { numberOfInputs: 0 });
    this.speaker.port.onmessage = ({ data }) => {
      if (data.idle) this.hooks.idle();
      else this.hooks.played(data.turn, Math.round((data.at * 1000) / context.sampleRate));
    };
    this.speaker.connect(context.destination);
  }
}

// The binary frame of a spoken answer: {turn, sentence, at, rate, pcm}, or null where it is none.
export function readAudio(buffer) {
  if (buffer.byteLength < 2) return null;
  const size = new DataView(buffer).getUint16(0);
  if (buffer.byteLength < 2 + size) return null;
  try {
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 2, size)));
    return { ...header, pcm: buffer.slice(2 + size) };
  } catch {
    return null;
  }
}
