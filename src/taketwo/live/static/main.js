/** Entry: asks the server what it is, and loads the page for it. */
import { getJson } from "./shared/api.js";
import { h } from "./shared/dom.js";

async function start() {
  const content = document.getElementById("content");
  try {
    const state = await getJson("api/state");
    const page = state.mode === "gallery" ? await import("./gallery/gallery.js") : await import("./live/live.js");
    page.start(state);
  } catch (error) {
    content.replaceChildren(
      h("div", { class: "message", role: "alert" }, h("strong", {}, "This page cannot be shown"), String(error.message)),
    );
  }
}

start();
