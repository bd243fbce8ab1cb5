/** All finished episodes as a table, for those who want to read more than signs. */
import { h } from "../shared/dom.js";
import { fixed } from "../shared/format.js";
import { outcomeWord } from "../shared/outcomes.js";

const MOST_ROWS = 200;

export class History {
  constructor() {
    this._body = h("tbody");
    this._note = h("p", { class: "quiet" });
    this._episodes = [];
    this._drawn = "";
    this.element = h("details", { class: "panel history", on: { toggle: () => this._draw() } },
      h("summary", {}, "All episodes"),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of episodes" },
        h("table", {}, h("thead", {}, h("tr", {}, ...["Episode", "Outcome", "Steps", "Best reward", "Seed", "Reason"].map((name) => h("th", { scope: "col" }, name)))), this._body)),
      this._note);
  }

  show(episodes) {
    this._episodes = episodes;
    this._draw();
  }

  _draw() {
    const last = this._episodes.at(-1);
    const key = `${this._episodes.length} ${last?.first_frame} ${last?.outcome}`;
    if (!this.element.open || key === this._drawn) return;
    this._drawn = key;
    const rows = this._episodes.slice(-MOST_ROWS).reverse();
    this._body.replaceChildren(...rows.map((episode) => h("tr", {}, h("th", { scope: "row" }, String(episode.index + 1)), h("td", {}, outcomeWord(episode.outcome)), h("td", {}, String(episode.steps)), h("td", {}, fixed(episode.reward_max, 2)), h("td", {}, String(episode.seed)), h("td", {}, episode.reason ?? ""))));
    this._note.textContent = this._episodes.length > MOST_ROWS ? `The last ${MOST_ROWS} of ${this._episodes.length}.` : "";
  }
}
