// The page: send songs, follow them, listen.

import * as api from "/api.js";
import { Card } from "/card.js";
import { agree, el, icon, number, speak, t } from "/dom.js";
import { canRecord, record } from "/recorder.js";

const SENDING_AT_ONCE = 2;
const RETRY_MS = 1000;
const cards = new Map(); // job id → Card
const waiting = []; // songs that are not sent yet
const uploads = new Set(); // their cards, and those of songs that are being sent
let recording = null;
let retry = 0;
let isReached = false; // whether the server has answered `refresh`: songs wait for that
let page;
let events;
const feed = el("ol", { class: "feed" });
const alert = el("div", { class: "alert", role: "alert" });

/** Whether it is no server that refused, or one that is busy. */
const isAway = ({ status }) => !status || status >= 429;

function complain(sentence) {
  const hadFocus = alert.contains(document.activeElement);
  alert.replaceChildren(sentence ? el("p", {}, sentence) : "");
  if (sentence) alert.firstChild.append(el("button", { type: "button", class: "quiet icon", "aria-label": t("page.close"), onclick: () => complain("") }, icon("close")));
  if (hadFocus) (alert.querySelector("button") ?? feed.querySelector("h2") ?? document.getElementById("songs")).focus();
}

/** Whether a player opens by itself: only the first one does. */
const mayOpen = () => ![...cards.values()].some((card) => card.player);

/** Ids of the jobs that are in progress. */
const unfinished = () => [...cards.values()].map((card) => card.job).filter((job) => ["queued", "running"].includes(job.state)).map((job) => job.id);

function follow(isNew = false) {
  events.follow(unfinished(), isNew);
  document.body.classList.toggle("has-songs", feed.children.length > 0);
  next(); // one that has ended makes room
}

function show(job) {
  const card = cards.get(job.id);
  if (card) card.show(job);
  else add(job);
  follow();
}

/** All that the server knows, and no more: songs come and go while nobody listens, and in other tabs. */
async function refresh() {
  isReached = false;
  try {
    const shown = [...cards.values()];
    let answer = await api.jobs();
    if (!answer.known) {
      await api.page(); // for a new cookie: without one, two songs that are sent at once would be two browsers'
      answer = await api.jobs();
    }
    isReached = true;
    document.body.classList.remove("offline");
    if (!answer.known) complain(t("page.no_cookies"));
    let above = null;
    // Newest first: its player opens.
    for (const job of answer.jobs) {
      const card = cards.get(job.id) ?? add(job, above);
      card.show(job);
      above = card.node;
    }
    const ids = new Set(answer.jobs.map((job) => job.id));
    for (const card of shown) if (!ids.has(card.job.id)) drop(card);
    follow(true);
  } catch (refused) {
    if (refused.status === 401) return location.reload(); // for the form that asks for the code
    isReached = false; // an earlier one may have been answered meanwhile
    document.body.classList.add("offline");
    clearTimeout(retry);
    retry = setTimeout(refresh, RETRY_MS);
  }
}

function add(job, above = null) {
  const card = new Card(job, page, { onEnd: end, mayOpen });
  if (job.id) cards.set(job.id, card);
  if (above) above.after(card.node);
  else feed.prepend(card.node);
  return card;
}

async function end(card) {
  if (!(await card.agreed())) return;
  if (card.job.state === "uploading") {
    card.abort.abort(); // `next` sees what has become of it
    return;
  }
  try {
    if (card.job.id) {
      const job = await api.end(card.job.id);
      if (job.state) return show(job);
    }
  } catch (refused) {
    if (refused.status !== 404) return complain(refused.message);
  }
  drop(card);
}

function drop(card) {
  const { node } = card;
  const beside = node.nextElementSibling ?? node.previousElementSibling;
  cards.delete(card.job.id);
  card.close();
  const hadFocus = node.contains(document.activeElement);
  node.remove();
  follow();
  if (hadFocus) (beside?.querySelector("h2") ?? document.getElementById("songs")).focus();
}

function take(files) {
  complain("");
  refresh();
  for (const [file, name] of files) {
    const title = name.replace(/\.[^.]+$/, "");
    if (page.limits.upload_bytes && file.size > page.limits.upload_bytes) {
      add({ state: "failed", title, error: t("page.too_large", { song: name, megabytes: number(page.limits.upload_bytes / 1e6) }) });
    } else enqueue(add({ state: "uploading", title }), file, name);
  }
  follow();
}

function enqueue(card, file, name) {
  card.show({ state: "uploading", title: card.job.title });
  card.abort = new AbortController();
  card.abort.signal.addEventListener("abort", () => {
    const at = waiting.findIndex((one) => one.card === card);
    if (at < 0) return;
    waiting.splice(at, 1);
    uploads.delete(card);
    drop(card);
  });
  uploads.add(card);
  waiting.push({ card, file, name });
  follow();
}

/** Whether no more songs may be in progress. */
const isFull = (sending = 0) => unfinished().length + sending >= page.limits.songs_in_progress;

async function next() {
  const sending = uploads.size - waiting.length;
  if (!waiting.length || !isReached || sending >= SENDING_AT_ONCE || isFull(sending)) return;
  const song = waiting.shift();
  const { card, file, name } = song;
  next();
  const { title } = card.job;
  const showProgress = (progress) => card.show({ state: "uploading", progress, title });
  showProgress(0);
  try {
    const job = await api.send(file, name, showProgress, card.abort.signal);
    // The stream may have told of it first.
    if (cards.has(job.id)) drop(cards.get(job.id));
    cards.set(job.id, card);
    card.show(job);
    follow(true);
    // Cancelled when all of it was sent already: the server has it.
    if (card.abort.signal.aborted) end(card);
  } catch (error) {
    if (error.status === 429) await refresh(); // other tabs have songs in progress, too
    if (card.abort.signal.aborted) {
      drop(card);
      // It may have got through all the same, by a hair.
      setTimeout(refresh, RETRY_MS);
    } else if (error.status === 429 && isFull()) {
      card.show({ state: "uploading", title });
      waiting.unshift(song);
      return;
    } else {
      // A server that is away is not because of the song, if that can be read.
      const isFile = error.status || (await isReadable(file));
      const again = isAway(error) && isFile && (() => enqueue(card, file, name));
      card.show({ state: "failed", title, error: isFile ? error.message : t("page.unreadable"), again });
      if (again) refresh(); // the others wait instead of failing one by one
    }
  }
  uploads.delete(card);
  next();
}

/** A folder that was dropped looks like a file, and a file may have gone since it was chosen. */
const isReadable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

async function toggleRecording(button) {
  if (recording) return recording.stop?.();
  recording = {}; // the browser may ask the person first
  try {
    recording = await record();
  } catch {
    recording = null;
    return complain(t("page.no_microphone"));
  }
  const name = t("page.recording_of", { time: new Date().toLocaleTimeString(page.language, { timeStyle: "short" }) });
  button.replaceChildren(icon("stop"), t("page.stop_recording"));
  button.classList.add("recording");
  const { blob, suffix } = await recording.recorded;
  recording = null;
  button.replaceChildren(icon("mic"), t("page.record"));
  button.classList.remove("recording");
  take([[blob, `${name.replaceAll(":", ".")}.${suffix}`]]);
}

/** Four bundles of bars, one for each stem: what a song is taken apart into. */
function picture() {
  const bars = (stem, beat) => el("i", { class: `bars ${stem}` }, ...Array.from({ length: 28 }, (_, n) => {
    const bar = el("b");
    bar.style.height = `${Math.round(14 + 86 * Math.abs(Math.sin(n * beat) * Math.sin(0.4 + n * 0.113)))}%`;
    return bar;
  }));
  return el("div", { class: "picture", "aria-hidden": "true" }, bars("vocals", 0.71), bars("drums", 1.57), bars("bass", 0.39), bars("other", 1.13));
}

function composer() {
  const input = el("input", { type: "file", id: "songs", accept: "audio/*,video/*,.flac,.m4a,.ogg,.opus", multiple: true, class: "off" });
  input.addEventListener("change", () => {
    take([...input.files].map((file) => [file, file.name]));
    input.value = "";
  });
  // Where a mouse leaves it, the focus cannot be seen: Space is the player's.
  for (const over of ["change", "cancel"]) input.addEventListener(over, () => input.matches(":focus-visible") || input.blur());
  const recordButton = canRecord() ? el("button", { type: "button", class: "quiet", onclick: () => toggleRecording(recordButton) }, icon("mic"), t("page.record")) : null;
  return el(
    "section",
    { class: "composer", "aria-label": t("page.send_a_song") },
    el("div", { class: "invitation" }, picture(), el("h1", {}, t("page.headline")), el("p", { class: "muted" }, t("page.invitation"))),
    el("div", { class: "row actions" }, input, el("label", { for: "songs", class: "button primary" }, icon("add"), t("page.choose")), recordButton, el("span", { class: "muted drop-hint" }, t("page.or_drop"))),
  );
}

function acceptDrops() {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const mark = (step) => document.body.classList.toggle("dropping", (depth = Math.max(0, depth + step)) > 0);
  addEventListener("dragenter", (event) => hasFiles(event) && mark(1));
  addEventListener("dragleave", (event) => hasFiles(event) && mark(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(-depth);
    take([...event.dataTransfer.files].map((file) => [file, file.name]));
  });
}

async function forgetAll() {
  if (!(await agree(t("page.forget_all_question"), t("page.forget_all")))) return;
  for (const card of uploads) card.abort.abort();
  try {
    const { songs, megabytes } = await api.forgetAll();
    for (const card of cards.values()) drop(card);
    // What was refused is known to nobody but the page.
    for (const node of feed.querySelectorAll("[data-state=failed]")) node.remove();
    follow();
    document.getElementById("songs").focus();
    complain(t("page.forgotten", { songs, megabytes: number(megabytes) }));
  } catch (refused) {
    complain(refused.message);
  }
}

function build() {
  document.title = `SpecTacles · ${t("page.headline")}`;
  document.body.style.setProperty("--lost", JSON.stringify(` · ${t("page.waits_for_server")}`));
  const hours = page.limits.kept_hours;
  const footer = el("footer", { class: "muted" }, el("p", {}, t("page.privacy", { hours: number(hours, Number.isInteger(hours) ? 0 : 1) })), el("button", { type: "button", class: "quiet forget-all", onclick: forgetAll }, t("page.forget_all")));
  document.body.append(
    el("header", { class: "top" }, el("img", { src: "/icon.svg", alt: "", width: 28, height: 28 }), el("span", { class: "name" }, "SpecTacles")),
    el("main", {}, composer(), alert, el("h2", { class: "off" }, t("page.your_songs")), feed),
    footer,
  );
}

/** The code behind the # of a link. It does not stay there. */
function codeOfLink() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  history.replaceState(null, "", location.pathname);
  return code;
}

/** Beyond the own computer: the code that the console shows, typed in or of a link. */
async function askForCode(fromLink) {
  window.onhashchange = () => location.reload(); // the link, pasted into this very tab
  const said = fromLink && (await tryCode(fromLink));
  if (said === "") return;
  const wrong = el("p", { class: "error", role: "alert" }, said);
  const input = el("input", { id: "code", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", required: true });
  const form = el("form", { class: "gate" }, el("h1", {}, "SpecTacles"), el("label", { for: "code" }, t("page.access_code")), input, wrong, el("button", { class: "primary" }, t("page.enter")));
  document.body.append(el("main", {}, form));
  input.focus();
  await new Promise((resolve) =>
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      wrong.textContent = await tryCode(input.value);
      if (!wrong.textContent) resolve();
    }),
  );
  form.parentNode.remove();
}

async function tryCode(code) {
  try {
    await api.showCode(code);
    return (await api.page()).admitted ? "" : t("page.no_cookies");
  } catch (refused) {
    return refused.message;
  }
}

/** What the page has to know. Without it there are no words yet to say that the server is away. */
async function learn() {
  try {
    return await api.page();
  } catch (refused) {
    if (!isAway(refused)) throw refused;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    return learn();
  }
}

async function start() {
  page = await learn();
  speak(page);
  const code = codeOfLink();
  if (!page.admitted) await askForCode(code);
  window.onhashchange = codeOfLink;
  build();
  acceptDrops();
  events = new api.Events(show, () => setTimeout(refresh, RETRY_MS / 4), (isLost) => document.body.classList.toggle("offline", isLost), () => document.hidden && !waiting.length);
  await refresh();
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  addEventListener("beforeunload", (event) => {
    if (!uploads.size && !recording) return;
    event.preventDefault();
    event.returnValue = true; // Chrome until 118, Safari
  });
}

start().catch((error) => document.body.append(el("main", {}, el("p", { class: "error" }, error.message))));
