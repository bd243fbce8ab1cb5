/** Short answers in a corner, read out by screen readers, and gone by themselves. */
import { h } from "./dom.js";

const MOST = 4;
const GOOD_MS = 5000;
const BAD_MS = 10000;

/** @param {string} said */
export function toast(said, ok = true) {
  const corner = document.getElementById("toasts");
  const note = h("div", { class: ok ? "toast" : "toast bad" }, said);
  corner.append(note);
  while (corner.children.length > MOST) corner.firstChild.remove();
  setTimeout(() => note.remove(), ok ? GOOD_MS : BAD_MS);
}

/** Tell a screen reader what the eye sees by itself. */
export function announce(text) {
  const log = document.getElementById("announcer");
  log.append(h("p", {}, text));
  while (log.children.length > MOST) log.firstChild.remove();
}
