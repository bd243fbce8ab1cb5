/** The websocket to the session: opens, opens again, and hands on what comes. */
import { getJson, Refused } from "../shared/api.js";

const DELAYS_MS = [500, 1000, 2000, 4000, 8000];

/**
 * @typedef {object} Listener
 * @property {(state: any) => void} onState
 * @property {(batch: any) => void} onSamples
 * @property {(intervention: any) => void} onIntervention
 * @property {(header: {camera: string, frame: number, time: number}, jpeg: Blob) => void} onFrame
 * @property {(status: "connecting" | "open" | "lost" | "refused", said?: string) => void} onStatus
 */

export class Connection {
  /** @param {Listener} listener */
  constructor(listener) {
    this._listener = listener;
    this._failures = 0;
    this._watched = [];
    /** @type {WebSocket | null} */
    this._socket = null;
    addEventListener("online", () => this._hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this._hurry());
    this._open();
  }

  /** Ask for the pictures of these cameras, and of no others. */
  watch(cameras) {
    this._watched = cameras;
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify({ watch: cameras }));
  }

  _open() {
    this._timer = undefined;
    const address = new URL("api/events", location.href.split("#")[0]);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this._socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this._failures = 0;
      this._listener.onStatus("open");
      this.watch(this._watched);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this._text(JSON.parse(data)) : this._frame(data));
    socket.onclose = () => this._lost();
  }

  _text(message) {
    if (message.type === "state") this._listener.onState(message);
    else if (message.type === "samples") this._listener.onSamples(message);
    else if (message.type === "intervention") this._listener.onIntervention(message);
  }

  _frame(buffer) {
    const size = new DataView(buffer).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
    this._listener.onFrame(header, new Blob([new Uint8Array(buffer, 4 + size)], { type: "image/jpeg" }));
  }

  async _lost() {
    const delay = DELAYS_MS[Math.min(this._failures++, DELAYS_MS.length - 1)];
    this._timer = setTimeout(() => this._open(), delay);
    this._listener.onStatus("lost");
    const refusal = await whyRefused();
    if (refusal && this._socket?.readyState !== WebSocket.OPEN) this._listener.onStatus("refused", refusal);
  }

  _hurry() {
    if (this._timer === undefined) return;
    clearTimeout(this._timer);
    this._open();
  }
}

/** A websocket cannot tell why it was refused; a request can. */
async function whyRefused() {
  try {
    const { mode } = await getJson("api/state");
    if (mode !== "live") location.reload();
    return null;
  } catch (error) {
    return error instanceof Refused ? error.message : null;
  }
}
