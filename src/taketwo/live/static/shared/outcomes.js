/** How episodes end: a shape, a sign inside it and a word each, so that none is told by colour alone. */
import { h, svg } from "./dom.js";

/** In the order in which filters and sums show them. */
export const OUTCOMES = ["success", "failure", "timeout", "unjudged", "stopped", "discarded", "fault"];

/** Those that count in the success rate. */
const ATTEMPTS = ["success", "failure", "timeout"];

const SHAPES = {
  success: [["circle", { cx: 12, cy: 12, r: 10, fill: "currentColor" }], ["path", { class: "mark", d: "M7.5 12.4l3 3 6-6.6" }]],
  failure: [["rect", { x: 2.5, y: 2.5, width: 19, height: 19, rx: 3.5, fill: "currentColor" }], ["path", { class: "mark", d: "M8 8l8 8M16 8l-8 8" }]],
  timeout: [["path", { d: "M12 1.2L22.8 12 12 22.8 1.2 12z", fill: "currentColor", "stroke-linejoin": "round" }], ["path", { class: "mark", d: "M12 7.2V12l3 2.4" }]],
  fault: [["path", { d: "M12 1.5l11 20H1z", fill: "currentColor" }], ["path", { class: "mark", d: "M12 9v5.2M12 17.9v.1" }]],
  stopped: [["circle", { class: "line", cx: 12, cy: 12, r: 9 }], ["rect", { x: 8.5, y: 8.5, width: 7, height: 7, rx: 1, fill: "currentColor" }]],
  discarded: [["circle", { class: "line", cx: 12, cy: 12, r: 9, "stroke-dasharray": "2.6 4" }], ["path", { class: "line", d: "M8.5 15.5l7-7" }]],
  unjudged: [["circle", { class: "line", cx: 12, cy: 12, r: 9 }], ["path", { class: "line", d: "M9.6 9.6a2.5 2.5 0 1 1 3.4 2.6c-.7.3-1 .8-1 1.4M12 16.8v.1" }]],
  running: [["circle", { class: "line", cx: 12, cy: 12, r: 9 }], ["circle", { cx: 12, cy: 12, r: 4.5, fill: "currentColor" }]],
  planned: [["circle", { cx: 12, cy: 12, r: 3, fill: "currentColor", opacity: 0.45 }]],
};

/** The sign of an outcome, for eyes only: put the word beside it, or in a label. */
export function outcomeIcon(outcome, size = 24) {
  const shape = (SHAPES[outcome] ?? SHAPES.unjudged).map(([tag, attributes]) => svg(tag, attributes));
  return svg("svg", { class: "outcome", "data-outcome": outcome, viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true" }, ...shape);
}

export function outcomeWord(outcome, size = 18) {
  return h("span", { class: "with-outcome" }, outcomeIcon(outcome, size), outcome);
}

/**
 * Success among the attempts; the rest is counted apart.
 * @param {Record<string, number>} counts
 */
export function successRate(counts) {
  const attempts = ATTEMPTS.reduce((sum, outcome) => sum + (counts[outcome] ?? 0), 0);
  const others = OUTCOMES.filter((outcome) => !ATTEMPTS.includes(outcome) && counts[outcome]);
  return { successes: counts.success ?? 0, attempts, others: others.map((outcome) => `${counts[outcome]} ${outcome}`) };
}

/** @param {{outcome: string}[]} episodes */
export function countOutcomes(episodes) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const { outcome } of episodes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}
