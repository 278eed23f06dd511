// The stem player of one song: lanes, transport, downloads, keys.

import * as api from "/api.js";
import { clock, el, icon, number, relabel, t } from "/dom.js";
import { decode, RATE, StemSound } from "/sound.js";
import { Ruler, seekable, Wave } from "/timeline.js";

let context = null;
const players = new Set(); // all that are open; the one used last, to which keys speak, comes last
let sounding = null; // the player that was started last: no other may sound

/** One AudioContext for all players, at the rate of the segments, so that nothing is resampled. */
function audio() {
  return (context ??= new AudioContext({ sampleRate: RATE, latencyHint: "interactive" }));
}

class Lane {
  constructor(stem, job, onChange) {
    this.stem = stem;
    this.muted = this.solo = false;
    this.volume = 1;
    this.gain = audio().createGain();
    this.gain.connect(audio().destination);
    const name = t(`stem.${stem}`);
    const toggle = (what, letter, label) =>
      el("button", { type: "button", class: `toggle ${what}`, "aria-pressed": "false", label, onclick: () => onChange(this, what) }, letter);
    this.buttons = {
      muted: toggle("muted", t("page.mute_letter"), t("page.mute", { stem: name })),
      solo: toggle("solo", t("page.solo_letter"), t("page.solo", { stem: name })),
    };
    const slider = el("input", { type: "range", min: 0, max: 100, value: 100, label: t("page.volume", { stem: name }) });
    slider.addEventListener("input", () => {
      this.volume = (slider.value / 100) ** 2;
      onChange(this);
    });
    this.link = el("a", { class: "button icon quiet", download: "", label: t("page.download_stem", { stem: name }) }, icon("down"));
    this.wave = new Wave(stem, job.quality.weak_spots.filter((spot) => spot.stem === stem), job.seconds);
    this.node = el(
      "div",
      { class: `lane ${stem}`, role: "group", "aria-label": name },
      el("div", { class: "lane-head" }, el("span", { class: "lane-name" }, name, quality(job.quality.stems[stem])), this.buttons.muted, this.buttons.solo, slider),
      this.wave.node,
      this.link,
    );
  }

  show(isHeard) {
    for (const [what, button] of Object.entries(this.buttons)) button.setAttribute("aria-pressed", this[what]);
    this.node.classList.toggle("silent", !isHeard);
  }
}

function quality(stem) {
  if (!stem) return null;
  const figure = stem.estimated_sdr_db == null ? "" : `${number(stem.estimated_sdr_db, 1)} dB · `;
  return el("small", { title: t("page.estimated") }, figure + t(`grade.${stem.grade}`));
}

export class Player {
  #drawing = 0;
  #loopStart = null;
  #original = false;
  #making = 0; // downloads that are told of
  #made = Promise.resolve(); // the last of them
  #refusal = "";

  constructor(job, page) {
    Object.assign(this, { job, page });
    this.lanes = page.stems.map((stem) => new Lane(stem, job, (lane, what) => this.#mix(lane, what)));
    this.sound = new StemSound({
      context: audio(),
      gains: this.lanes.map((lane) => lane.gain),
      load: async (n, signal) => decode(audio(), await api.segment(job.id, n, signal), page.stems.length),
      samples: job.playback.samples,
      segment: job.playback.segment_samples,
    });
    this.sound.addEventListener("change", () => this.#show());
    this.sound.addEventListener("lost", ({ detail }) => this.#say(detail.status ? detail.message : t("page.waits_for_server")));
    this.ruler = new Ruler(job.seconds, { onSeek: (at) => this.seek(at), onLoop: (loop) => this.#loop(loop) });
    for (const lane of this.lanes) seekable(lane.wave.node, job.seconds, (at) => this.seek(at));
    this.node = this.#build();
    this.node.addEventListener("pointerdown", () => this.#use(), true);
    this.node.addEventListener("focusin", () => this.#use());
    this.#use();
    this.sound.prepare();
    this.#load();
    this.#downloads(page.formats[0]);
    this.#mix();
    this.#show();
  }

  toggle() {
    if (this.sound.playing) return this.sound.pause();
    if (sounding !== this) sounding?.sound.release(); // a phone has no room for what a whole class listened to
    sounding = this;
    this.#use();
    const session = navigator.audioSession ?? {};
    if (session.type !== "play-and-record") session.type = "playback"; // an iPhone's mute switch is not meant
    audio().resume();
    this.sound.play();
    this.#draw();
  }

  seek(seconds) {
    this.sound.seek(seconds * RATE);
    this.#place();
  }

  /** First press: from here. Second: to here. Third: no loop. */
  loop() {
    const at = this.sound.position / RATE;
    if (this.sound.loop) return this.#loop(null);
    if (this.#loopStart === null) {
      this.#loopStart = at;
      return this.#show();
    }
    return this.#loop({ from: Math.min(this.#loopStart, at), to: Math.max(this.#loopStart, at) });
  }

  press(stem, what) {
    if (this.lanes[stem]) this.#mix(this.lanes[stem], what);
  }

  /** Before/after: the four stems sum to the mixture, so that the mixture is all of them as they are. */
  original() {
    this.#original = !this.#original;
    this.#mix();
  }

  close() {
    this.sound.release();
    for (const lane of this.lanes) {
      lane.wave.observer.disconnect();
      lane.gain.disconnect();
    }
    players.delete(this);
    if (sounding === this) sounding = null;
  }

  #use() {
    // A player that is only looked at holds sound too, 11 MB and more.
    for (const one of players) if (one !== this && one !== sounding) one.sound.release();
    players.delete(this);
    players.add(this);
  }

  #build() {
    this.playButton = el("button", { type: "button", class: "play", onclick: () => this.toggle() });
    this.loopButton = el("button", { type: "button", class: "quiet", onclick: () => this.loop() }, icon("loop"), el("span"));
    this.originalButton = el("button", { type: "button", class: "quiet", title: t("page.original_hint"), onclick: () => this.original() }, t("page.original"));
    this.time = el("span", { class: "time" });
    this.status = el("span", { class: "muted", role: "status" });
    const format = el("select", { "aria-label": t("page.format"), onchange: (event) => this.#downloads(event.target.value) }, ...this.page.formats.map((name) => el("option", { value: name }, name.toUpperCase())));
    this.karaoke = el("a", { class: "button quiet", download: "" }, icon("down"), t("page.karaoke"));
    this.zip = el("a", { class: "button quiet", download: "" }, icon("down"), t("page.zip"));
    this.coming = el("span", { class: "muted", role: "status" });
    const parts = [...this.lanes.map((lane) => lane.link), this.karaoke];
    for (const link of parts) link.addEventListener("click", () => this.#tellOf(link));
    this.zip.addEventListener("click", () => this.#tellOf(...parts));
    return el(
      "div",
      { class: "player", role: "group", "aria-label": t("page.player_of", { song: this.job.title }) },
      el("div", { class: "row transport" }, this.playButton, this.time, this.loopButton, this.originalButton, this.status),
      el("div", { class: "lanes" }, this.ruler.node, ...this.lanes.map((lane) => lane.node)),
      el("div", { class: "row downloads" }, format, this.karaoke, this.zip, this.coming),
      el("p", { class: "muted keys" }, t("page.keys")),
    );
  }

  async #load() {
    try {
      const { stems } = await api.peaks(this.job.id);
      for (const lane of this.lanes) lane.wave.show(stems[lane.stem].map((peak) => peak / 255));
      this.#show();
    } catch (refused) {
      this.#say(refused.message);
      if (!refused.status && this.node.isConnected) setTimeout(() => this.#load(), 2000);
    }
  }

  #downloads(format) {
    const base = `/api/jobs/${this.job.id}`;
    for (const lane of this.lanes) lane.link.href = `${base}/stems/${lane.stem}?format=${format}`;
    this.karaoke.href = `${base}/stems/karaoke?format=${format}`;
    this.zip.href = `${base}/zip?format=${format}`;
  }

  /** A file may have to be made first, which can take minutes: until it comes, a browser shows nothing. */
  async #tellOf(...links) {
    this.coming.textContent = t("page.making");
    this.#making++;
    try {
      // One at a time: downloads take connections too, of six that a browser allows, and playing needs one.
      for (const path of links.map((link) => link.href)) await (this.#made = this.#made.catch(() => {}).then(() => api.made(path)));
    } catch (refused) {
      this.#refusal = refused.message;
    }
    if (--this.#making) return;
    this.coming.textContent = this.#refusal;
    this.#refusal = "";
  }

  #mix(changed, what) {
    if (what) changed[what] = !changed[what];
    if (changed) this.#original = false;
    const soloed = this.lanes.some((lane) => lane.solo);
    for (const lane of this.lanes) {
      const isHeard = this.#original || (soloed ? lane.solo : !lane.muted);
      const level = this.#original ? 1 : isHeard ? lane.volume : 0;
      lane.gain.gain.setTargetAtTime(level, audio().currentTime, 0.008);
      lane.show(isHeard);
    }
    this.originalButton.setAttribute("aria-pressed", this.#original);
  }

  #loop(loop) {
    this.#loopStart = null;
    this.sound.setLoop(loop && { from: loop.from * RATE, to: loop.to * RATE });
  }

  #show() {
    const { playing, waiting, loop } = this.sound;
    relabel(this.playButton, playing ? "pause" : "play", t(playing ? "page.pause" : "page.play"));
    this.node.classList.toggle("waiting", waiting);
    this.#say(waiting ? t("page.loading") : "");
    const step = loop ? "page.loop_off" : this.#loopStart === null ? "page.loop" : "page.loop_to_here";
    this.loopButton.lastChild.textContent = t(step);
    this.loopButton.setAttribute("aria-pressed", Boolean(loop));
    const inSeconds = loop && { from: loop.from / RATE, to: loop.to / RATE };
    this.ruler.showLoop(inSeconds);
    this.node.classList.toggle("looped", Boolean(loop));
    if (loop) {
      this.node.style.setProperty("--from", inSeconds.from / this.job.seconds);
      this.node.style.setProperty("--to", inSeconds.to / this.job.seconds);
    }
    this.#place();
  }

  /** Only what is new: a screen reader tells of each change. */
  #say(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  #place() {
    const at = this.sound.position / RATE;
    this.node.style.setProperty("--at", Math.min(1, at / this.job.seconds).toFixed(5));
    this.ruler.show(at);
    const time = t("page.time_of", { at: clock(at), all: clock(this.job.seconds) });
    if (this.time.textContent !== time) this.time.textContent = time;
  }

  #draw() {
    cancelAnimationFrame(this.#drawing);
    this.#place();
    if (this.sound.playing) this.#drawing = requestAnimationFrame(() => this.#draw());
  }
}

// Waves are drawn in colours of the page.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { lanes } of players) for (const { wave } of lanes) wave.draw();
});

/** Keys for the player that was used last; never where somebody types, and Space is a button's own. */
document.addEventListener("keydown", (event) => {
  const { target } = event;
  const current = [...players].at(-1);
  if (!current || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (target.closest("dialog, select, textarea, input:not([type=range], [type=file])")) return;
  const isRange = target.matches("input[type=range]");
  const digit = /^Digit([1-4])$/.exec(event.code);
  const key = event.key.toLowerCase(); // Caps Lock
  const at = current.sound.position / RATE;
  const once = (press) => event.repeat || press(); // not again and again while the key is held
  if (digit) once(() => current.press(digit[1] - 1, event.shiftKey ? "solo" : "muted"));
  else if (key === "k" || (key === " " && !target.closest("button, a, summary, [type=file]"))) once(() => current.toggle());
  else if (key === "l") once(() => current.loop());
  else if (key === "o") once(() => current.original());
  else if (event.key === "ArrowLeft" && !isRange) current.seek(at - 5);
  else if (event.key === "ArrowRight" && !isRange) current.seek(at + 5);
  else return;
  event.preventDefault();
});
