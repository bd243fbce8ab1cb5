/** The page on a running session. */
import { h, setText } from "../shared/dom.js";
import { FailurePlot } from "../shared/failure_plot.js";
import { MISSING, plain } from "../shared/format.js";
import { showHeader } from "../shared/header.js";
import { VectorPlot } from "../shared/plot.js";
import { recall, remember } from "../shared/storage.js";
import { LiveStrip } from "../shared/strip.js";
import { announce } from "../shared/toasts.js";
import { showBanners } from "./banners.js";
import { Cameras } from "./cameras.js";
import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { History } from "./history.js";
import { PromptEditor } from "./prompt.js";
import { Samples } from "./samples.js";
import { faultOf, Status, STATUS_WORDS } from "./status.js";

const SPANS_S = [10, 30, 60, 300];
const WORDS = { open: "connected", connecting: "connecting", lost: "no connection", refused: "refused" };

/** @param {any} first what `/api/state` says */
export function start(first) {
  new LivePage().begin(first);
}

class LivePage {
  constructor() {
    this._samples = new Samples();
    this._strip = new LiveStrip();
    this._status = new Status(this._strip.element);
    this._cameras = new Cameras((cameras) => this._connection?.watch(cameras));
    this._prompt = new PromptEditor();
    this._controls = new Controls();
    this._history = new History();
    this._plots = h("div", { class: "plots" });
    this._beside = h("div", { class: "beside" }, this._prompt.element, this._controls.element);
    this._light = h("span", { class: "connection", "data-status": "connecting", role: "status" }, WORDS.connecting);
    this._connected = "connecting";
    this._span = SPANS_S.includes(recall("span")) ? recall("span") : 30;
    this._state = null;
  }

  begin(first) {
    document.getElementById("content").replaceChildren(
      this._status.element,
      h("div", { class: "stage" }, this._cameras.element, this._beside),
      h("div", { class: "plots-head" }, h("h2", {}, "Over time"), this._spanChoice()),
      this._plots,
      this._history.element,
    );
    this._onState(first);
    this._connection = new Connection({
      onState: (state) => this._onState(state),
      onSamples: (batch) => this._onSamples(batch),
      onIntervention: (intervention) => this._onIntervention(intervention),
      onFrame: (header, jpeg) => this._cameras.onFrame(header, jpeg),
      onStatus: (status, said) => this._onStatus(status, said),
    });
  }

  _onState(state) {
    const before = this._state;
    this._state = state;
    if (!before || isAnother(before, state)) this._beginSession(state);
    const ended = state.session.status === "ended";
    this._cameras.setCameras(state.cameras);
    this._prompt.show(state.prompt, ended);
    this._controls.show(state);
    this._history.show(state.episodes);
    this._strip.show(state.episodes, ended ? null : state.episode, ended ? null : state.session.num_episodes);
    this._showStatus();
    if (before) tellChanges(before, state);
    document.title = title(state);
  }

  _beginSession({ session, signals, taketwo }) {
    this._samples.clear();
    for (const { plot } of Object.values(this._vectors ?? {})) plot.close();
    showHeader([["environment", plain(session.environment ?? MISSING)], ["policy", plain(session.policy ?? MISSING)], ["seed", String(session.seed ?? MISSING)]], this._light);
    document.getElementById("top").title = `Take Two ${taketwo}`;
    const options = { marks: () => this._samples.marks(), sync: "live" };
    this._vectors = { action: new VectorPlot("Action", signals.action, "action", options), state: new VectorPlot("State", signals.state, "state", options) };
    this._failure?.element.remove();
    this._failure?.plot.close();
    this._failure = null;
    this._plots.replaceChildren(this._vectors.action.element, this._vectors.state.element);
    for (const plot of Object.values(this._vectors)) {
      plot.begin();
      plot.onChange = () => this._draw();
    }
  }

  _onSamples(batch) {
    this._samples.append(batch);
    if (this._samples.monitored && !this._failure) this._addFailurePlot();
    this._drawing ??= requestAnimationFrame(() => this._draw());
  }

  _addFailurePlot() {
    this._failure = new FailurePlot({ thresholds: true }, { marks: () => this._samples.marks(), sync: "live" });
    this._beside.append(this._failure.element);
    this._failure.begin();
  }

  _onIntervention(intervention) {
    this._samples.intervene(intervention);
    announce(`Intervention in episode ${intervention.episode + 1}: ${intervention.kind}. ${intervention.reason}`);
  }

  _draw() {
    this._drawing = undefined;
    const { time, columns, end } = this._samples;
    const view = /** @type {[number, number]} */ ([Math.max(0, end - this._span), Math.max(end, this._span)]);
    for (const [name, plot] of Object.entries(this._vectors)) {
      const chosen = plot.chosen.map((k) => columns[name][k] ?? []);
      if (chosen.length) plot.plot.setData([time, ...chosen], view);
    }
    this._failure?.showInterventions(this._samples.interventions.length);
    this._failure?.plot.setData([time, ...columns.failure], view);
  }

  _onStatus(status, said) {
    this._connected = status;
    this._said = said;
    this._light.dataset.status = status;
    const over = this._state?.session.status === "ended" && status !== "open";
    if (over) this._light.dataset.status = "connecting";
    setText(this._light, over ? "session is over" : WORDS[status]);
    this._showStatus();
  }

  _showStatus() {
    const connected = this._connected === "open" || this._connected === "connecting";
    this._status.show(this._state, connected);
    showBanners(this._state, this._connected, this._said);
    const { status } = this._state.session;
    this._cameras.setStill(status === "ended" ? "last picture" : !connected ? "no connection" : status === "paused" ? "paused" : null);
    this._cameras.layOut();
  }

  _spanChoice() {
    const options = SPANS_S.map((span) => h("option", { value: span, selected: span === this._span }, span < 60 ? `last ${span} s` : `last ${span / 60} min`));
    const select = h("select", { class: "field", "aria-label": "Time shown", on: { change: () => {
      this._span = Number(select.value);
      remember("span", this._span);
      this._draw();
    } } }, ...options);
    return select;
  }
}

/** Whether the server on this address now runs another session than before. */
function isAnother(before, now) {
  const same = ["environment", "policy", "seed"].every((key) => before.session[key] === now.session[key]);
  return !same || now.session.elapsed_s < before.session.elapsed_s - 1 || before.signals.action.names.join() !== now.signals.action.names.join();
}

function tellChanges(before, now) {
  const ended = now.episodes.slice(before.episodes.length);
  for (const episode of ended.slice(-2)) announce(`Episode ${episode.index + 1}: ${episode.outcome}, ${episode.steps} steps`);
  if (before.session.status !== now.session.status) announce(`Session ${now.session.status}. ${now.session.reason ?? ""}`);
}

function title(state) {
  const { session, episode } = state;
  const what = faultOf(state) ? "Fault" : session.status === "running" && episode ? `Episode ${episode.index + 1}` : STATUS_WORDS[session.status];
  return `${what} · ${plain(session.environment ?? MISSING)} · Take Two`;
}
