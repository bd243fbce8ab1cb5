/** A plot over time: uPlot in the page's colours, with marks for episodes and interventions, a chooser and a legend. */
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { h, listenWhileShown, setText, svg } from "./dom.js";
import { plain, value } from "./format.js";
import { recall, remember } from "./storage.js";

const COLOURS = 8;
const DASHES = [[], [7, 4], [2, 3]];
const DEFAULT_CURVES = 6;

/** @typedef {{time: number, label?: string, kind: "episode" | "intervention"}} Mark */
/** @typedef {{label: string, colour?: string, dash?: number[], width?: number, unit?: string}} Curve */

/** The colour behind a CSS value such as `var(--ink)`, in the theme in force. */
function colourOf(css) {
  const probe = h("span", { hidden: true });
  probe.style.color = css;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** One set of axes. Curves are set once; data as often as one likes. */
export class TimePlot {
  /**
   * @param {{label: string, height?: number, range?: [number, number], onSeek?: (time: number) => void, marks?: () => Mark[], sync?: string}} options
   */
  constructor({ label, height = 210, range, onSeek, marks = () => [], sync }) {
    this.element = h("div", { class: "plot", role: "img", "aria-label": label });
    this.legend = h("ul", { class: "legend" });
    this.element.style.height = `${height}px`;
    this._height = height;
    this._range = range;
    this._onSeek = onSeek;
    this._marks = marks;
    this._sync = sync;
    /** @type {Curve[]} */
    this._curves = [];
    /** @type {any} */
    this._plot = null;
    /** @type {(number | null)[][]} */
    this._data = [[]];
    /** @type {[number, number]} */
    this._view = [0, 1];
    this._playhead = h("div", { class: "playhead" });
    this._visible = true;
    new ResizeObserver(() => this._resize()).observe(this.element);
    new IntersectionObserver(([entry]) => this._see(entry.isIntersecting), { rootMargin: "200px" }).observe(this.element);
    listenWhileShown(this.element, "themechange", () => this._build());
  }

  /** @param {Curve[]} curves */
  setCurves(curves) {
    this._curves = curves;
    this._build();
  }

  /**
   * @param {(number | null)[][]} data times first, then a column a curve
   * @param {[number, number]} view the times shown
   */
  setData(data, view) {
    this._data = data;
    this._view = view;
    if (!this._plot || !this._visible) return;
    this._plot.batch(() => {
      this._plot.setData(data, false);
      this._plot.setScale("x", { min: view[0], max: view[1] });
    });
    if (this._plot.cursor.idx == null) this._showValues(lastRow(data));
  }

  /** Draw a line where a video stands. */
  setPlayhead(time) {
    if (!this._plot) return;
    if (this._playhead.parentNode !== this._plot.over) this._plot.over.append(this._playhead);
    this._playhead.style.transform = `translateX(${this._plot.valToPos(time, "x")}px)`;
    if (this._plot.cursor.idx == null) this._showValues(indexAt(this._data[0], time));
  }

  /** Let go of the window's events. */
  close() {
    this._plot?.destroy();
    this._plot = null;
  }

  _see(visible) {
    const appeared = visible && !this._visible;
    this._visible = visible;
    if (appeared) this.setData(this._data, this._view);
  }

  _resize() {
    const width = this.element.clientWidth;
    if (this._plot && width && width !== this._plot.width) this._plot.setSize({ width, height: this._height });
  }

  _build() {
    this._plot?.destroy();
    this._plot = null;
    if (!this.element.clientWidth || !this._curves.length) return this._buildLegend();
    this._colours = { ink: colourOf("var(--quiet)"), line: colourOf("var(--line)"), edge: colourOf("var(--edge)"), mark: colourOf("var(--brand)") };
    this._plot = new uPlot(this._options(), this._aligned(), this.element);
    if (this._onSeek) this._plot.over.addEventListener("click", () => this._seek());
    this._plot.setScale("x", { min: this._view[0], max: this._view[1] });
    this._buildLegend();
  }

  _aligned() {
    return this._data.length === this._curves.length + 1 ? this._data : [[], ...this._curves.map(() => [])];
  }

  _options() {
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: this._colours.ink, font, grid: { stroke: this._colours.line, width: 1 }, ticks: { show: false } };
    return {
      width: this.element.clientWidth,
      height: this._height,
      padding: [18, 16, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 7 }, drag: { x: false, y: false }, sync: this._sync ? { key: this._sync, setSeries: false } : undefined },
      scales: { x: { time: false, auto: false }, y: this._range ? { auto: false, range: this._range } : { range: padded } },
      axes: [
        { ...axis, size: 26, gap: 6, values: (_, ticks) => ticks.map((tick) => `${+tick.toFixed(3)} s`), space: 72 },
        { ...axis, size: 44, gap: 6, space: 34 },
      ],
      series: [{}, ...this._curves.map((curve) => ({ label: curve.label, stroke: colourOf(curve.colour), width: curve.width ?? 1.75, dash: curve.dash, points: { show: false }, spanGaps: false }))],
      hooks: { drawAxes: [(plot) => this._drawMarks(plot)], setCursor: [(plot) => this._showValues(plot.cursor.idx ?? lastRow(this._data))] },
    };
  }

  _seek() {
    const { left } = this._plot.cursor;
    if (left >= 0) this._onSeek(this._plot.posToVal(left, "x"));
  }

  _drawMarks(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    ctx.textBaseline = "bottom";
    ctx.textAlign = "left";
    let free = -Infinity;
    for (const mark of this._marks()) {
      const x = Math.round(plot.valToPos(mark.time, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const strong = mark.kind === "intervention";
      ctx.fillStyle = ctx.strokeStyle = strong ? this._colours.mark : this._colours.edge;
      ctx.lineWidth = (strong ? 2 : 1) * ratio;
      ctx.setLineDash(strong ? [] : [3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (strong) triangle(ctx, x, bbox.top, 5 * ratio);
      const width = mark.label ? ctx.measureText(mark.label).width : 0;
      if (!width || x < free || x + width > bbox.left + bbox.width) continue;
      ctx.fillStyle = this._colours.ink;
      ctx.fillText(mark.label, x + 3 * ratio, bbox.top - 3 * ratio);
      free = x + width + 10 * ratio;
    }
    ctx.restore();
  }

  _buildLegend() {
    this._values = this._curves.map(() => h("span", { class: "value" }));
    this.legend.replaceChildren(
      ...this._curves.map((curve, k) => h("li", {}, swatch(curve), curve.label, curve.unit && h("span", { class: "quiet" }, curve.unit), this._values[k])),
    );
    this._showValues(lastRow(this._data));
  }

  _showValues(row) {
    this._values?.forEach((node, k) => setText(node, value(row == null ? null : this._data[k + 1]?.[row])));
  }
}

function triangle(ctx, x, top, size) {
  ctx.beginPath();
  ctx.moveTo(x - size, top);
  ctx.lineTo(x + size, top);
  ctx.lineTo(x, top + 1.4 * size);
  ctx.fill();
}

function padded(_, low, high) {
  if (low == null) return [0, 1];
  const margin = Math.max((high - low) * 0.08, 0.02);
  return [low - margin, high + margin];
}

function swatch(curve) {
  const line = svg("line", { x1: 0, y1: 5, x2: 22, y2: 5, "stroke-width": 2.5, stroke: "currentColor", "stroke-dasharray": curve.dash?.length ? curve.dash.join(" ") : null });
  const image = svg("svg", { width: 22, height: 10, viewBox: "0 0 22 10", "aria-hidden": "true" }, line);
  image.style.color = curve.colour;
  return image;
}

function lastRow(data) {
  return data[0].length ? data[0].length - 1 : null;
}

/** Position of the last of the ascending `times` that is not after `time`. */
export function indexAt(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low ? low - 1 : null;
}

/** A titled plot of some of a vector's dimensions, which the user chooses and the browser remembers. */
export class VectorPlot {
  /**
   * @param {string} title
   * @param {{names: string[], units?: string[]}} signals
   * @param {string} key what the choice is remembered under
   * @param {object} options of the plot
   */
  constructor(title, signals, key, options) {
    this._names = signals.names;
    this._units = signals.units ?? [];
    this._key = key;
    this.onChange = () => {};
    this.plot = new TimePlot({ label: `${title} over time; its figures stand below`, ...options });
    this.chosen = sensible(this._names, recall(key));
    this._counter = h("summary", {});
    this._list = h("div", { class: "choices" });
    this.element = h(
      "section",
      { class: "panel plot-panel", "aria-label": title },
      h("header", {}, h("h2", {}, title), h("span", { class: "end" }, h("details", { class: "chooser" }, this._counter, this._list))),
      this.plot.element,
      this.plot.legend,
    );
    closesOutside(this.element.querySelector("details"));
    this._buildChoices();
  }

  /** Call once the element is in the page: a plot needs to know its width. */
  begin() {
    this._apply();
  }

  _buildChoices() {
    const boxes = this._names.map((name, k) =>
      h("label", {}, h("input", { type: "checkbox", value: k, on: { change: () => this._choose(boxes.flatMap((box, n) => (box.firstChild.checked ? [n] : []))) } }), plain(name), this._units[k] && h("span", { class: "quiet" }, this._units[k])),
    );
    const preset = (word, indices) =>
      h("button", { type: "button", class: "button small", on: { click: () => this._choose(indices(), true) } }, word);
    this._boxes = boxes.map((box) => box.firstChild);
    this._list.append(
      h("div", { class: "presets" }, preset("Usual", () => sensible(this._names, null)), preset("All", () => this._names.map((_, k) => k)), preset("None", () => [])),
      h("div", { class: "rows" }, ...boxes),
    );
  }

  _choose(indices) {
    this.chosen = indices;
    remember(this._key, indices.map((k) => this._names[k]));
    this._apply();
    this.onChange();
  }

  _apply() {
    this._boxes.forEach((box, k) => (box.checked = this.chosen.includes(k)));
    setText(this._counter, `${this.chosen.length} of ${this._names.length} shown`);
    this.plot.setCurves(
      this.chosen.map((k, n) => ({ label: plain(this._names[k]), unit: this._units[k], colour: `var(--plot-${(n % COLOURS) + 1})`, dash: DASHES[Math.floor(n / COLOURS) % DASHES.length] })),
    );
  }
}

function closesOutside(details) {
  listenWhileShown(details, "pointerdown", (event) => {
    if (details.open && !details.contains(/** @type {Node} */ (event.target))) details.open = false;
  });
  details.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
  });
}

/** The remembered dimensions; else the grippers, which tell the phase of a task, and others evenly from the rest. */
function sensible(names, remembered) {
  const known = Array.isArray(remembered) ? names.flatMap((name, k) => (remembered.includes(name) ? [k] : [])) : [];
  if (known.length || (Array.isArray(remembered) && !remembered.length)) return known;
  if (names.length <= DEFAULT_CURVES) return names.map((_, k) => k);
  const all = names.map((_, k) => k);
  const grippers = all.filter((k) => /grip/i.test(names[k])).slice(0, 2);
  const rest = all.filter((k) => !grippers.includes(k));
  const wanted = DEFAULT_CURVES - grippers.length;
  const others = Array.from({ length: wanted }, (_, n) => rest[Math.floor(((n + 0.5) * rest.length) / wanted)]);
  return [...new Set([...grippers, ...others])].sort((a, b) => a - b);
}
