/** The page over finished recordings. The part of the address after # says what is shown, so that every view has a link. */
import { h } from "../shared/dom.js";
import { showHeader } from "../shared/header.js";
import { showList } from "./list.js";
import { SessionPage } from "./session.js";

export function start() {
  const content = document.getElementById("content");
  let page = null;

  async function show() {
    const place = parsePlace(location.hash);
    if (page && place.id === page.id) return page.goTo(place);
    page?.close();
    page = null;
    content.replaceChildren(h("p", { class: "message", role: "status" }, "Loading"));
    try {
      if (place.id === null) return await showList(content);
      const opened = await SessionPage.open(place.id);
      if (parsePlace(location.hash).id !== place.id) return opened.close();
      page = opened;
      page.show(content, place);
    } catch (error) {
      showHeader([]);
      content.replaceChildren(h("div", { class: "message", role: "alert" }, h("strong", {}, "This cannot be shown"), error.message, h("p", {}, h("a", { href: "#/" }, "To the list of sessions"))));
    }
  }

  addEventListener("hashchange", show);
  show();
}

/**
 * What an address names: `#/session/ID/episode/K/video/NAME`, K from 1; the later parts may be left out.
 * @returns {{id: string | null, episode: number | null, video: string | null}} episode is a position in the list, from 0
 */
export function parsePlace(hash) {
  const parts = hash.replace(/^#\/?/, "").split("/");
  /** @type {Record<string, string>} */
  const named = {};
  for (let k = 0; k + 1 < parts.length; k += 2) named[parts[k]] = unescaped(parts[k + 1]);
  const number = Number(named.episode);
  return { id: named.session ?? null, episode: Number.isInteger(number) && number > 0 ? number - 1 : null, video: named.video ?? null };
}

function unescaped(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function placeOf(id, episode = null, video = null) {
  const parts = ["session", id];
  if (episode !== null) parts.push("episode", episode + 1);
  if (video !== null) parts.push("video", video);
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}
