/** What the monitor says: the probability of failure, both thresholds, and where somebody stepped in. */
import { h, setText, svg } from "./dom.js";
import { TimePlot } from "./plot.js";

export class FailurePlot {
  /** @param {{thresholds: boolean}} shows whether thresholds are known; then the options of the plot */
  constructor({ thresholds }, options) {
    this.plot = new TimePlot({ label: "Probability of failure over time; its figures stand below", height: 140, range: [0, 1], ...options });
    this._thresholds = thresholds;
    this._steppedIn = h("p", { class: "stepped-in" }, svg("svg", { width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" }, svg("path", { d: "M5 0h12l-6 9z", fill: "var(--brand)" })), "intervention");
    this.element = h(
      "section",
      { class: "panel plot-panel", "aria-label": "Probability of failure" },
      h("header", {}, h("h2", {}, "Probability of failure")),
      this.plot.element,
      h("div", { class: "legends" }, this.plot.legend, this._steppedIn),
    );
    this._steppedIn.hidden = true;
  }

  /** Explain the mark, once there is one. */
  showInterventions(count) {
    this._steppedIn.hidden = !count;
    setText(this._steppedIn.lastChild, count === 1 ? "1 intervention" : `${count} interventions`);
  }

  begin() {
    const limits = [
      { label: "counts as failing above", colour: "var(--failure)", dash: [7, 4], width: 1.5 },
      { label: "is cleared below", colour: "var(--success)", dash: [2, 3], width: 1.5 },
    ];
    this.plot.setCurves([{ label: "p_fail", colour: "var(--plot-1)", width: 2.5 }, ...(this._thresholds ? limits : [])]);
  }
}
