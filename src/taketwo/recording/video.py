"""A session as MP4, encoded while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from taketwo import __version__
from taketwo.errors import ConfigError, RecordingError, one_of
from taketwo.recording.frame_watch import FrameWatch
from taketwo.recording.naming import make_folder, reserve, reserve_folder, safe_name
from taketwo.recording.picture import padded_to_even, side_by_side
from taketwo.recording.plain import to_json
from taketwo.recording.rate import exact_fps
from taketwo.session.events import EpisodeEnd, EpisodeStart, Event, SessionEnd, SessionStart, StepTaken
from taketwo.session.events import TerminalObservation as Terminal
from taketwo.types import CameraSpec, EnvironmentSpec, Episode, Observation, Outcome, Pixels

if TYPE_CHECKING:
    from taketwo.recording.encoder import FragmentedMp4, H264Encoder
    from taketwo.recording.overlay import Overlay
    from taketwo.recording.remux import Chapter

Mode = Literal["session", "episode", "both", "off"]

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class VideoConfig:
    """What is filmed, and how well.

    Attributes:
        mode: `session` makes one MP4 of all episodes, `episode` one of each, `both` both, `off` none.
        cameras: filmed cameras, side by side in one picture; the environment's first one where none is named.
        subsample: keep every n-th frame; the video's duration stays the same.
        overlay: write episode, step and prompt into the picture; other than Latin letters need a system font with
            them, such as Debian's fonts-noto-cjk.
        crf: x264 quality, 1 (best) to 51 (smallest).
        preset: x264 effort, `ultrafast` to `veryslow`.
    """

    mode: Mode = "session"
    cameras: tuple[str, ...] = ()
    subsample: int = 1
    overlay: bool = False
    crf: int = 23
    preset: str = "veryfast"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigError(one_of("mode", self.mode, get_args(Mode)))
        if self.subsample < 1:
            raise ConfigError(f"subsample must be 1 or more, not {self.subsample}")
        if not 1 <= self.crf <= 51:
            raise ConfigError(f"crf must be 1 (best) to 51 (smallest), not {self.crf}")
        if self.preset not in PRESETS:
            raise ConfigError(one_of("preset", self.preset, PRESETS))

    def make(
        self, spec: EnvironmentSpec, folder: Path, stored: Callable[[int, int], None] | None = None
    ) -> VideoSink | None:
        """The sink that films an environment into a folder; None where `mode` is `off`.

        Args:
            stored: called on the sink's thread when an episode is stored, with its index and its frames in the video.

        Raises:
            ConfigError: the environment has no such camera, or none at all.
        """
        if self.mode == "off":
            return None
        if not spec.cameras:
            raise ConfigError(f"mode {self.mode!r} needs a camera, and {spec.name} has none; set mode to off")
        for camera in self.cameras:
            if camera not in spec.cameras:
                raise ConfigError(one_of("camera", camera, spec.cameras))
        return VideoSink(self, spec, folder, stored)


class VideoSink:
    """Writes the session's pictures into MP4 files as they come.

    Every observation is one frame, terminal ones included; frames whose number `subsample` divides are kept.
    While it films, a file is called `NAME.partial.mp4` and plays up to its last frame at any time. Its end
    turns it into the final file, by copying, not by encoding again.

    Attributes:
        path: the session's video, or the folder of the episodes', as it is called now; None where there is none.
    """

    name = "video"
    lossless = True
    required = True

    def __init__(
        self,
        config: VideoConfig,
        spec: EnvironmentSpec,
        folder: Path,
        stored: Callable[[int, int], None] | None = None,
    ) -> None:
        self._config = config
        self._stored = stored
        self._folder = folder
        self._cameras = config.cameras or (next(iter(spec.cameras)),)
        self._sizes = {camera: spec.cameras[camera] for camera in self._cameras}
        self._stem = safe_name(spec.name)
        self._fps = Fraction(0)
        self._metadata: dict[str, str] = {}
        self._watches: dict[str, FrameWatch] = {}
        self._encoder: H264Encoder  # from the session's start on
        self._overlay: Overlay | None = None
        self._partial: Path | None = None
        self._session: FragmentedMp4 | None = None
        self._episode: FragmentedMp4 | None = None
        self._episode_folder: Path | None = None
        self._episode_index = 0
        self._begins = True
        self._chapters: list[Chapter] = []
        self._written = self._written_before = 0  # before: when the episode began
        self.path: Path | None = None
        self._files: list[Path] = []
        self._notes: list[dict[str, Any]] = []

    def cameras(self, frame: int) -> Collection[str]:
        """The filmed cameras for a frame that is kept, none for another."""
        return () if frame % self._config.subsample else self._cameras

    def on(self, event: Event) -> None:
        """Take one event.

        Raises:
            RecordingError: a file cannot be written. What was filmed before is kept and plays.
        """
        try:
            self._take(event)
        except BaseException:
            self._abandon()
            raise

    def report(self, shown: int) -> dict[str, Any]:
        """What came of it, as plain values; for after the session.

        `path` is the session's video, or the folder of the episodes' where there is only that, or None where
        there was nothing to film; `files` are all that were written; `dropped` are frames that should be in
        the video and are not.

        Args:
            shown: frames of the whole session; after a failure not all of them have come here.
        """
        warnings = [run.as_dict() for watch in self._watches.values() for run in watch.runs]
        return {
            "path": None if self.path is None else str(self.path),
            "frames": self._written,
            "fps": float(self._fps),
            "duration_s": float(self._written / self._fps) if self._fps else 0.0,
            "dropped": video_frame(shown, self._config.subsample) - self._written,
            "files": [str(path) for path in self._files],
            "warnings": warnings + self._notes,
        }

    def _take(self, event: Event) -> None:
        match event:
            case SessionStart():
                self._start(event)
            case EpisodeStart(episode):
                self._episode_index = episode.index
                self._begins = True
                self._written_before = self._written
            case StepTaken() | Terminal():
                if event.frame % self._config.subsample == 0:
                    self._film(event.frame, event.observation, event.index)
            case EpisodeEnd(episode):
                self._end_episode(episode)
            case SessionEnd():
                self._end_session()

    def _start(self, event: SessionStart) -> None:
        from taketwo.recording.encoder import H264Encoder
        from taketwo.recording.overlay import Overlay

        make_folder(self._folder)
        subsample = self._config.subsample
        self._fps = exact_fps(event.control_hz) / subsample
        self._stem = f"{self._stem}_seed{event.seed}"
        self._metadata = {
            "title": f"{event.spec.name}, seed {event.seed}",
            "comment": to_json({"taketwo": __version__, "seed": event.seed, "config": event.config}),
        }
        self._watches = {camera: FrameWatch(camera, event.control_hz, subsample) for camera in self._cameras}
        if self._config.overlay:
            self._overlay = Overlay(max(size.height for size in self._sizes.values()))
        blank = [np.zeros((size.height, size.width, 3), np.uint8) for size in self._sizes.values()]
        height, width, _ = self._compose(blank, step=0, prompt=None).shape
        self._encoder = H264Encoder(width, height, self._fps, self._config.crf, self._config.preset)
        if self._config.mode == "episode":
            self.path = self._episode_folder = reserve_folder(self._folder, f"{self._stem}_episodes")
        else:
            self.path = self._partial = reserve(self._folder, self._stem, ".partial.mp4")

    def _film(self, frame: int, observation: Observation, step: int) -> None:
        index = frame // self._config.subsample
        picture = self._compose(
            [self._look(camera, frame, observation) for camera in self._cameras], step, observation.prompt
        )
        if self._begins:
            self._open(self._encoder, index)
        packets = self._encoder.encode(picture, index, key_frame=self._begins)
        self._begins = False
        for file in (self._session, self._episode):
            if file is not None:
                file.write(packets)
        self._written += len(packets)

    def _compose(self, pictures: Sequence[Pixels], step: int, prompt: str | None) -> Pixels:
        picture = side_by_side(pictures)
        if self._overlay is not None:
            picture = self._overlay.draw(picture, self._episode_index + 1, step, prompt)
        return padded_to_even(picture)

    def _look(self, camera: str, frame: int, observation: Observation) -> Pixels:
        pixels = observation.images[camera].pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise RecordingError(
                f"camera {camera!r} gave {pixels.dtype} of shape {pixels.shape}; a picture is (height, width, 3) uint8"
            )
        size = CameraSpec(*pixels.shape[:2])
        if size != self._sizes[camera]:
            told = self._sizes[camera]
            raise RecordingError(
                f"camera {camera!r} gave a picture of {size.width}x{size.height}, its environment says "
                f"{told.width}x{told.height}: pictures of one video have one size"
            )
        self._watches[camera].look(frame, pixels, observation.state)
        return pixels

    def _open(self, encoder: H264Encoder, index: int) -> None:
        """Open the files that begin with this frame."""
        from taketwo.recording.encoder import FragmentedMp4

        if self._partial is not None and self._session is None:
            self._session = FragmentedMp4(self._partial, encoder, index, self._metadata)
        if self._config.mode != "session":
            if self._episode_folder is None:
                self._episode_folder = reserve_folder(self._folder, f"{self._stem}_episodes")
            path = reserve(self._episode_folder, f"{self._stem}_ep{self._episode_index:03d}", ".partial.mp4")
            self._episode = FragmentedMp4(path, encoder, index, self._metadata)

    def _end_episode(self, episode: Episode) -> None:
        from taketwo.recording.remux import Chapter

        start = video_frame(episode.first_frame, self._config.subsample)
        end = video_frame(episode.first_frame + episode.frames, self._config.subsample)
        title = (
            f"Episode {episode.index + 1}: {episode.outcome} (seed {episode.seed}, "
            f"{episode.steps} {'step' if episode.steps == 1 else 'steps'})"
        )
        if start < end:
            self._chapters.append(Chapter(title, start, end))
        if self._episode is not None and episode.outcome is Outcome.DISCARDED:
            self._episode.close()
            self._episode.path.unlink()
            self._episode = None
        if self._episode is not None:
            stem = f"{self._stem}_ep{episode.index:03d}_{episode.outcome}"
            chapter = Chapter(title, 0, self._episode.frames)
            self._finish(self._episode, stem, [chapter], f"{self._metadata['title']}, {title}")
            self._episode = None
        if self._stored is not None:
            self._stored(episode.index, self._written - self._written_before)

    def _end_session(self) -> None:
        for watch in self._watches.values():
            watch.finish()
        if self._session is not None:
            count = len(self._chapters)
            title = f"{self._metadata['title']}, {count} {'episode' if count == 1 else 'episodes'}"
            self.path = self._finish(self._session, f"{self._stem}_{count}eps", self._chapters, title)
            self._session = None
            self._note_missing_chapters()
        if not self._files:
            self._remove_empty()

    def _finish(self, file: FragmentedMp4, stem: str, chapters: list[Chapter], title: str) -> Path:
        """Turn a fragmented file into the final one."""
        from taketwo.recording.remux import finish

        file.close()
        path = finish(file.path, stem, self._fps, chapters, self._metadata | {"title": title})
        self._files.append(path)
        return path

    def _note_missing_chapters(self) -> None:
        from taketwo.recording.remux import chapters_supported

        if not chapters_supported():
            message = "the video has no chapters: this PyAV cannot write them; pip install 'av>=16.1'"
            self._notes.append({"kind": "chapters", "message": message})

    def _abandon(self) -> None:
        """Leave what is open in a state that plays, as far as the disk allows, and count what is lost."""
        from taketwo.recording.remux import salvage

        counted = self._session or self._episode
        for file in (self._session, self._episode):
            if file is None:
                continue
            with contextlib.suppress(RecordingError):  # the error that led here is the one to tell
                file.close()
            left = salvage(file.path)
            if file is counted:
                self._written += left - file.frames
            if left:
                self._files.append(file.path)
        self._session = self._episode = None
        self._remove_empty()

    def _remove_empty(self) -> None:
        """Remove what was reserved for frames that never came."""
        if self._partial is not None and self._written == 0:
            self._partial.unlink(missing_ok=True)
            self.path = None
        if self._partial is None and self._episode_folder is not None and not any(self._episode_folder.iterdir()):
            self._episode_folder.rmdir()
            self.path = None


def video_frame(frame: int, subsample: int) -> int:
    """Index in the video of the first kept frame that is not before the session's `frame`."""
    return -(-frame // subsample)
