// Runs on the audio thread: what the microphone gives, and what the loudspeaker takes.

const REPORT_S = 0.2;

// Posts {pcm: Int16Array buffer, level: 0 to 1} for each 40 ms of the first channel: what is not whole when the user stops
// is lost, and whoever speaks over an answer is heard so much later.
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 25);
    this.chunk = new Int16Array(this.size);
    this.filled = 0;
    this.peak = 0;
    this.open = true;
    this.port.onmessage = () => {
      this.open = false; // a node that asks to go on is kept for ever
    };
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      const value = Math.max(-1, Math.min(1, sample));
      this.peak = Math.max(this.peak, Math.abs(value));
      this.chunk[this.filled] = Math.round(value * 32767);
      this.filled += 1;
      if (this.filled === this.size) this.#post();
    }
    return this.open;
  }

  #post() {
    const pcm = this.chunk.buffer;
    this.port.postMessage({ pcm, level: this.peak }, [pcm]);
    this.chunk = new Int16Array(this.size);
    this.filled = 0;
    this.peak = 0;
  }
}

// Takes {turn, at, pcm} and plays it in order, {flush} drops what has not been played. Posts {turn, at}: how far it has
// come, a few times a second; {idle: true} once there is nothing left.
class Loudspeaker extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = [];
    this.into = 0;
    this.since = 0;
    this.port.onmessage = ({ data }) => {
      if (data.flush) this.queue = [];
      else this.queue.push({ ...data, pcm: new Int16Array(data.pcm) });
      if (data.flush) this.into = 0;
    };
  }

  process(_inputs, [output]) {
    const channel = output[0];
    let at = 0;
    while (at < channel.length && this.queue.length > 0) {
      const { pcm } = this.queue[0];
      const count = Math.min(channel.length - at, pcm.length - this.into);
      for (let k = 0; k < count; k += 1) channel[at + k] = pcm[this.into + k] / 32768;
      at += count;
      this.into += count;
      if (this.into === pcm.length) this.#next();
    }
    for (const other of output.slice(1)) other.set(channel);
    this.since += channel.length;
    if (this.queue.length > 0 && this.since > REPORT_S * sampleRate) this.#report(this.queue[0], this.into);
    return true;
  }

  #next() {
    const done = this.queue.shift();
    this.into = 0;
    if (this.queue.length === 0) {
      this.#report(done, done.pcm.length);
      this.port.postMessage({ idle: true });
    }
  }

  #report({ turn, at }, into) {
    this.since = 0;
    this.port.postMessage({ turn, at: at + into });
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("loudspeaker", Loudspeaker);
