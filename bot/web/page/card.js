// One song in the feed: sent, waiting, separated, or gone wrong.

import { agree, clock, el, icon, number, relabel, t } from "/dom.js";
import { Player } from "/player.js";

/** About how long, in the reader's words. */
function about(seconds) {
  if (seconds == null) return "";
  if (seconds < 60) return t("page.less_than_a_minute");
  return t("page.about_minutes", { n: number(Math.round(seconds / 60)) });
}

/** What a standing says in one line. */
function line(job) {
  if (job.state === "uploading" && job.progress == null) return t("page.waits");
  if (job.state === "uploading") return t("page.sending", { percent: number(Math.floor(100 * job.progress)) });
  if (job.state === "queued") return [job.position ? t("page.place", { n: job.position }) : t("page.looking"), about(job.eta_s)].filter(Boolean).join(" · ");
  if (job.state === "running") return [t("page.separating", { percent: number(100 * job.progress) }), about(job.eta_s)].filter(Boolean).join(" · ");
  if (job.state === "failed") return job.error;
  if (job.state === "cancelled") return t("page.cancelled");
  return t(job.playback ? "page.done" : "page.gone", { song: job.title });
}

export class Card {
  constructor(job, page, { onEnd, mayOpen }) {
    Object.assign(this, { page, mayOpen });
    this.title = el("h2", { dir: "auto", tabindex: -1 }); // keeps the focus of what goes
    this.meta = el("span", { class: "muted" });
    this.line = el("p", { class: "line", role: "status" });
    this.bar = el("progress", { max: 1 });
    this.endButton = el("button", { type: "button", class: "quiet icon", onclick: () => onEnd(this) });
    this.body = el("div", { class: "card-body" });
    this.node = el("li", { class: "card" }, el("div", { class: "card-head" }, el("div", { class: "card-title" }, this.title, this.meta), this.endButton), this.line, this.bar, this.body);
    this.show(job);
  }

  show(job) {
    const previous = this.job;
    this.job = job;
    this.node.dataset.state = job.state;
    this.node.dataset.job = job.id ?? "";
    this.title.textContent = job.title;
    this.meta.textContent = [job.performer, job.seconds && clock(job.seconds)].filter(Boolean).join(" · ");
    // A screen reader hears each state once, not every percent.
    this.line.setAttribute("aria-live", previous?.state === job.state ? "off" : "polite");
    this.line.textContent = line(job);
    this.line.classList.toggle("off", Boolean(job.playback)); // who sees the player needs no word
    const isFinal = ["done", "failed", "cancelled"].includes(job.state);
    this.bar.hidden = isFinal;
    this.bar.setAttribute("aria-label", t("page.progress_of", { song: job.title }));
    if (job.state === "queued") this.bar.removeAttribute("value");
    else this.bar.value = job.progress ?? 0;
    const label = t(isFinal ? "page.forget_song" : "page.cancel_song", { song: job.title });
    relabel(this.endButton, isFinal ? "bin" : "close", label);
    if (job.playback && !previous?.playback) this.#offer();
    else if (!job.playback) this.close();
    if (job.again) this.body.replaceChildren(el("button", { type: "button", class: "wide", onclick: job.again }, t("page.send_again")));
  }

  /** Asks, where something would be lost. */
  async agreed() {
    return this.job.state !== "done" || agree(t("page.forget_question", { song: this.job.title }), t("page.forget"));
  }

  close() {
    this.player?.close();
    this.player = null;
    if (this.body.contains(document.activeElement)) this.title.focus();
    this.body.replaceChildren();
  }

  #offer() {
    if (!window.AudioContext) return this.#handOver();
    if (this.mayOpen()) return this.#open();
    this.body.replaceChildren(el("button", { type: "button", class: "wide", onclick: () => this.#open(true) }, icon("play"), t("page.open_player")));
  }

  /** Where the browser lets no page play (Lockdown Mode of an iPhone): the stems to take along. */
  #handOver() {
    const link = (href, name) => el("a", { class: "button quiet", download: "", href }, icon("down"), name);
    const stems = Object.entries(this.job.stems).map(([stem, href]) => link(href, t(`stem.${stem}`)));
    this.body.replaceChildren(
      el("p", {}, t("page.no_sound")),
      el("div", { class: "row" }, ...stems, link(`/api/jobs/${this.job.id}/zip`, t("page.zip"))),
      ...this.#notes(),
    );
  }

  #notes() {
    return [...this.job.warnings.map((warning) => el("p", { class: "warning" }, warning)), el("p", { class: "note" }, this.job.note)];
  }

  #open(focus = false) {
    this.player = new Player(this.job, this.page);
    const { weak_spots } = this.job.quality;
    const spots = weak_spots.map((spot) => {
      const words = { stem: t(`stem.${spot.stem}`), from: clock(spot.from_s), to: clock(spot.to_s) };
      return el("button", { type: "button", class: `chip ${spot.stem}`, label: t("page.weak", words), onclick: () => this.player.seek(spot.from_s) }, t("page.spot", words));
    });
    this.body.replaceChildren(
      this.player.node,
      ...this.#notes(),
      ...(spots.length ? [el("div", { class: "row spots" }, el("span", { class: "muted" }, t("page.listen_to_weak")), ...spots)] : []),
    );
    if (focus) this.player.playButton.focus();
  }
}
