// Four stems on one clock. The song comes in segments that hold all stems; every piece of all four starts at the same
// sample of one AudioContext, and a piece begins at the sample at which the one before it ends. Nothing can drift.

export const RATE = 44100;

const AHEAD_S = 4; // scheduled beforehand: a hidden tab's timers come once a second
const LEAD_S = 0.06; // from a press to sound
const FADE_S = 0.006; // long enough that a cut does not click
const KEPT = 14; // decoded segments, about 40 MB
const LOADING = 3; // segments fetched beyond the one that plays
const SHORTEST_LOOP = RATE / 10;

/** A segment's bytes → one AudioBuffer a stem: four lengths (uint32, little-endian), then four FLAC files. */
export async function decode(context, bytes, stems) {
  const lengths = new Uint32Array(bytes.slice(0, 4 * stems));
  let at = 4 * stems;
  const parts = Array.from(lengths, (length) => bytes.slice(at, (at += length)));
  return Promise.all(parts.map((part) => context.decodeAudioData(part)));
}

/** Plays one song. `load(n)` resolves with the AudioBuffers of segment n. Tells of itself by "change" events. */
export class StemSound extends EventTarget {
  #cache = new Map(); // n → {buffers} or {failed}
  #pieces = []; // what is scheduled: {at, from, length, sources}
  #gains;
  #run = null; // the gain nodes of this stretch of playing: faded out as one
  #timer = 0;
  #isLost = false; // a segment did not come, and none since
  #rest = 0; // position while nothing plays
  #next = 0; // song sample that is scheduled next …
  #at = 0; // … and the frame of the context at which it sounds

  /** `gains`: one GainNode a stem; `samples` of the song and `segment`: samples of a segment, at RATE. */
  constructor({ context, gains, load, samples, segment }) {
    super();
    Object.assign(this, { context, load, samples, segment, playing: false, waiting: false, loop: null });
    this.#gains = gains;
  }

  play() {
    if (this.playing) return;
    if (this.#rest >= this.samples) this.#rest = 0;
    this.playing = true;
    this.#begin(this.#rest);
    this.#timer = setInterval(() => this.#tick(), 250);
    this.#changed();
  }

  pause() {
    if (!this.playing) return;
    this.#rest = this.position;
    this.#halt();
  }

  seek(sample) {
    const target = Math.round(Math.min(Math.max(sample, 0), this.samples));
    this.#leave(Math.floor(target / this.segment));
    if (this.playing) {
      this.#silence();
      this.#begin(target);
    } else {
      this.#rest = target;
      this.#want(target);
    }
    this.#changed();
  }

  /** {from, to} in samples, or null. What sounds now goes on without a gap. */
  setLoop(loop) {
    if (loop) {
      const from = Math.round(Math.max(0, Math.min(loop.from, this.samples - SHORTEST_LOOP)));
      loop = { from, to: Math.round(Math.min(this.samples, Math.max(loop.to, from + SHORTEST_LOOP))) };
    }
    this.loop = loop;
    if (this.playing) this.#replan();
    this.#changed();
  }

  /** The sample that is heard now. */
  get position() {
    if (!this.playing) return this.#rest;
    const now = this.context.currentTime * RATE - (this.context.outputLatency || 0) * RATE;
    let heard = this.#pieces[0]?.from ?? this.#next;
    for (const { at, from, length } of this.#pieces) {
      if (at > now) break;
      heard = from + Math.min(length, now - at);
    }
    return heard;
  }

  /** Fetches what playing would need first. */
  prepare() {
    this.#want(this.#rest);
  }

  /** Ends, and keeps nothing that is decoded; it can be played again. */
  release() {
    this.pause();
    this.#cache.clear();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #frame(later = 0) {
    return Math.ceil((this.context.currentTime + later) * RATE);
  }

  #begin(sample) {
    this.#run = this.#gains.map((gain) => {
      const node = this.context.createGain();
      node.connect(gain);
      return node;
    });
    this.#next = this.#looped(sample);
    this.#at = this.#frame(LEAD_S);
    if (this.#next) {
      for (const { gain } of this.#run) {
        gain.setValueAtTime(0, this.#at / RATE);
        gain.linearRampToValueAtTime(1, this.#at / RATE + FADE_S);
      }
    }
    this.#tick();
  }

  #silence() {
    const now = this.context.currentTime;
    for (const { gain } of this.#run) {
      gain.cancelScheduledValues(now);
      gain.setTargetAtTime(0, now, FADE_S / 3);
    }
    for (const { sources } of this.#pieces) for (const source of sources) source.stop(now + 2 * FADE_S);
    this.#pieces = [];
  }

  #halt() {
    clearInterval(this.#timer);
    this.#silence();
    this.playing = this.waiting = false;
    this.#changed();
  }

  /** Throws away what is scheduled from a moment on, and goes on from that very sample. */
  #replan() {
    const cut = Math.max(this.#frame(LEAD_S), this.#pieces[0]?.at ?? 0);
    const kept = [];
    for (const piece of this.#pieces) {
      if (piece.at + piece.length <= cut) {
        kept.push(piece);
        continue;
      }
      if (this.#at > cut) {
        this.#next = piece.from + Math.max(0, cut - piece.at);
        this.#at = Math.max(cut, piece.at);
      }
      for (const source of piece.sources) source.stop(cut / RATE);
      if (piece.at < cut) kept.push({ ...piece, length: cut - piece.at });
    }
    this.#pieces = kept;
    this.#tick();
  }

  #looped(sample) {
    return this.loop && sample >= this.loop.to ? this.loop.from : sample;
  }

  #tick() {
    const now = this.#frame();
    // The piece that ended last is kept, for the position between two pieces.
    while (this.#pieces.length > 1 && this.#pieces[1].at < now - RATE) this.#pieces.shift();
    while (this.playing && this.#at < now + AHEAD_S * RATE) {
      this.#next = this.#looped(this.#next);
      if (this.#next >= this.samples) {
        if (now >= this.#at) this.#finish();
        break;
      }
      const buffers = this.#want(this.#next);
      if (!buffers) break;
      this.#schedule(buffers);
    }
    const waiting = this.playing && this.#next < this.samples && this.#at <= this.#frame();
    if (waiting !== this.waiting) {
      this.waiting = waiting;
      this.#changed();
    }
  }

  #finish() {
    this.#rest = this.samples;
    this.#halt();
  }

  #schedule(buffers) {
    const offset = this.#next % this.segment;
    const end = this.loop && this.#next < this.loop.to ? this.loop.to : this.samples;
    const length = Math.min(buffers[0].length - offset, end - this.#next);
    // Late, because the segment was not there in time: all four begin anew together.
    this.#at = Math.max(this.#at, this.#frame(LEAD_S / 3));
    const sources = buffers.map((buffer, stem) => {
      const source = this.context.createBufferSource();
      source.buffer = part(this.context, buffer, offset, length);
      source.connect(this.#run[stem]);
      source.start(this.#at / RATE);
      return source;
    });
    this.#pieces.push({ at: this.#at, from: this.#next, length, sources });
    this.#at += length;
    this.#next += length;
  }

  /** Buffers of the segment with this sample, if they are here; they and the next ones are asked for otherwise. */
  #want(sample) {
    const first = Math.floor(sample / this.segment);
    const last = Math.ceil(this.samples / this.segment) - 1;
    for (let n = first; n <= Math.min(first + LOADING, last); n++) this.#fetch(n);
    if (this.loop) this.#fetch(Math.floor(this.loop.from / this.segment));
    return this.#cache.get(first)?.buffers;
  }

  /** A slide along the song passes many segments: none that is still on its way holds up those of the place it ends at. */
  #leave(first) {
    for (const [n, entry] of [...this.#cache]) {
      if (entry.buffers || (n >= first && n <= first + LOADING)) continue;
      this.#cache.delete(n);
      entry.left?.abort();
    }
  }

  async #fetch(n) {
    const known = this.#cache.get(n);
    if (known) {
      // Most recently used comes last.
      this.#cache.delete(n);
      this.#cache.set(n, known);
      return;
    }
    const entry = { left: new AbortController() };
    this.#cache.set(n, entry);
    while (this.#cache.size > KEPT) this.#cache.delete(this.#cache.keys().next().value);
    try {
      entry.buffers = await this.load(n, entry.left.signal);
      this.#tick();
      if (this.#isLost) {
        this.#isLost = false;
        this.#changed();
      }
    } catch (error) {
      if (entry.left.signal.aborted) return;
      this.#isLost = true;
      this.dispatchEvent(new CustomEvent("lost", { detail: error }));
      setTimeout(() => {
        if (this.#cache.get(n) !== entry) return;
        this.#cache.delete(n);
        if (this.playing) this.#tick();
        else if (!error.status) this.prepare(); // only the connection comes back by itself
      }, 1500);
    }
  }
}

/** `length` samples of a buffer from `offset` on. Cut here, as start(when, offset) counts in seconds, not samples. */
function part(context, buffer, offset, length) {
  if (offset === 0 && length === buffer.length) return buffer;
  const cut = context.createBuffer(buffer.numberOfChannels, length, buffer.sampleRate);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    cut.copyToChannel(buffer.getChannelData(channel).subarray(offset, offset + length), channel);
  }
  return cut;
}
