/** The cameras' pictures, as large as the window allows. */
import { h, setAttribute, setText } from "../shared/dom.js";
import { plain } from "../shared/format.js";

const GAP_PX = 8;
const STALE_MS = 2500;
const BESIDE_PX = 416; // the column of prompt and controls
const WIDE = matchMedia("(min-width: 980px)");

export class Cameras {
  /** @param {(cameras: string[]) => void} onWatch */
  constructor(onWatch) {
    this.element = h("section", { class: "cameras", "aria-label": "Cameras" });
    this._onWatch = onWatch;
    /** @type {Map<string, Tile>} */
    this._tiles = new Map();
    /** @type {string | null} */
    this._large = null;
    this._watched = "";
    this._note = null;
    this._inView = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this._tiles.get(target.dataset.camera)?.see(isIntersecting);
      this._tellWatched();
    }, { rootMargin: "80px" });
    document.addEventListener("visibilitychange", () => this._tellWatched());
    addEventListener("resize", () => this.layOut());
    setInterval(() => this._markStale(), 500);
  }

  /** @param {{name: string, height: number, width: number}[]} cameras */
  setCameras(cameras) {
    const key = JSON.stringify(cameras);
    if (key === this._known) return;
    this._known = key;
    this._inView.disconnect();
    this._tiles = new Map(cameras.map((camera) => [camera.name, new Tile(camera, () => this._enlarge(camera.name))]));
    if (!this._tiles.has(this._large)) this._large = null;
    const none = h("p", { class: "message" }, h("strong", {}, "No cameras"), "This environment shows no pictures.");
    this.element.replaceChildren(...(cameras.length ? [...this._tiles.values()].map((tile) => tile.element) : [none]));
    for (const tile of this._tiles.values()) this._inView.observe(tile.element);
    this.layOut();
  }

  onFrame(header, jpeg) {
    this._tiles.get(header.camera)?.take(header, jpeg);
  }

  /** @param {string | null} note why no pictures come, such as `paused`; null while they should */
  setStill(note) {
    this._note = note;
    this._markStale();
  }

  _markStale() {
    const now = performance.now();
    for (const tile of this._tiles.values()) tile.markAge(now, this._note);
  }

  _enlarge(name) {
    this._large = this._large === name ? null : name;
    this.layOut();
  }

  _tellWatched() {
    const watched = document.hidden ? [] : [...this._tiles.values()].filter((tile) => tile.inView).map((tile) => tile.name);
    if (watched.join("\n") === this._watched) return;
    this._watched = watched.join("\n");
    this._onWatch(watched);
  }

  /** Choose the number of columns that shows the pictures largest. */
  layOut() {
    const tiles = [...this._tiles.values()];
    if (!tiles.length || !this.element.isConnected) return;
    const large = this._large !== null && tiles.length > 1;
    for (const tile of tiles) tile.setLarge(large && tile.name === this._large);
    const room = this._room();
    const aspect = Math.max(...tiles.map((tile) => tile.aspect));
    const { columns, width } = large ? besideLarge(tiles.length, aspect, room) : bestGrid(tiles.length, aspect, room);
    this.element.style.setProperty("--columns", String(columns));
    this.element.style.setProperty("--aspect", String(aspect));
    this.element.style.width = `${Math.floor(columns * width + (columns - 1) * GAP_PX)}px`;
    setAttribute(this.element, "data-large", large);
  }

  _room() {
    const style = getComputedStyle(this.element.parentElement);
    const inside = this.element.parentElement.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (!WIDE.matches) return { width: inside, height: Infinity };
    const top = this.element.getBoundingClientRect().top + scrollY;
    return { width: inside - BESIDE_PX, height: Math.max(380, innerHeight - top - 20) };
  }
}

/** Width of a picture in each possible grid; the widest wins. Without a limit of height: one column, two for many. */
function bestGrid(count, aspect, { width, height }) {
  if (height === Infinity) {
    const columns = count > 2 ? 2 : 1;
    return { columns, width: (width - (columns - 1) * GAP_PX) / columns };
  }
  let best = { columns: 1, width: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const wide = (width - (columns - 1) * GAP_PX) / columns;
    const high = ((height - (rows - 1) * GAP_PX) / rows) * aspect;
    if (Math.min(wide, high) > best.width) best = { columns, width: Math.min(wide, high) };
  }
  return best;
}

/** One large picture over a row of all the others. */
function besideLarge(count, aspect, { width, height }) {
  const columns = Math.max(count - 1, 2);
  const share = 1 + 1 / columns;
  const whole = Math.min(width, ((height - GAP_PX) / share) * aspect);
  return { columns, width: (whole - (columns - 1) * GAP_PX) / columns };
}

/** One camera. Decodes one picture at a time, the newest that there is. */
class Tile {
  constructor({ name, width, height }, onPress) {
    this.name = name;
    this.aspect = width / height;
    this.inView = false;
    this._arrived = 0;
    this._next = null;
    this._decoding = false;
    this._canvas = h("canvas", { width, height, "aria-hidden": "true" });
    this._verb = h("span", { class: "visually-hidden" });
    this._badge = h("span", { class: "badge" });
    this._waiting = h("span", { class: "waiting" }, "Waiting for pictures");
    this.element = h(
      "button",
      { type: "button", class: "camera", "data-camera": name, "aria-pressed": "false", on: { click: onPress } },
      this._canvas,
      this._waiting,
      h("span", { class: "name" }, h("span", { class: "visually-hidden" }, "Camera "), plain(name), this._verb),
      this._badge,
    );
    this._badge.hidden = true;
    this.setLarge(false);
  }

  see(inView) {
    this.inView = inView;
  }

  setLarge(large) {
    setAttribute(this.element, "aria-pressed", large);
    setText(this._verb, large ? ": show all alike" : ": enlarge");
    this.element.title = large ? "Show all alike" : "Enlarge";
  }

  take(header, jpeg) {
    this._next = { header, jpeg };
    if (!this._decoding) this._decode();
  }

  async _decode() {
    this._decoding = true;
    while (this._next) {
      const { header, jpeg } = this._next;
      this._next = null;
      try {
        this._draw(header, await createImageBitmap(jpeg));
      } catch {
        // a broken picture: the next one comes, or the tile says that none did
      }
    }
    this._decoding = false;
  }

  _draw(header, bitmap) {
    if (this._canvas.width !== bitmap.width || this._canvas.height !== bitmap.height) {
      this._canvas.width = bitmap.width;
      this._canvas.height = bitmap.height;
    }
    this._canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this._waiting.hidden = true;
    if (this._canvas.dataset.frame === String(header.frame)) return; // sent again: not a sign of life
    this._arrived = performance.now();
    this._canvas.dataset.frame = String(header.frame);
    if (this.element.classList.contains("stale")) this.markAge(this._arrived, null);
  }

  markAge(now, note) {
    const age = now - this._arrived;
    setText(this._waiting, note === null || note === "paused" ? "Waiting for pictures" : "No picture");
    const stale = this._arrived > 0 && this.inView && age > STALE_MS;
    this.element.classList.toggle("stale", stale && note === null);
    const words = note ?? `no picture for ${Math.round(age / 1000)} s`;
    this._badge.hidden = !(stale || (note !== null && this._arrived > 0));
    if (!this._badge.hidden) setText(this._badge, words);
  }
}
