/** The video of a session, with a chapter an episode. */
import { h, setText } from "../shared/dom.js";
import { clock, plain } from "../shared/format.js";
import { recall, remember } from "../shared/storage.js";
import { describeEpisode, episodeNumber } from "../shared/strip.js";

export class Player {
  /**
   * @param {any} session
   * @param {{onTime: (episode: number, time: number) => void, onVideo: () => void}} listener time is in the episode, seconds
   */
  constructor(session, listener) {
    this._session = session;
    this._listener = listener;
    this._names = [...new Set(session.videos.map(({ name }) => name))];
    const remembered = recall("video");
    this.videoName = this._names.includes(remembered) ? remembered : (this._names[0] ?? null);
    this._file = -1;
    this._episode = -1;
    this._next = 0;
    this._video = h("video", { controls: true, preload: "auto", playsinline: true, muted: true, "aria-label": "Video of the session", on: { loadedmetadata: () => this._begin(), seeked: () => this._tell(), pause: () => this._tell() } });
    this._note = h("p", { class: "message" });
    this._chapters = h("ol", { class: "chapters", "aria-hidden": "true" }) // for the mouse; the strip is the same for keys;
    this._playhead = h("div", { class: "here", "aria-hidden": "true" });
    this._select = h("select", { class: "field", "aria-label": "Camera", on: { change: () => this._choose(this._select.value) } }, ...this._names.map((name) => h("option", { value: name, selected: name === this.videoName }, plain(name))));
    this._speed = h("select", { class: "field", "aria-label": "Speed", on: { change: () => (this._video.playbackRate = Number(this._speed.value)) } }, ...[0.25, 0.5, 1, 2, 4].map((speed) => h("option", { value: speed, selected: speed === 1 }, `${speed}×`)));
    this._clock = h("span", { class: "quiet clock" });
    const bar = h("div", { class: "player-bar" }, this._names.length > 1 && this._select, this._speed, this._clock);
    this.element = h("section", { class: "player", "aria-label": "Video" }, h("div", { class: "screen" }, this._video, this._note), h("div", { class: "chapter-line" }, this._chapters, this._playhead), bar);
    this._video.addEventListener("play", () => this._follow());
    this._note.hidden = true;
    if (!session.videos.length) this._showNote("No video was recorded.");
  }

  get paused() {
    return this._video.paused;
  }

  close() {
    this._video.pause();
    this._video.removeAttribute("src");
    this._video.load();
  }

  toggle() {
    if (this._video.paused) this._start();
    else this._video.pause();
  }

  /** Go on or back by whole pictures. */
  nudge(pictures) {
    this._video.pause();
    this._video.currentTime += pictures / (this._session.fps || this._session.control_hz || 25);
  }

  chooseVideo(name) {
    if (name === this.videoName || !this._names.includes(name)) return;
    this.videoName = name;
    this._select.value = name;
    if (this._episode >= 0) this.seek(this._episode, this._time());
  }

  _choose(name) {
    this.chooseVideo(name);
    remember("video", name);
    this._listener.onVideo();
  }

  /** Show an episode from its beginning. */
  play(episode, running) {
    this.seek(episode, 0);
    if (running) this._start();
  }

  /** @param {number} episode position in the list @param {number} time seconds in the episode */
  seek(episode, time) {
    this._episode = episode;
    const span = this._span(episode);
    if (!span) {
      this._video.pause();
      return this._showNote(this._session.videos.length ? "This episode has no video of this camera." : "No video was recorded.");
    }
    this._showNote(null);
    this._select.value = this._session.videos[span.video].name;
    this._load(span.video);
    const length = span.end_s - span.start_s;
    // A little behind the edge: a seek to the very time of a picture may show the one before it.
    this._pending = span.start_s + Math.min(Math.max(time, 0), length - this._picture()) + this._picture() / 4;
    if (this._video.readyState >= HTMLMediaElement.HAVE_METADATA) this._applyPending();
  }

  _picture() {
    return 1 / (this._session.fps || this._session.control_hz || 25);
  }

  _start() {
    this._video.play().catch(() => {}); // the browser shows its own button where it does not allow this
  }

  _begin() {
    this._showChapters(); // the file may go on behind the last one
    this._applyPending();
  }

  _applyPending() {
    if (this._pending !== undefined) this._video.currentTime = this._pending;
    this._pending = undefined;
    this._video.playbackRate = Number(this._speed.value);
    this._tell();
  }

  /** Of several environments only one is filmed: the others' episodes are in the dataset's videos. */
  _span(episode) {
    const it = this._session.list[episode];
    const span = it?.spans.find(({ video }) => this._session.videos[video]?.name === this.videoName);
    return span ?? (it?.env == null ? null : it.spans[0]) ?? null;
  }

  /** Where it is in the file that is shown. */
  _spanHere(episode) {
    return this._session.list[episode]?.spans.find(({ video }) => video === this._file) ?? this._span(episode);
  }

  _load(file) {
    if (file === this._file) return;
    const running = !this._video.paused;
    this._file = file;
    this._video.src = this._session.videos[file].url;
    this._showChapters();
    if (running) this._start();
  }

  _time() {
    const span = this._spanHere(this._episode);
    return span ? Math.max(0, (this._pending ?? this._video.currentTime) - span.start_s) : 0;
  }

  /** While it plays: at every picture that the browser shows. */
  _follow() {
    const step = () => {
      this._tell();
      if (!this._video.paused && !this._video.ended) this._next = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this._next);
    this._next = requestAnimationFrame(step);
  }

  _tell() {
    if (this._file < 0 || this._pending !== undefined) return;
    const now = this._video.currentTime;
    const inside = this._inFile().find(({ span }) => now >= span.start_s && now < span.end_s);
    if (inside) this._episode = inside.episode;
    const span = this._spanHere(this._episode);
    if (!span) return;
    const pictures = Math.floor((Math.min(now, span.end_s) - span.start_s) / this._picture() + 1e-6);
    const time = Math.max(0, pictures * this._picture());
    this._playhead.style.left = `${(100 * now) / (this._video.duration || this._length() || 1)}%`;
    setText(this._clock, `${clock(now)} of ${clock(this._video.duration || this._length())} · ${time.toFixed(2)} s in the episode`);
    this._listener.onTime(this._episode, time);
  }

  /** The episodes in the file that is shown, in its order. */
  _inFile() {
    const found = this._session.list.flatMap((_, episode) => {
      const span = this._spanHere(episode);
      return span?.video === this._file ? [{ episode, span }] : [];
    });
    return found.sort((one, other) => one.span.start_s - other.span.start_s);
  }

  _length() {
    return Math.max(0, ...this._inFile().map(({ span }) => span.end_s));
  }

  _showChapters() {
    const chapters = this._inFile();
    const gap = (start, end) => {
      const element = h("li", { class: "gap" });
      element.style.flexGrow = String(end - start);
      return end - start > this._picture() ? [element] : [];
    };
    let end = 0;
    this._chapters.replaceChildren(...chapters.flatMap(({ episode, span }) => {
      const before = gap(end, span.start_s);
      end = span.end_s;
      const it = this._session.list[episode];
      const chapter = h("li", { class: "chapter", "data-outcome": it.outcome, title: describeEpisode(it), on: { click: (event) => this._seekInChapter(event, episode, span) } }, it.env == null ? String(episodeNumber(it)) : `Env ${it.env} · ${episodeNumber(it)}`);
      chapter.style.flexGrow = String(span.end_s - span.start_s);
      return [...before, chapter];
    }), ...gap(end, this._video.duration || end));
    this._chapters.hidden = this._playhead.hidden = !chapters.length;
  }

  _seekInChapter(event, episode, span) {
    const box = event.currentTarget.getBoundingClientRect();
    this.seek(episode, ((event.clientX - box.left) / box.width) * (span.end_s - span.start_s));
  }

  _showNote(text) {
    this._note.hidden = text === null;
    this._video.hidden = text !== null;
    setText(this._note, text ?? "");
  }
}
