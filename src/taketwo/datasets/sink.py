"""A session as a dataset, written while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from taketwo import __version__
from taketwo.datasets.codecs import GOP, find_codec
from taketwo.datasets.features import (
    Feature,
    session_features,
)
from taketwo.datasets.layout import find_root
from taketwo.datasets.metadata import EpisodeNote, Info
from taketwo.datasets.recorder import Recorder, RowSettings, now
from taketwo.errors import ConfigError, RecordingError, TakeTwoError, one_line, one_of
from taketwo.session.events import EpisodeEnd, EpisodeStart, Event, SessionEnd, SessionStart, StepTaken
from taketwo.session.events import TerminalObservation as Terminal
from taketwo.session.punctuality import give_way
from taketwo.types import EnvironmentSpec, Episode

if TYPE_CHECKING:
    from taketwo.datasets.camera import VideoSettings
    from taketwo.datasets.statistics import Statistics
    from taketwo.datasets.take import Take
    from taketwo.datasets.writer import DatasetWriter

Late = Literal["mark", "refuse"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetConfig:
    """The dataset that a session becomes, where one is named.

    Attributes:
        repo_id: its name on the Hub, user/name, and its folder in $HF_LEROBOT_HOME; without it or root nothing is
            recorded.
        root: its folder, where that is to be elsewhere.
        single_task: the task of rows whose observation carries no prompt; the environment's name where not given.
        new_task: on resuming, let a task in that the dataset does not have.
        cameras: recorded cameras; all that observations carry where none is named.
        video: MP4 files; otherwise every picture as PNG in the rows.
        vcodec: h264, hevc, libsvtav1, one of a graphics card such as h264_nvenc, or auto, which takes a graphics
            card's where it works.
        crf: quality on the codec's own scale, smaller is better; the codec's default where not given.
        gop: frames from one key frame to the next; fewer make random access faster and files larger.
        trace: keep the simulator's states too, where it tells them: for exact replay, and to draw cameras afterwards.
        late: what to do with an episode that ran slower than its rate says: mark it with its real rate, or refuse it,
            which ends the session.
        push_to_hub: send it to the Hugging Face Hub after the session.
        private: on the Hub, for oneself alone.
        tags: further tags on the Hub.
    """

    repo_id: str | None = None
    root: Path | None = None
    single_task: str | None = None
    new_task: bool = False
    cameras: tuple[str, ...] = ()
    video: bool = True
    vcodec: str = "h264"
    crf: float | None = None
    gop: int = GOP
    trace: bool = True
    late: Late = "mark"
    push_to_hub: bool = False
    private: bool = False
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.late not in get_args(Late):
            raise ConfigError(one_of("late", self.late, get_args(Late)))
        if self.gop < 1:
            raise ConfigError(f"gop must be 1 or more, not {self.gop}")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ConfigError(f"crf must be 0 (best) to 63 (smallest), not {self.crf}")
        if self.push_to_hub and self.repo_id is None:
            raise ConfigError("push_to_hub needs a repo_id, such as me/cube")
        if self.wanted:
            self.folder()

    @property
    def wanted(self) -> bool:
        """Whether anything is to be recorded."""
        return self.repo_id is not None or self.root is not None

    def folder(self) -> Path:
        """Where it lies.

        Raises:
            ConfigError: the repo id is not one.
        """
        return find_root(self.repo_id, self.root)

    def make(
        self,
        spec: EnvironmentSpec,
        control_hz: float,
        *,
        robot_type: str | None = None,
        task: str | None = None,
        paced: bool = False,
        resume: bool = False,
    ) -> DatasetSink:
        """Open the dataset, new or to go on with, and hold it against other writers.

        Args:
            control_hz: rows a second that the session stands for.
            task: the instruction that the session begins with, where it is not the environment's own.
            paced: whether it runs by the clock, so that its real rate means something.

        Raises:
            ConfigError: an option does not fit, or what is there differs.
            DatasetError: there is a dataset and `resume` is not given, or none and it is; or it is in use.
            RecordingError: it cannot be written.
        """
        from taketwo.datasets.take import VideoEncoders
        from taketwo.recording.rate import exact_fps

        cameras, video = self._recorded_cameras(spec), self._video_settings()
        features = {
            key: _with_video_info(feature, video, control_hz) if feature.is_video else feature
            for key, feature in session_features(spec, cameras, self.video).items()
        }
        task = self._first_task(task or spec.prompt)
        writer = self._open(Info(control_hz, features, robot_type or spec.name), task, resume=resume)
        settings = RowSettings(cameras, task or spec.name, paced, self.trace)

        def make_recorder() -> Recorder:
            return Recorder(writer, VideoEncoders(exact_fps(control_hz), video), settings)

        return DatasetSink(writer, make_recorder, settings, self.late)

    def _recorded_cameras(self, spec: EnvironmentSpec) -> tuple[str, ...]:
        for camera in self.cameras:
            if camera not in spec.cameras:
                raise ConfigError(f"cameras: {one_of('camera', camera, spec.cameras)}")
        return self.cameras or tuple(spec.cameras)

    def _video_settings(self) -> VideoSettings:
        from taketwo.datasets.camera import VideoSettings

        codec = find_codec(self.vcodec)
        return VideoSettings(codec, codec.crf if self.crf is None else self.crf, self.gop)

    def _open(self, info: Info, task: str | None, *, resume: bool) -> DatasetWriter:
        """Its writer, with finished episodes of a session that crashed in their places."""
        from taketwo.datasets.repair import recover_finished
        from taketwo.datasets.writer import DatasetWriter

        root = self.folder()
        writer = DatasetWriter.resume(root, info) if resume else DatasetWriter.create(root, info)
        try:
            self._check_task(root, task, writer.tasks)
            recovered = recover_finished(writer)
        except BaseException:
            writer.release()
            raise
        if recovered:
            log.warning("finished episodes that a crash had kept from their places are there now: %d", recovered)
        return writer

    def _first_task(self, prompt: str | None) -> str | None:
        """The task that the session begins with; None where only its observations will tell."""
        if prompt and self.single_task and self.single_task != prompt:
            log.warning(
                "dataset.single_task is not used, as observations carry the prompt %r; set it by --prompt", prompt
            )
        return prompt or self.single_task

    def _check_task(self, root: Path, task: str | None, there: Collection[str]) -> None:
        if task is None or not there or task in there or self.new_task:
            return
        raise ConfigError(
            f"cannot resume {root}: its tasks are {', '.join(map(repr, there))} and this one is "
            f"{task!r}; to add a task on purpose give --dataset.new_task=true"
        )


class DatasetSink:
    """Adds every episode of a session to a dataset, as soon as it is over.

    A row is what was seen before an action, and that action. The terminal observation, which no action follows, is
    in the simulator's trace alone. An episode without a single action is not kept, nor is a discarded one.
    """

    name = "dataset"
    lossless = True
    required = True

    def __init__(
        self,
        writer: DatasetWriter,
        make_recorder: Callable[[], Recorder],
        settings: RowSettings,
        late: Late,
    ) -> None:
        """Use `DatasetConfig.make`."""
        self._writer = writer
        self._make_recorder = make_recorder
        self._recorders: dict[int, Recorder] = {}
        self._cameras = settings.cameras
        self._late = late
        # An episode is put into its place while the next one is recorded already.
        self._keeper = ThreadPoolExecutor(1, "dataset-keeper", give_way)
        self._keeping: Future[None] | None = None
        self._closed = False
        self._notes: list[EpisodeNote] = []

    def cameras(self, frame: int) -> Collection[str]:
        """The recorded ones, in every frame."""
        return self._cameras

    def on(self, event: Event) -> None:
        """Take one event.

        Raises:
            RecordingError: it cannot be written. The episodes before are safe.
        """
        try:
            self._on(event)
        except BaseException as error:
            recording = any(recorder.under_way for recorder in self._recorders.values())
            under_way = recording or self._keeping is not None
            try:
                self._abandon()
            except Exception as more:  # noqa: BLE001 - the error that led here is the one to tell
                log.warning("what was open of the dataset failed to close: %s", one_line(more))
            if isinstance(error, TakeTwoError):
                raise RecordingError(self._what_is_safe(error, under_way)) from error
            raise

    def abandon(self) -> None:
        """Let go of the dataset where that did not happen; for before the session, or after its threads have ended."""
        self._abandon()

    def next_seed(self, session_seed: int) -> int:
        """How many episode seeds of a session seed to leave out, so that none is recorded a second time."""
        return self._writer.seeds_used(session_seed)

    def report(self) -> dict[str, Any]:
        """What came of it, as plain values; for after the session."""
        return {
            "path": str(self._writer.root),
            "episodes": len(self._notes),
            "rows": sum(note.length for note in self._notes),
            "total_episodes": self._writer.info.total_episodes,
            "late": [
                {"episode": note.index, "measured_hz": note.measured_hz, "fps": self._writer.info.fps}
                for note in self._notes
                if note.late
            ],
        }

    def _on(self, event: Event) -> None:
        match event:
            case SessionStart():
                self._writer.describe(
                    {
                        "started_at": now(),
                        "taketwo": __version__,
                        "seed": event.seed,
                        "config": event.config,
                        "spec": asdict(event.spec),
                    }
                )
            case EpisodeStart(episode):
                self._recorder(episode.env).begin(episode)
            case StepTaken():
                if self._keeping is not None and self._keeping.done():
                    self._settle()
                self._recorders[event.env].add(event)
            case Terminal():
                self._recorders[event.env].add_terminal(event.observation)
            case EpisodeEnd(episode):
                self._end(episode)
            case SessionEnd():
                self._settle()
                self._close(self._writer.close)

    def _recorder(self, env: int) -> Recorder:
        if env not in self._recorders:
            self._recorders[env] = self._make_recorder()
        return self._recorders[env]

    def _close(self, let_go: Callable[[], None], *first: Callable[[], None]) -> None:
        """Do what is to be done first, close what is open and let go of the dataset; all of it, whatever fails."""
        self._closed = True
        with ExitStack() as stack:
            stack.callback(let_go)
            for close in [*(recorder.close for recorder in self._recorders.values()), *first]:
                stack.callback(close)
            self._keeper.shutdown()

    def _end(self, episode: Episode) -> None:
        ended = self._recorders[episode.env].end(episode)
        if ended is None:
            return
        take, note = ended
        if note.late and self._late == "refuse":
            take.finish()
            take.conclude(note, refused=True)
            whose = "the session's" if len(self._recorders) == 1 else f"environment {episode.env}'s"
            raise RecordingError(
                f"{whose} episode {episode.index + 1} ran at {note.measured_hz:.1f} Hz and its rows say "
                f"{self._writer.info.fps:g}: it is refused; record at a rate that can be kept, or give "
                "--dataset.late=mark"
            )
        pictures = take.finish()
        take.conclude(note)
        self._settle()
        self._keeping = self._keeper.submit(self._keep, take, note, pictures)

    def _keep(self, take: Take, note: EpisodeNote, pictures: Mapping[str, Statistics]) -> None:
        self._notes.append(self._writer.keep(take.folder, note, pictures))

    def _settle(self) -> None:
        """Wait until the episode before is in its place.

        Raises:
            RecordingError: it cannot be put there.
        """
        if self._keeping is not None:
            self._keeping.result()
            self._keeping = None

    def _abandon(self) -> None:
        """Close what is open, and leave what is on the disk for `taketwo dataset repair`."""
        if self._closed:
            return
        with suppress(Exception):  # the error that led here is the one to tell
            self._settle()
        self._close(self._writer.release, *(recorder.abandon for recorder in self._recorders.values()))

    def _what_is_safe(self, error: TakeTwoError, under_way: bool) -> str:
        root, whole = self._writer.root, self._writer.info.total_episodes
        text = f"{one_line(error)}. {whole} whole {'episode is' if whole == 1 else 'episodes are'} safe in {root}"
        return f"{text}; what there is of the one under way: taketwo dataset repair {root}" if under_way else text


def _with_video_info(feature: Feature, video: VideoSettings, fps: float) -> Feature:
    height, width, channels = feature.shape
    return replace(
        feature,
        info={
            "video.height": height,
            "video.width": width,
            "video.codec": video.codec.format,
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": int(fps) if float(fps).is_integer() else fps,
            "video.channels": channels,
            "video.g": video.gop,
            "video.crf": video.crf,
            "has_audio": False,
        },
    )
