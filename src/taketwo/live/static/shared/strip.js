/** The episodes in a row: sign of the outcome, and number. */
import { h } from "./dom.js";
import { count } from "./format.js";
import { outcomeIcon } from "./outcomes.js";

const CELL_PX = 37;
const EARLIER_PX = 92;

/** Numbers for people begin at 1. Where several environments step together, each counts its own. */
export function episodeNumber(episode) {
  return (episode.episode ?? episode.index) + 1;
}

/** Such as `Episode 2` or `Environment 1, episode 2`. */
export function episodeName(episode) {
  const number = episodeNumber(episode);
  return episode.env == null ? `Episode ${number}` : `Environment ${episode.env}, episode ${number}`;
}

export function describeEpisode(episode) {
  return `${episodeName(episode)}: ${episode.outcome} after ${count(episode.steps, "step")}${episode.reason ? ` (${episode.reason})` : ""}`;
}

/** Those of a running session: the latest that fit in one line, the one under way, and those to come. */
export class LiveStrip {
  constructor() {
    this.element = h("ol", { class: "strip", "aria-label": "Episodes" });
    this._shown = "";
    this._last = null;
    new ResizeObserver(() => this._last && this.show(...this._last)).observe(this.element);
  }

  /**
   * @param {{index: number, outcome: string, steps: number, reason: string}[]} episodes finished
   * @param {{index: number} | null} current
   * @param {number | null} planned number of episodes in all
   */
  show(episodes, current, planned) {
    this._last = [episodes, current, planned];
    const room = Math.max(3, Math.floor((this.element.clientWidth - EARLIER_PX) / CELL_PX));
    const known = episodes.length + (current ? 1 : 0);
    const first = Math.max(0, known - room);
    const future = Math.max(0, Math.min((planned ?? 0) - (current ? current.index + 1 : nextIndex(episodes)), room - known));
    const key = [first, known, current?.index, future, episodes.at(-1)?.outcome].join();
    if (key === this._shown) return;
    this._shown = key;
    const cells = episodes.slice(first).map((episode) => cell(episode.outcome, episodeNumber(episode), describeEpisode(episode)));
    if (current) cells.push(cell("running", current.index + 1, `Episode ${current.index + 1}: under way`, true));
    const next = current ? current.index + 1 : nextIndex(episodes);
    for (let k = 0; k < future; k++) cells.push(cell("planned", next + k + 1, null));
    const earlier = first ? [h("li", { class: "earlier" }, `${first} earlier`)] : [];
    this.element.replaceChildren(...earlier, ...cells);
  }
}

function nextIndex(episodes) {
  return episodes.length ? episodes.at(-1).index + 1 : 0;
}

function cell(outcome, number, description, current = false) {
  const hidden = description === null;
  return h(
    "li",
    { class: hidden ? "cell planned" : "cell", title: description, "aria-current": current && "true", "aria-hidden": hidden && "true" },
    outcomeIcon(outcome),
    h("span", { "aria-hidden": "true" }, String(number)),
    !hidden && h("span", { class: "visually-hidden" }, description),
  );
}

/** Those of a recording: buttons, of which one is chosen. One stop for the tab key; arrows go on from there. */
export class EpisodeChoice {
  /** @param {(index: number) => void} onChoose gets the position in the list */
  constructor(onChoose) {
    this.element = h("div", { class: "strip wraps", role: "group", "aria-label": "Episodes" });
    this._onChoose = onChoose;
    /** @type {HTMLButtonElement[]} */
    this._buttons = [];
  }

  /** Those of one environment after the other, each with its number before them where there are several. */
  show(episodes, chosen, matches) {
    this._buttons = episodes.map((episode, k) =>
      h(
        "button",
        {
          type: "button", class: matches(episode) ? "cell" : "cell out", title: describeEpisode(episode), "aria-label": describeEpisode(episode),
          "aria-current": k === chosen && "true", tabindex: k === chosen ? 0 : -1, on: { click: () => this._onChoose(k) },
        },
        outcomeIcon(episode.outcome),
        h("span", {}, String(episodeNumber(episode))),
      ),
    );
    const begins = (k) => episodes[k].env != null && episodes[k].env !== episodes[k - 1]?.env;
    const named = (button, k) => h("span", { class: "begins" }, h("span", { class: "whose", "aria-hidden": "true" }, `Env ${episodes[k].env}`), button);
    this.element.replaceChildren(...this._buttons.map((button, k) => (begins(k) ? named(button, k) : button)));
  }

  /** Mark another one as chosen, in view, with the focus if it was in the strip. */
  choose(chosen) {
    const focused = this.element.contains(document.activeElement);
    this._buttons.forEach((button, k) => {
      button.tabIndex = k === chosen ? 0 : -1;
      if (k === chosen) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    const button = this._buttons[chosen];
    button?.scrollIntoView({ block: "nearest" });
    if (focused) button?.focus();
  }
}
