// All that the page asks of the server.

import { t } from "/dom.js";

/** What the server refused, with its sentence and status. */
export class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(t("page.no_server"), 0);
  }
  if (!answer.ok) throw refusal(answer.status, await answer.json().catch(() => null));
  return answer;
}

/** A proxy in between, when it refuses, says no sentence. */
const refusal = (status, answer) => new Refused(answer?.error ?? t(status === 413 ? "page.proxy_takes_less" : "page.no_server"), status);

const json = async (path, options) => (await ask(path, options)).json();

export const page = () => json("/api/page");
export const jobs = () => json("/api/jobs");
export const end = (id) => json(`/api/jobs/${id}`, { method: "DELETE" });
export const forgetAll = () => json("/api/jobs", { method: "DELETE" });
export const peaks = (id) => json(`/api/jobs/${id}/peaks`);
/** Resolves when the file of a download is there to be sent. */
export const made = (path) => ask(path, { headers: { Range: "bytes=0-0" }, cache: "no-store" });
export const segment = async (id, n, signal) => (await ask(`/api/jobs/${id}/playback/${n}`, { signal })).arrayBuffer();
export const showCode = (code) =>
  json("/api/access", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code }) });

/** Sends a song; resolves with the accepted job. XMLHttpRequest, because fetch tells nothing while it sends. */
export function send(file, name, onShare, signal) {
  const form = new FormData();
  form.append("file", file, name);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    let isSent = false;
    request.upload.onprogress = ({ loaded, total }) => {
      isSent = loaded === total;
      onShare(loaded / total);
    };
    request.onload = () => {
      if (request.status === 202) resolve(request.response);
      else reject(refusal(request.status, request.response));
    };
    request.onerror = () => reject(new Refused(t("page.no_server"), 0));
    request.onabort = () => reject(new DOMException("", "AbortError"));
    signal.addEventListener("abort", () => isSent || request.abort());
    request.open("POST", "/api/jobs");
    request.responseType = "json";
    request.send(form);
  });
}

/**
 * One stream for all unfinished jobs of this browser. It rests while it may, as while the page is hidden: a browser
 * allows six connections to a server, and other tabs want some of them.
 */
export class Events {
  #source = null;
  #unfinished = [];

  constructor(onJob, onEnd, onLost, mayRest) {
    Object.assign(this, { onJob, onEnd, onLost, mayRest });
    document.addEventListener("visibilitychange", () => this.#apply());
    window.addEventListener("online", () => this.refresh());
  }

  /** Follow these jobs, if there are any; `isNew`: the stream does not know all of them. */
  follow(unfinished, isNew) {
    const wasWanted = this.#unfinished.length > 0;
    this.#unfinished = unfinished;
    if (isNew || wasWanted !== unfinished.length > 0) this.refresh();
    else this.#apply(); // whether it may rest may have changed
  }

  refresh() {
    this.#close();
    this.#apply();
  }

  #apply() {
    if (!this.#unfinished.length || this.mayRest()) this.#close();
    else if (!this.#source) this.#open();
  }

  #open() {
    // Named, they are told of even if they ended while nobody listened.
    const source = (this.#source = new EventSource(`/api/events?unfinished=${this.#unfinished}`));
    source.addEventListener("job", (event) => this.onJob(JSON.parse(event.data)));
    source.addEventListener("end", () => {
      this.#close();
      this.onEnd();
    });
    source.onopen = () => this.onLost(false);
    source.onerror = () => {
      this.onLost(true);
      // Some answers (a restarted server, a refused cookie) end the stream for good: the page asks again, for all.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => source === this.#source && this.onEnd(), 2000);
    };
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }
}
