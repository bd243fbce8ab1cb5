/** The instruction: what observations carry, what the policy made of it, and a field to change it. */
import { sendCommand } from "../shared/api.js";
import { h, setText } from "../shared/dom.js";
import { toast } from "../shared/toasts.js";

const PATIENCE_MS = 3000; // for an observation to carry what was sent

export class PromptEditor {
  constructor() {
    this._shown = "";
    this._sent = null;
    this._field = h("textarea", {
      id: "prompt", class: "field", rows: 2, maxlength: 4000, "aria-describedby": "prompt-note", placeholder: "No prompt", spellcheck: "false", autocomplete: "off",
      on: { keydown: (event) => this._onKey(event), input: () => this._showButtons() },
    });
    this._note = h("p", { id: "prompt-note", class: "quiet" });
    this._used = h("p", { class: "used" });
    this._send = h("button", { type: "button", class: "button small primary", on: { click: () => this._submit() } }, "Send", h("kbd", { "aria-hidden": "true" }, "Enter"));
    this._revert = h("button", { type: "button", class: "button small", on: { click: () => this._leave() } }, "Cancel", h("kbd", { "aria-hidden": "true" }, "Esc"));
    this._buttons = h("div", { class: "prompt-buttons" }, this._send, this._revert);
    this._buttons.hidden = true;
    this.element = h("section", { class: "panel prompt", "aria-labelledby": "prompt-title" },
      h("header", {}, h("h2", { id: "prompt-title" }, h("label", { for: "prompt" }, "Prompt"))),
      this._field, this._buttons, this._used, this._note);
  }

  /** @param {{text: string | null, used: string | null, read: boolean | null, editable: boolean, note: string | null}} prompt */
  show(prompt, ended) {
    const text = prompt.text ?? "";
    if (this._sent !== null && text === this._sent) this._sent = null;
    const untouched = this._field.value === this._shown;
    this._shown = text;
    if (untouched && this._sent === null && this._field.value !== text) this._field.value = text;
    this._field.readOnly = !prompt.editable || ended;
    this._showButtons();
    const differs = prompt.read !== false && prompt.used != null && prompt.used !== text;
    this._used.hidden = prompt.used == null;
    this._used.classList.toggle("differs", differs);
    if (prompt.read === false) this._used.textContent = "This policy reads no prompts.";
    else this._used.replaceChildren(...(differs ? [h("strong", {}, "The policy used another: "), `“${prompt.used}”`] : ["The policy used it as it stands."]));
    const waiting = this._sent === null ? null : "Sent; the next observation will carry it.";
    setText(this._note, waiting ?? prompt.note ?? "");
    this._note.hidden = !this._note.textContent;
  }

  _showButtons() {
    this._buttons.hidden = this._field.readOnly || this._field.value === this._shown || this._field.value === this._sent;
  }

  _onKey(event) {
    if (event.isComposing) return; // Enter chooses a word of an input method
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this._submit();
    } else if (event.key === "Escape") {
      event.preventDefault();
      this._leave();
    }
  }

  async _submit() {
    const prompt = this._field.value.trim();
    if (this._field.readOnly) return;
    const { ok, said } = await sendCommand("set_prompt", { prompt });
    toast(said, ok);
    if (!ok) return;
    this._field.value = prompt;
    this._sent = prompt === this._shown ? null : prompt;
    if (this._sent !== null) setTimeout(() => this._forget(prompt), PATIENCE_MS);
    this._showButtons();
    this._field.blur();
  }

  /** What the observations show may be another than what was sent: the environment's own, or someone else's. */
  _forget(sent) {
    if (this._sent !== sent) return;
    this._sent = null;
    if (this._field.value === sent) this._field.value = this._shown;
    this._showButtons();
    setText(this._note, "");
    this._note.hidden = true;
  }

  _leave() {
    this._field.value = this._sent ?? this._shown;
    this._showButtons();
    this._field.blur();
  }
}
