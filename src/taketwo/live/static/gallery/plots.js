/** Plots of the episode that is shown, in step with the video. */
import { getJson } from "../shared/api.js";
import { h } from "../shared/dom.js";
import { FailurePlot } from "../shared/failure_plot.js";
import { TimePlot, VectorPlot } from "../shared/plot.js";

const MOST_KEPT = 12;

export class EpisodePlots {
  /** @param {any} session @param {(time: number) => void} onSeek */
  constructor(session, onSeek) {
    this._session = session;
    this._options = { onSeek, sync: "gallery", height: 170 };
    this._note = h("p", { class: "message plots-note" });
    this._grid = h("div", { class: "plots" });
    this.element = h("section", { "aria-label": "Plots" }, this._note, this._grid);
    /** @type {Map<number, Promise<any>>} */
    this._loaded = new Map();
    this._time = 0;
    this._note.hidden = true;
  }

  begin() {
    const { signals } = this._session;
    if (!signals) return;
    this._vectors = { action: new VectorPlot("Action", signals.action, "action", this._options), state: new VectorPlot("State", signals.state, "state", this._options) };
    this._reward = new TimePlot({ label: "Reward over time", ...this._options, height: 120 });
    this._failure = new FailurePlot({ thresholds: false }, { ...this._options, height: 130 });
    this._rewardPanel = h("section", { class: "panel plot-panel", "aria-label": "Reward" }, h("header", {}, h("h2", {}, "Reward")), this._reward.element, this._reward.legend);
    this._grid.replaceChildren(this._failure.element, this._vectors.action.element, this._vectors.state.element, this._rewardPanel);
    for (const plot of Object.values(this._vectors)) {
      plot.begin();
      plot.onChange = () => this._draw();
    }
    this._failure.begin();
    this._reward.setCurves([{ label: "reward", colour: "var(--plot-3)", width: 2 }]);
  }

  close() {
    for (const plot of this._plots()) plot.close();
  }

  async show(episode) {
    this._wanted = episode.index;
    const note = this._why(episode);
    this._setNote(note);
    if (note) return;
    try {
      const data = await this._load(episode.index);
      if (this._wanted !== episode.index) return;
      this._data = data;
      this._draw();
    } catch (error) {
      this._loaded.delete(episode.index);
      if (this._wanted === episode.index) this._setNote(["The signals of this episode cannot be read", error.message]);
    }
  }

  setTime(time) {
    this._time = time;
    if (this._data) for (const plot of this._plots()) plot.setPlayhead(time);
  }

  _plots() {
    return this._vectors ? [this._vectors.action.plot, this._vectors.state.plot, this._reward, this._failure.plot] : [];
  }

  _why(episode) {
    if (!this._session.signals) return ["No plots", "Actions and states are kept in a dataset. Record one with --dataset.repo_id=NAME/DATASET, and they are shown here."];
    if (!episode.has_signals) return ["No plots", "This episode is not in the dataset."];
    return null;
  }

  _setNote(words) {
    this._note.hidden = words === null;
    this._grid.hidden = words !== null;
    if (words) this._note.replaceChildren(h("strong", {}, words[0]), words[1]);
  }

  _load(index) {
    if (!this._loaded.has(index)) {
      const { id } = this._session;
      this._loaded.set(index, getJson(`api/gallery/signals?id=${encodeURIComponent(id)}&episode=${index}`).then(byColumns));
      if (this._loaded.size > MOST_KEPT) this._loaded.delete(this._loaded.keys().next().value);
    }
    return this._loaded.get(index);
  }

  _draw() {
    const { time, action, state, reward, failure } = this._data;
    const view = /** @type {[number, number]} */ ([0, Math.max(time.at(-1) ?? 1, 0.1)]);
    this._failure.element.hidden = !failure;
    this._rewardPanel.hidden = !reward.some((value) => value !== null);
    const drawn = { action, state };
    for (const [name, { chosen, plot }] of Object.entries(this._vectors)) if (chosen.length) plot.setData([time, ...chosen.map((k) => drawn[name][k])], view);
    this._reward.setData([time, reward], view);
    if (failure) this._failure.plot.setData([time, failure], view);
    this.setTime(this._time);
  }
}

function byColumns({ time, action, state, reward, p_fail: failure }) {
  const columns = (rows) => (rows.length ? rows[0].map((_, k) => rows.map((row) => row[k])) : []);
  return { time, action: columns(action), state: columns(state), reward: reward ?? time.map(() => null), failure };
}
