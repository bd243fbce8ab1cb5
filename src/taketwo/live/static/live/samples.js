/** The last minutes of samples, by columns, as plots want them. */

const MOST_ROWS = 9000; // six minutes at 25 a second
const MOST_INTERVENTIONS = 200;

export class Samples {
  constructor() {
    this.clear();
  }

  clear() {
    /** @type {number[]} */
    this.time = [];
    /** @type {number[]} */
    this.episode = [];
    /** @type {Record<string, (number | null)[][]>} a column a dimension */
    this.columns = { action: [], state: [], failure: [[], [], []] };
    /** @type {{time: number, episode: number, reason: string}[]} */
    this.interventions = [];
    this.monitored = false;
  }

  get end() {
    return this.time.at(-1) ?? 0;
  }

  /** @param {any} batch a `samples` message. One that goes back in time replaces what was there from then on. */
  append(batch) {
    if (!batch.time.length) return;
    this._forgetFrom(batch.time[0]);
    batch.time.forEach((time, k) => {
      const episode = batch.episode[k];
      if (this.episode.length && this.episode.at(-1) !== episode) this._gap(time, episode);
      this._row(time, episode, batch.action[k], batch.state[k], [batch.p_fail[k], batch.high[k], batch.low[k]]);
    });
    this._trim();
  }

  intervene({ time, episode, reason }) {
    if (this.interventions.some((known) => known.time === time)) return;
    this.interventions.push({ time, episode, reason });
    if (this.interventions.length > MOST_INTERVENTIONS) this.interventions.shift();
  }

  /** Episode boundaries and interventions that the samples reach to. */
  marks() {
    const starts = this.episode.flatMap((episode, k) =>
      k && episode !== this.episode[k - 1] ? [{ time: this.time[k], label: `episode ${episode + 1}`, kind: "episode" }] : [],
    );
    const stepsIn = this.interventions.map(({ time }) => ({ time, kind: "intervention" }));
    return [...starts, ...stepsIn].sort((a, b) => a.time - b.time);
  }

  _all() {
    return [this.time, this.episode, ...this.columns.action, ...this.columns.state, ...this.columns.failure];
  }

  _row(time, episode, action, state, failure) {
    this.time.push(time);
    this.episode.push(episode);
    for (const [name, values] of Object.entries({ action, state, failure })) {
      values.forEach((value, k) => (this.columns[name][k] ??= new Array(this.time.length - 1).fill(null)).push(value));
    }
    if (failure[0] != null) this.monitored = true;
  }

  /** A row without values, so that no curve joins two episodes. */
  _gap(time, episode) {
    this.time.push(time);
    this.episode.push(episode);
    for (const column of Object.values(this.columns).flat()) column.push(null);
  }

  _forgetFrom(time) {
    let keep = this.time.length;
    while (keep && this.time[keep - 1] >= time) keep--;
    for (const column of this._all()) column.length = keep;
    this.interventions = this.interventions.filter((known) => known.time < time || keep === this.time.length);
  }

  _trim() {
    const surplus = this.time.length - MOST_ROWS;
    if (surplus > MOST_ROWS / 10) for (const column of this._all()) column.splice(0, surplus);
  }
}
