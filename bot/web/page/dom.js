// Small helpers: elements, sentences, times.

let sentences = {};
let language = "en";

/** Takes the catalogue that the server chose for this browser. */
export function speak(page) {
  sentences = page.sentences;
  language = page.language;
  document.documentElement.lang = language;
}

/** The sentence of a key, with {name} filled in. */
export function t(key, values = {}) {
  const text = sentences[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** A number as the reader writes it. */
export const number = (value, digits = 0) =>
  value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** el("button", {class: "x", onclick: f, label: "…"}, child, …): on… are listeners; a label is read out, and is the tooltip. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "label") setLabel(node, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function setLabel(node, words) {
  node.title = words;
  node.setAttribute("aria-label", words);
}

const PATHS = {
  play: "M8 5.5v13l11-6.5z",
  pause: "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z",
  loop: "M7 7h9V4l5 4.5-5 4.5v-3H9v3H6V8zM17 17H8v3l-5-4.5L8 11v3h7v-3h3v5z",
  down: "M11 4h2v8.2l3.1-3.1 1.4 1.4L12 16l-5.5-5.5 1.4-1.4 3.1 3.1zM5 18h14v2H5z",
  close: "M6.4 5 12 10.6 17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4L12 13.4 6.4 19 5 17.6l5.6-5.6L5 6.4z",
  bin: "M9 4h6l1 2h4v2H4V6h4zM6 9h12l-1 11H7zm4 2v7h1.4v-7zm2.7 0v7H14v-7z",
  add: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
  mic: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5.5 11h2a4.5 4.5 0 0 0 9 0h2a6.5 6.5 0 0 1-5.5 6.4V21h-2v-3.6A6.5 6.5 0 0 1 5.5 11z",
  stop: "M6 6h12v12H6z",
};

/** A picture for a button; its words are in the label. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Gives a button a picture and its words; only if they are others, for a screen reader tells of each change. */
export function relabel(button, picture, words) {
  if (button.title === words) return;
  button.replaceChildren(icon(picture));
  setLabel(button, words);
}

/** 72 → 1:12, 3725 → 1:02:05 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** Asks before something is lost; true if the person agrees. */
export function agree(question, yes) {
  const dialog = el(
    "dialog",
    { "aria-label": question },
    el("p", {}, question),
    el(
      "form",
      { method: "dialog", class: "row end" },
      el("button", { value: "", class: "quiet" }, t("page.keep")),
      el("button", { value: "yes", class: "danger" }, yes),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    }),
  );
}
