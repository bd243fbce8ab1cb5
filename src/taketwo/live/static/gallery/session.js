/** One recorded session: episodes, video, plots, configuration. */
import { getJson } from "../shared/api.js";
import { h } from "../shared/dom.js";
import { clock, count, fixed, percent, plain, successWords } from "../shared/format.js";
import { showHeader } from "../shared/header.js";
import { icon } from "../shared/icons.js";
import { bindKeys } from "../shared/keys.js";
import { countOutcomes, outcomeIcon, OUTCOMES, outcomeWord, successRate } from "../shared/outcomes.js";
import { EpisodeChoice, episodeName } from "../shared/strip.js";
import { configuration } from "./configuration.js";
import { placeOf } from "./gallery.js";
import { sessionTitle, sessionPlace } from "./list.js";
import { Player } from "./player.js";
import { EpisodePlots } from "./plots.js";

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" });

/** The keys are bound once; they act on the page that is open. @type {SessionPage | null} */
let open = null;

bindKeys({
  " ": () => open?.player.toggle(),
  ArrowRight: () => open?.step(1),
  ArrowLeft: () => open?.step(-1),
  ",": () => open?.player.nudge(-1),
  ".": () => open?.player.nudge(1),
});

export class SessionPage {
  /** @param {string} id */
  static async open(id) {
    return new SessionPage(id, await getJson(`api/gallery/session?id=${encodeURIComponent(id)}`));
  }

  constructor(id, session) {
    this.id = id;
    this._session = session;
    this._filter = new Set();
    this._chosen = -1;
    this.player = new Player(session, { onTime: (episode, time) => this._onTime(episode, time), onVideo: () => this._remember() });
    this._plots = new EpisodePlots(session, (time) => this.player.seek(this._chosen, time));
    this._strip = new EpisodeChoice((k) => this.choose(k));
    this._filters = h("div", { class: "filters", role: "group", "aria-label": "Show only" });
    this._detail = h("section", { class: "panel detail", "aria-label": "Episode" });
  }

  /** @param {Element} content */
  show(content, place) {
    open = this;
    const session = this._session;
    document.title = `${sessionTitle(session)} · Take Two`;
    showHeader([["recording", sessionPlace(session)], ["policy", plain(session.policy ?? "unknown")], ["seed", String(session.seed ?? "unknown")]]);
    content.replaceChildren(
      h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("a", { href: "#/" }, icon("back", 16), "All sessions")),
      h("div", { class: "session-head" }, h("h2", { class: "title" }, sessionTitle(session)), h("p", { class: "quiet" }, this._when()), this._readouts()),
      session.note ? h("p", { class: "note" }, session.note) : "",
      h("section", { class: "panel episodes", "aria-label": "Outcomes" }, this._filters, this._strip.element),
      h("div", { class: "watch" }, h("div", { class: "watch-left" }, this.player.element, keyHints(), this._detail), this._plots.element),
      configuration(session.config),
    );
    this._showFilters();
    this._showStrip();
    this._plots.begin();
    if (session.list.length) this.goTo(place);
    else this._detail.append(h("p", { class: "quiet" }, "This session has no finished episode."));
  }

  close() {
    if (open === this) open = null;
    this.player.close();
    this._plots.close();
  }

  goTo({ episode, video }) {
    if (video) this.player.chooseVideo(video);
    const k = Math.min(episode ?? 0, this._session.list.length - 1);
    if (k !== this._chosen) this.choose(k, false);
  }

  /** @param {number} k position in the list */
  choose(k, play = !this.player.paused) {
    this._show(k);
    this.player.play(k, play);
  }

  /** On to the next episode that the filter shows. */
  step(direction) {
    const { list } = this._session;
    for (let k = this._chosen + direction; k >= 0 && k < list.length; k += direction) {
      if (this._matches(list[k])) return this.choose(k);
    }
  }

  _onTime(k, time) {
    if (k !== this._chosen) this._show(k);
    this._plots.setTime(time);
  }

  _show(k) {
    this._chosen = k;
    this._strip.choose(k);
    this._showDetail(this._session.list[k]);
    this._plots.show(this._session.list[k]);
    this._remember();
  }

  _remember() {
    history.replaceState(null, "", placeOf(this.id, Math.max(this._chosen, 0), this.player.videoName));
  }

  _matches(episode) {
    return !this._filter.size || this._filter.has(episode.outcome);
  }

  _showStrip() {
    this._strip.show(this._session.list, this._chosen, (episode) => this._matches(episode));
  }

  _showFilters() {
    const counts = countOutcomes(this._session.list);
    const present = OUTCOMES.filter((outcome) => counts[outcome]);
    const chip = (pressed, press, ...content) => h("button", { type: "button", class: "chip", "aria-pressed": String(pressed), on: { click: () => {
      press();
      this._showFilters();
      this._showStrip();
    } } }, ...content);
    const focused = [...this._filters.children].indexOf(document.activeElement);
    this._filters.replaceChildren(
      chip(!this._filter.size, () => this._filter.clear(), `All ${this._session.list.length}`),
      ...present.map((outcome) => chip(this._filter.has(outcome), () => this._filter.delete(outcome) || this._filter.add(outcome), outcomeIcon(outcome, 16), `${outcome} ${counts[outcome]}`)),
    );
    this._filters.children[focused]?.focus();
  }

  _showDetail(episode) {
    const facts = [
      ["Steps", String(episode.steps)], ["Seed", String(episode.seed)],
      ["Best reward", fixed(episode.reward_max, 2)], ["Frames", String(episode.frames ?? "not filmed")],
      ["First frame", String(episode.first_frame ?? "not filmed")], [episode.prompts?.length > 1 ? "Prompts" : "Prompt", episode.prompts?.join(" → ") || "none"],
    ];
    this._detail.replaceChildren(
      h("header", {}, h("h2", {}, episodeName(episode)), h("span", { class: "end" }, outcomeWord(episode.outcome, 22))),
      h("p", {}, episode.reason ?? ""),
      h("dl", { class: "facts" }, ...facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
      episode.rrd ? h("a", { class: "button small", href: episode.rrd, download: true }, "Rerun recording (.rrd)") : "",
    );
  }

  _when() {
    const { started, complete, reason } = this._session;
    return [started ? DATE.format(started * 1000) : null, complete ? null : "not finished: the session was cut short", reason].filter(Boolean).join(" · ");
  }

  _readouts() {
    const { list, episodes, num_envs: environments, duration_s: duration, counts, control_hz: rate } = this._session;
    const { successes, attempts, others } = successRate(counts);
    const readout = (name, figure, unit, more) => h("div", { class: "readout" }, h("dt", {}, name), h("dd", {}, h("span", { class: "figure" }, figure, unit && h("span", { class: "unit" }, unit)), h("span", { class: "more" }, more)));
    return h("dl", { class: "readouts" },
      readout("Success", attempts ? percent(successes / attempts) : "–", attempts ? "%" : "", [attempts ? successWords(successes, attempts) : "no attempts", ...others].join(", ")),
      readout("Episodes", String(episodes), "", [count(list.reduce((sum, { steps }) => sum + steps, 0), "step"), environments > 1 ? `in ${environments} environments` : null].filter(Boolean).join(", ")),
      readout("Duration", clock(duration), "", rate ? `at ${+rate.toFixed(2)} Hz` : ""));
  }
}

function keyHints() {
  const key = (name) => h("kbd", {}, name);
  return h("p", { class: "quiet hints" }, key("←"), key("→"), " episode before, after \u2003", key("Space"), " play, pause \u2003", key(","), key("."), " one picture back, on");
}
