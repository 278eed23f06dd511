// What lies along the song: waveforms, the place that is heard, the loop, weak passages. Seconds in, seconds out.

import { clock, el, number, t } from "/dom.js";

const BAR = 3; // pixels from one bar of a waveform to the next

/** One lane's waveform; a bright copy of it is uncovered as the song goes on. Decoration: the ruler is what is operated. */
export class Wave {
  constructor(stem, spots, seconds) {
    this.peaks = [];
    this.canvases = [el("canvas", { class: "ahead" }), el("canvas", { class: "played" })];
    const weak = spots.map(({ from_s, to_s }) => {
      const mark = el("span", { class: "weak", title: t("page.weak", { stem: t(`stem.${stem}`), from: clock(from_s), to: clock(to_s) }) });
      mark.style.left = `${(100 * from_s) / seconds}%`;
      mark.style.width = `${(100 * Math.min(to_s, seconds) - 100 * from_s) / seconds}%`;
      return mark;
    });
    this.node = el("div", { class: "wave", "aria-hidden": "true" }, ...this.canvases, ...weak, el("i", { class: "loop" }), el("i", { class: "head" }));
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.node);
  }

  /** Loudest sample of equal stretches of the song, 0–1. */
  show(peaks) {
    this.peaks = peaks;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.node;
    if (!width || !height) return;
    for (const canvas of this.canvases) {
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      pen.fillStyle = getComputedStyle(canvas).color;
      this.#bars(pen, Math.floor(width / BAR), height);
    }
  }

  #bars(pen, count, height) {
    for (let bar = 0; bar < count; bar++) {
      const from = Math.floor((bar * this.peaks.length) / count);
      const to = Math.max(from + 1, Math.floor(((bar + 1) * this.peaks.length) / count));
      let loudest = 0;
      for (let i = from; i < to; i++) loudest = Math.max(loudest, this.peaks[i] ?? 0);
      const tall = Math.max(2, loudest ** 0.7 * (height - 6));
      pen.fillRect(bar * BAR, (height - tall) / 2, BAR - 1, tall);
    }
  }
}

/** Where a pointer is along a node, 0–1. */
function share(event, node) {
  const box = node.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
}

/** Follows one pointer from press to release: from, at (0–1), and whether it moved. */
function drag(node, { move, end }) {
  node.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    const from = share(down, node);
    let moved = false;
    node.setPointerCapture(down.pointerId);
    const onMove = (event) => {
      moved ||= Math.abs(event.clientX - down.clientX) > 4;
      if (moved) move(from, share(event, node));
    };
    const onEnd = (event) => {
      node.removeEventListener("pointermove", onMove);
      node.removeEventListener("pointerup", onEnd);
      node.removeEventListener("pointercancel", onEnd);
      if (event.type === "pointerup") end?.(from, share(event, node), moved);
    };
    node.addEventListener("pointermove", onMove);
    node.addEventListener("pointerup", onEnd);
    node.addEventListener("pointercancel", onEnd);
  });
}

/** A press or a slide along a wave looks for a place in the song. */
export function seekable(node, seconds, onSeek) {
  drag(node, { move: (_, at) => onSeek(at * seconds), end: (_, at) => onSeek(at * seconds) });
}

/** The strip above the waves: shows and takes the place (press, arrow keys) and the loop (drag, two handles). */
export class Ruler {
  constructor(seconds, { onSeek, onLoop }) {
    this.seconds = seconds;
    this.loop = null;
    this.handles = ["from", "to"].map((end) => this.#handle(end, onLoop));
    this.place = el("div", { class: "place", role: "slider", tabindex: 0, "aria-label": t("page.place_in_song"), "aria-valuemin": 0, "aria-valuemax": Math.round(seconds) });
    this.place.append(...this.#ticks());
    this.node = el("div", { class: "ruler" }, this.place, el("i", { class: "loop" }), ...this.handles, el("i", { class: "head" }));
    drag(this.place, {
      move: (from, at) => onLoop({ from: Math.min(from, at) * seconds, to: Math.max(from, at) * seconds }),
      end: (_, at, moved) => moved || onSeek(at * seconds),
    });
    this.place.addEventListener("keydown", (event) => {
      const to = { Home: 0, End: seconds, PageUp: this.at + 30, PageDown: this.at - 30, ArrowUp: this.at + 5, ArrowDown: this.at - 5 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      onSeek(to);
    });
    this.at = 0;
  }

  /** The heard place in seconds. */
  show(at) {
    this.at = at;
    const whole = Math.floor(at);
    if (this.shown === whole) return;
    this.shown = whole;
    this.place.setAttribute("aria-valuenow", whole);
    this.place.setAttribute("aria-valuetext", t("page.time_of", { at: clock(at), all: clock(this.seconds) }));
  }

  showLoop(loop) {
    this.loop = loop;
    this.handles.forEach((handle, index) => {
      handle.hidden = !loop;
      if (!loop) return;
      const at = index ? loop.to : loop.from;
      handle.style.left = `${(100 * at) / this.seconds}%`;
      handle.setAttribute("aria-valuenow", at.toFixed(1));
      const tenths = Math.round(10 * at);
      handle.setAttribute("aria-valuetext", clock(tenths / 10) + number((tenths % 10) / 10, 1).slice(1));
    });
  }

  #handle(end, onLoop) {
    const label = t(end === "from" ? "page.loop_start" : "page.loop_end");
    const handle = el("button", { class: `handle ${end}`, type: "button", role: "slider", hidden: true, label, "aria-valuemin": 0, "aria-valuemax": Math.round(this.seconds) });
    const set = (seconds) => this.loop && onLoop({ ...this.loop, [end]: this.#allowed(end, seconds) });
    handle.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      handle.setPointerCapture(event.pointerId);
      handle.onpointermove = (moved) => set(share(moved, this.node) * this.seconds);
    });
    for (const over of ["pointerup", "pointercancel"]) handle.addEventListener(over, () => (handle.onpointermove = null));
    handle.addEventListener("keydown", (event) => {
      const at = this.loop?.[end];
      const to = { Home: 0, End: this.seconds, ArrowLeft: at - 0.1, ArrowRight: at + 0.1, ArrowDown: at - 1, ArrowUp: at + 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      set(to);
    });
    return handle;
  }

  #allowed(end, seconds) {
    const { from, to } = this.loop;
    return end === "from" ? Math.min(Math.max(0, seconds), to - 0.1) : Math.max(Math.min(this.seconds, seconds), from + 0.1);
  }

  #ticks() {
    const step = [5, 10, 15, 30, 60, 120, 300, 600].find((step) => this.seconds / step <= 8) ?? 900;
    return Array.from({ length: Math.ceil(this.seconds / step) }, (_, index) => {
      const tick = el("span", { class: "tick", "aria-hidden": "true" }, clock(index * step));
      tick.style.left = `${(100 * index * step) / this.seconds}%`;
      return tick;
    });
  }
}
