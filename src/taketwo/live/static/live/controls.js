/** Buttons and keys that steer the session. */
import { sendCommand } from "../shared/api.js";
import { h, setAttribute, setText } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { bindKeys } from "../shared/keys.js";
import { toast } from "../shared/toasts.js";

export class Controls {
  constructor() {
    this._state = null;
    this._pause = this._button("pause", "Pause", "Space", () => this._togglePause(), "pause");
    this._end = this._button("end", "End episode", "→", () => this._send("end_episode"), "end");
    this._redo = this._button("redo", "Redo episode", "←", () => this._send("redo_episode"), "redo caution");
    this._retry = this._button("retry", "Intervene", "I", () => this._send("intervene"), "retry");
    this._success = this._button("success", "Success", "S", () => this._mark("success"), "mark success");
    this._failure = this._button("failure", "Failure", "F", () => this._mark("failure"), "mark failure");
    this._stop = this._button("stop", "Stop session", "Esc", () => this._send("stop"), "stop");
    this._redo.title = "Discard this episode and take it again";
    this._retry.title = "Reset policy and filters, and begin again from where the robot stands";
    this._success.title = "Mark this episode as a success";
    this._failure.title = "Mark this episode as a failure";
    this.element = h("section", { class: "panel controls", "aria-label": "Controls" },
      h("div", { class: "buttons" }, this._pause, this._end, this._retry, this._redo),
      h("div", { class: "marks", role: "group", "aria-label": "Mark this episode as" }, h("span", { class: "quiet", "aria-hidden": "true" }, "Mark as"), this._success, this._failure),
      this._stop);
    bindKeys({
      " ": () => this._togglePause(),
      ArrowRight: () => this._send("end_episode"),
      ArrowLeft: () => this._send("redo_episode"),
      Escape: () => this._send("stop"),
      i: () => this._send("intervene"),
      s: () => this._mark("success"),
      f: () => this._mark("failure"),
    });
  }

  show(state) {
    this._state = state;
    const { status } = state.session;
    const marked = state.episode?.marked;
    const paused = status === "paused";
    setText(this._pause.querySelector(".word"), paused ? "Resume" : "Pause");
    if (this._pause.dataset.icon !== String(paused)) {
      this._pause.dataset.icon = String(paused);
      this._pause.firstChild.replaceWith(icon(paused ? "resume" : "pause"));
    }
    setAttribute(this._success, "aria-pressed", marked === "success");
    setAttribute(this._failure, "aria-pressed", marked === "failure");
    this._pause.disabled = this._stop.disabled = status === "ended";
    for (const button of [this._end, this._redo, this._retry, this._success, this._failure]) button.disabled = !state.episode || status === "ended";
  }

  _button(sign, word, key, action, kind) {
    const [first, rest] = word.split(" ");
    return h(
      "button",
      // Pressing with the mouse leaves the focus where it was: space goes on to mean pause.
      { type: "button", class: `button ${kind}`, "aria-keyshortcuts": ARIA_KEYS[key] ?? key, on: { click: action, mousedown: (event) => event.preventDefault() } },
      icon(sign),
      h("span", { class: "word" }, first, rest && h("span", { class: "rest" }, ` ${rest}`)),
      h("kbd", { "aria-hidden": "true" }, key),
    );
  }

  _togglePause() {
    this._send(this._state?.session.status === "paused" ? "resume" : "pause");
  }

  _mark(verdict) {
    this._send(this._state?.episode?.marked === verdict ? "unmark" : `mark_${verdict}`);
  }

  /** What concerns an episode names it, so that a key pressed as it ends does not hit the next. */
  async _send(command) {
    if (this._state?.session.status === "ended") return toast("The session has ended.", false);
    const episode = this._state?.episode;
    const ofEpisode = !["pause", "resume", "stop"].includes(command);
    if (ofEpisode && !episode) return toast("No episode is under way.", false);
    const { ok, said } = await sendCommand(command, ofEpisode ? { episode: episode.index, take: episode.take } : {});
    toast(said, ok);
  }
}

const ARIA_KEYS = { Esc: "Escape", "→": "ArrowRight", "←": "ArrowLeft" };
