"""An episode while it is being recorded: a folder of files that are only appended to.

`rows.arrows` holds the numbers, one file a camera its pictures, `trace.arrows` the simulator's states, and
`take.json` what they are. If the process dies, all of it is there up to the last moment, less than a second of rows.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa

from taketwo.datasets.camera import CameraThread, PictureFile, PngLog, VideoEncoder, VideoLog, VideoSettings
from taketwo.datasets.features import BOOKKEEPING, Feature, arrow_schema
from taketwo.datasets.layout import TAKES
from taketwo.datasets.metadata import EpisodeNote, read_notes
from taketwo.datasets.row_log import RowLog
from taketwo.datasets.statistics import Statistics
from taketwo.datasets.trace import TraceLog
from taketwo.errors import DatasetError, TakeTwoError
from taketwo.recording.naming import cannot_write
from taketwo.recording.plain import to_json
from taketwo.types import FloatArray, Pixels

HEADER = "take.json"
ROWS = "rows.arrows"
TRACE = "trace.arrows"
NOTE = "note.json"
REFUSED = "refused.json"

TASK = "task"


class VideoEncoders:
    """The encoders of a session's cameras, which go from one take to the next."""

    def __init__(self, fps: Fraction, video: VideoSettings) -> None:
        self._fps = fps
        self._video = video
        self._by_key: dict[str, VideoEncoder] = {}

    def of(self, key: str, feature: Feature) -> VideoEncoder:
        """The one of a column; made when it is first asked for."""
        if key not in self._by_key:
            height, width, _ = feature.shape
            self._by_key[key] = VideoEncoder(width, height, self._fps, self._video)
        return self._by_key[key]

    def close(self) -> None:
        """End them; some complain on the terminal where that is left out."""
        for encoder in self._by_key.values():
            encoder.close()
        self._by_key.clear()


@dataclass(frozen=True)
class TakeHeader:
    """What is known when an episode begins.

    Attributes:
        episode: its number in its session, from 0.
        seed: the environment's.
        session: number of the file with the configuration.
        started_at: wall-clock time, ISO 8601 with its zone.
        paced: whether the session runs by the clock.
        env: number of the environment, where several step together.
        init_state: number of the recorded initial state, where there are some.
        seeded: whether the environment begins it by the seed.
    """

    episode: int
    seed: int
    session: int
    started_at: str
    paced: bool = False
    env: int = 0
    init_state: int | None = None
    seeded: bool = True

    @classmethod
    def load(cls, folder: Path) -> TakeHeader:
        """Of a take that is there.

        Raises:
            DatasetError: it cannot be read.
        """
        try:
            return cls(**json.loads((folder / HEADER).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{folder / HEADER} is damaged: {error}") from error


class Take:
    """Records one episode.

    Attributes:
        folder: where it is.
        header: what it is.
        rows: how many it has.
    """

    def __init__(
        self, folder: Path, header: TakeHeader, features: Mapping[str, Feature], fps: Fraction, encoders: VideoEncoders
    ) -> None:
        """Open its files.

        Args:
            encoders: which no other take uses meanwhile.

        Raises:
            RecordingError: they cannot be written.
        """
        self.folder = folder
        self.header = header
        self._batch_rows = max(1, math.ceil(fps / 2))
        self._trace: TraceLog | None = None
        try:
            folder.mkdir(parents=True)
            (folder / HEADER).write_text(to_json(asdict(header)), encoding="utf-8")
        except OSError as error:
            raise cannot_write(folder, error) from error
        self._cameras: list[CameraThread] = []
        self._log = RowLog(folder / ROWS, log_schema(features), self._batch_rows)
        try:
            for key, feature in features.items():
                if feature.is_camera:
                    file = _picture_file(folder, key, feature, encoders)
                    self._cameras.append(CameraThread(key, feature.shape[0], feature.shape[1], file))
        except BaseException:
            self.abandon()
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @property
    def rows(self) -> int:
        """How many it has."""
        return self._log.rows

    def add(self, row: Mapping[str, Any], task: str, pictures: Mapping[str, Pixels]) -> None:
        """Add one row with the picture of every camera; waits while an encoder is behind.

        Args:
            row: the columns that are neither pictures nor bookkeeping.

        Raises:
            RecordingError: a picture does not fit, or the disk does not take it.
        """
        for camera in self._cameras:
            camera.add(pictures[camera.key])
        self._log.add({**row, TASK: task})

    def trace(self, state: Mapping[str, Any], action: FloatArray | None) -> None:
        """Add the simulator's state at the coming row, with the action sent there; None after the last row.

        Raises:
            RecordingError: the disk does not take it.
        """
        if self._trace is None:
            self._trace = TraceLog(self.folder / TRACE, self._batch_rows)
        if action is None:
            self._trace.end(state)
        else:
            self._trace.add(state, action)

    def finish(self) -> dict[str, Statistics]:
        """Close all files; the statistics of the pictures by column.

        Raises:
            RecordingError: the disk does not take it.
        """
        statistics = {camera.key: camera.finish() for camera in self._cameras}
        self._log.close()
        if self._trace is not None:
            self._trace.close()
        return statistics

    def conclude(self, note: EpisodeNote, refused: bool = False) -> None:
        """Put down what became of the episode: from then on all of it can be saved, whatever happens.

        Raises:
            RecordingError: the disk does not take it.
        """
        path = self.folder / (REFUSED if refused else NOTE)
        try:
            path.write_text(note.to_line(), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise cannot_write(path, error) from error

    def abandon(self) -> None:
        """Close all files as far as that goes; for when something has failed before."""
        for camera in self._cameras:
            camera.abandon()
        for log in (self._log, self._trace):
            if log is not None:
                with contextlib.suppress(TakeTwoError):  # the error that led here is the one to tell
                    log.close()

    def discard(self) -> None:
        """Close and remove all of it: nothing of a discarded take is left."""
        self.abandon()
        remove_take(self.folder)


def log_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """Columns of a take's rows: those of the dataset without pictures and bookkeeping, and the task's text."""
    numbers = {key: feature for key, feature in features.items() if not feature.is_camera and key not in BOOKKEEPING}
    return pa.schema([*arrow_schema(numbers).remove_metadata(), pa.field(TASK, pa.string())])


def picture_path(folder: Path, key: str, feature: Feature) -> Path:
    """The file of one camera in a take's folder."""
    return folder / f"{key}{'.mp4' if feature.is_video else '.arrows'}"


def unfinished_takes(root: Path) -> list[Path]:
    """The folders of takes that were neither kept nor discarded, oldest first."""
    return sorted(path for path in (root / TAKES).glob("*") if path.is_dir() and path.name.isdecimal())


def concluded(folder: Path, name: str) -> EpisodeNote | None:
    """What `Take.conclude` put down, `NOTE` or `REFUSED`; None where that is not there, or not whole."""
    try:
        return next(read_notes(folder / name), None)
    except (OSError, DatasetError):
        return None


def remove_take(folder: Path) -> None:
    """Remove a take's folder.

    Raises:
        RecordingError: it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _picture_file(folder: Path, key: str, feature: Feature, encoders: VideoEncoders) -> PictureFile:
    path = picture_path(folder, key, feature)
    return VideoLog(path, encoders.of(key, feature)) if feature.is_video else PngLog(path)
