// Sound of the microphone as 16-bit PCM at 16 kHz, in messages of 20 ms; the context may have any rate.
const RATE = 16000, BLOCK = 320, CROSSINGS = 8;

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ratio = sampleRate / RATE;
    this.half = Math.ceil(CROSSINGS * Math.max(1, this.ratio));
    this.past = new Float32Array(0);
    this.at = this.half;  // of the next sample to give, in samples of `past`
    this.block = new Int16Array(BLOCK);
    this.filled = 0;
  }

  // The value between samples: a windowed sinc that leaves out what 16 kHz cannot hold.
  value(past, at) {
    const cut = Math.min(1, 1 / this.ratio), first = Math.ceil(at - this.half), last = Math.floor(at + this.half);
    let sum = 0;
    for (let k = Math.max(0, first); k <= last; k++) {
      const x = k - at, angle = Math.PI * x * cut;
      const sinc = Math.abs(angle) < 1e-9 ? 1 : Math.sin(angle) / angle;
      sum += past[k] * cut * sinc * (0.5 + 0.5 * Math.cos(Math.PI * x / (this.half + 1)));
    }
    return sum;
  }

  process([channels]) {
    if (!channels.length) return true;
    const fresh = channels[0], joined = new Float32Array(this.past.length + fresh.length);
    joined.set(this.past);
    joined.set(fresh, this.past.length);
    for (; this.at + this.half < joined.length; this.at += this.ratio) {
      const sample = this.ratio === 1 ? joined[this.at] : this.value(joined, this.at);
      this.block[this.filled++] = Math.round(32767 * Math.min(1, Math.max(-1, sample)));
      if (this.filled === BLOCK) {
        this.port.postMessage(this.block.buffer, [this.block.buffer]);
        this.block = new Int16Array(BLOCK);
        this.filled = 0;
      }
    }
    const drop = Math.max(0, Math.floor(this.at) - this.half - 1);
    this.past = joined.slice(drop);
    this.at -= drop;
    return true;
  }
}

registerProcessor('microphone', Microphone);
