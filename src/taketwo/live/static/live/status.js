/** Status, episode, step, rate and success, in figures to be read from afar. */
import { h, setText } from "../shared/dom.js";
import { clock, count, fixed, percent, successWords, unbroken } from "../shared/format.js";
import { icon } from "../shared/icons.js";
import { countOutcomes, successRate } from "../shared/outcomes.js";
import { describeEpisode } from "../shared/strip.js";

export const STATUS_WORDS = { starting: "Starting", running: "Running", paused: "Paused", stopping: "Stopping", ended: "Ended", fault: "Fault", lost: "No connection" };
/** Part of the wanted rate from which on it counts as kept. */
const TOLERATED = 0.97;

const ICONS = { starting: "retry", running: "resume", paused: "pause", stopping: "stop", ended: "stop", fault: "warn", lost: "warn" };

/** A fault ended the last episode, and no episode has gone well since. */
export function faultOf(state) {
  const last = state.episodes.at(-1);
  return last?.outcome === "fault" ? last : null;
}

export class Status {
  /** @param {Element} strip of the episodes, which stands below the figures */
  constructor(strip) {
    this._last = h("p", { class: "last quiet" });
    this._pill = h("p", { class: "status" });
    this._figures = Object.fromEntries(["Episode", "Step", "Control rate", "Success", "Elapsed"].map((name) => [name, new Readout(name)]));
    this.element = h("section", { class: "panel slate", "aria-label": "Session" },
      h("div", { class: "figures" }, this._pill, h("dl", { class: "readouts" }, ...Object.values(this._figures).map((readout) => readout.element))),
      h("div", { class: "line" }, strip, this._last));
  }

  show(state, connected) {
    this._showPill(sign(state, connected));
    const { session, episode, timing } = state;
    const { Episode, Step, Success, Elapsed, "Control rate": rate } = this._figures;
    const planned = session.num_episodes;
    const number = episode ? episode.index + 1 : state.episodes.length ? state.episodes.at(-1).index + 1 : null;
    Episode.show(number ?? "–", planned ? `of ${planned}` : "", episode ? this._more(episode) : session.status === "ended" ? "last one" : "next one is being set up");
    Step.show(episode ? String(episode.step) : "–", "", episode ? `${fixed(episode.time_s, 1)} s` : "");
    const slow = isSlow(timing, session);
    rate.show(fixed(timing.rate_hz, 1), slow ? `of ${+session.max_hz.toFixed(2)} Hz` : "Hz", lateness(timing, session));
    rate.warn(slow);
    const { successes, attempts, others } = successRate(countOutcomes(state.episodes));
    Success.show(attempts ? percent(successes / attempts) : "–", attempts ? "%" : "", allWords(successes, attempts, others));
    const last = state.episodes.at(-1);
    setText(this._last, last ? describeEpisode(last) : "No episode has ended yet.");
    Elapsed.show(clock(session.elapsed_s), "", session.total_seconds ? `of ${clock(session.total_seconds)}` : "");
  }

  _more(episode) {
    const notes = [episode.marked && `marked ${episode.marked}`, episode.interventions && count(episode.interventions, "intervention")].filter(Boolean);
    return notes.join(", ") || `seed ${episode.seed}`;
  }

  _showPill(status) {
    if (this._pill.dataset.status === status) return;
    this._pill.dataset.status = status;
    this._pill.replaceChildren(icon(ICONS[status], 22), STATUS_WORDS[status] ?? status);
  }
}

/** The one word for how things stand. A session that is to stop tells its reason before it has ended. */
function sign(state, connected) {
  const { status, reason } = state.session;
  if (!connected && status !== "ended") return "lost";
  if (faultOf(state)) return "fault";
  return status !== "ended" && reason ? "stopping" : status;
}

/** Whether a session that is to keep to a rate falls behind it. */
function isSlow({ rate_hz }, { max_hz, status }) {
  return status === "running" && max_hz > 0 && rate_hz != null && rate_hz < TOLERATED * max_hz;
}

function lateness({ late_ms_p50, late_ms_p99 }, { control_hz }) {
  if (late_ms_p50 == null) return control_hz == null ? "" : `unpaced; ${+control_hz.toFixed(2)} Hz is real time`;
  return `${unbroken(`late ${fixed(late_ms_p50, 1)} ms,`)} ${unbroken(`p99 ${fixed(late_ms_p99, 1)} ms`)}`;
}

function allWords(successes, attempts, others) {
  if (!attempts) return others.length ? others.join(", ") : "no attempt yet";
  return [successWords(successes, attempts), ...others].join(", ");
}

class Readout {
  constructor(name) {
    this._figure = h("span", { class: "number" });
    this._unit = h("span", { class: "unit" });
    this._more = h("span", { class: "more" });
    this.element = h("div", { class: "readout" }, h("dt", {}, name), h("dd", {}, h("span", { class: "figure" }, this._figure, this._unit), this._more));
  }

  warn(warned) {
    this.element.classList.toggle("warned", warned);
  }

  show(figure, unit, more) {
    setText(this._figure, String(figure));
    setText(this._unit, unit);
    setText(this._more, more);
    this._more.title = more;
  }
}
