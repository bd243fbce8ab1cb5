/** What must not be missed, across the whole page: a fault, a lost connection, the end. */
import { h } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { faultOf } from "./status.js";

/** @param {any} state @param {string} connection @param {string | undefined} said */
export function showBanners(state, connection, said) {
  const banners = [faultBanner(state), connectionBanner(state, connection, said), endBanner(state)].filter(Boolean);
  const place = document.getElementById("banners");
  const key = JSON.stringify(banners);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  place.replaceChildren(...banners.map(({ kind, sign, text, why }) =>
    h("div", { class: "banner", "data-kind": kind, role: kind === "ended" ? "status" : "alert" }, h("div", {}, icon(sign, 22), h("span", {}, text), h("span", { class: "why" }, why)))));
}

function faultBanner(state) {
  const fault = state && faultOf(state);
  if (!fault) return null;
  return { kind: "fault", sign: "warn", text: `Fault in episode ${fault.index + 1}`, why: fault.reason };
}

function connectionBanner(state, connection, said) {
  if (connection === "refused") return { kind: "lost", sign: "warn", text: "The server refuses this page", why: said };
  if (connection !== "lost" || state?.session.status === "ended") return null;
  return { kind: "lost", sign: "warn", text: "Connection lost", why: "Trying again. What is shown is the last that came; keys and buttons reach nobody." };
}

function endBanner(state) {
  if (state?.session.status !== "ended") return null;
  return { kind: "ended", sign: "stop", text: "The session has ended", why: state.session.reason ?? "" };
}
