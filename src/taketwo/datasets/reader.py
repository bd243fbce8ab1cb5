"""Datasets read: episodes, rows and frames. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import IMAGE_PREFIX, NUMPY_DTYPES, SUCCESS, Feature
from taketwo.datasets.layout import EPISODES, INFO, FilePlace, find_root, session_path
from taketwo.datasets.metadata import EpisodeEntry, EpisodeNote, Info, load_episodes, load_notes, load_tasks
from taketwo.datasets.open_files import OpenFiles
from taketwo.datasets.places import check_not_only_takes
from taketwo.datasets.transaction import refuse_pending
from taketwo.errors import ConfigError, DatasetError, one_of
from taketwo.types import CameraSpec, FloatArray, Outcome, Pixels

if TYPE_CHECKING:
    from taketwo.datasets.decoding import VideoReader
    from taketwo.datasets.row_files import RowFile

OPEN_VIDEOS = 8
OPEN_ROW_FILES = 4
NEAR_PICTURES = 8


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode of a dataset.

    Attributes:
        note: what only we know of it; None where LeRobot recorded it.
        success: whether the task was solved: the note's word, and without a note whether `next.success` was ever
            true; None where nobody judged.
    """

    entry: EpisodeEntry
    note: EpisodeNote | None
    success: bool | None

    @property
    def index(self) -> int:
        """Its number in the dataset, from 0."""
        return self.entry.index

    @property
    def length(self) -> int:
        """T, its rows."""
        return self.entry.length

    @property
    def tasks(self) -> tuple[str, ...]:
        """The instructions of its rows, each once."""
        return self.entry.tasks

    @property
    def outcome(self) -> str | None:
        """How it ended, one of `taketwo.types.Outcome`; None where LeRobot recorded it."""
        return self.note.outcome if self.note else None

    @property
    def failed(self) -> bool:
        """Whether it was judged, and the task was not solved."""
        return self.outcome in (Outcome.FAILURE, Outcome.TIMEOUT) or self.success is False


class Dataset:
    """A LeRobot dataset (format v3.0), for reading. Rows and frames are read as they are asked for.

    For use from one thread; forked processes, and those that get it pickled, may use it too.

    Attributes:
        root: its folder.
        tasks: the instructions, by `task_index`.
        episodes: by index.
    """

    def __init__(self, root: Path, info: Info, tasks: list[str], episodes: list[RecordedEpisode]) -> None:
        self.root = root
        self.info = info
        self.tasks = tasks
        self.episodes = episodes
        self._videos: OpenFiles[VideoReader] = OpenFiles(_open_video, OPEN_VIDEOS)
        self._row_files: OpenFiles[RowFile] = OpenFiles(_open_rows, OPEN_ROW_FILES)
        self._pictures: dict[str, _Pictures] = {}

    @classmethod
    def open(cls, root: Path) -> Dataset:
        """Read what it says of itself.

        Raises:
            DatasetError: there is none, it is damaged or of another version, or its last writer was interrupted.
        """
        info = Info.load(root)
        refuse_pending(root)
        entries = load_episodes(root, info)
        notes = load_notes(root, entries)
        judged = _judged(root, info, [entry for entry in entries if entry.index not in notes])
        episodes = []
        for entry in entries:
            note = notes.get(entry.index)
            episodes.append(RecordedEpisode(entry, note, note.success if note else judged.get(entry.index)))
        return cls(root, info, load_tasks(root), episodes)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, also one for another process, opens files of its own."""
        return Dataset, (self.root, self.info, self.tasks, self.episodes)

    @property
    def fps(self) -> float:
        """Rows a second."""
        return self.info.fps

    @cached_property
    def cameras(self) -> dict[str, CameraSpec]:
        """The cameras by their short names: `top` for `observation.images.top`."""
        return {name: _size(self.info.features[key]) for name, key in self.camera_columns.items()}

    @cached_property
    def camera_columns(self) -> dict[str, str]:
        """The columns of the cameras by their short names."""
        return {key.removeprefix(IMAGE_PREFIX): key for key in self.info.cameras}

    @cached_property
    def numeric_columns(self) -> tuple[str, ...]:
        """The columns that `rows` has."""
        return tuple(key for key, feature in self.info.features.items() if feature.dtype in NUMPY_DTYPES)

    def episode(self, index: int) -> RecordedEpisode:
        """One of the episodes.

        Raises:
            ConfigError: there is none of this index.
        """
        if not 0 <= index < len(self.episodes):
            has = f"episodes 0 to {len(self.episodes) - 1}" if self.episodes else "no episodes"
            raise ConfigError(f"there is no episode {index}: {self.root} has {has}")
        return self.episodes[index]

    def rows(self, index: int, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """The rows of an episode.

        Args:
            columns: which of `numeric_columns`; all by default.

        Returns:
            By column (T,) where a row has one number, else (T, n), in the type that `info.json` names.

        Raises:
            ConfigError: no such episode or column.
            DatasetError: the file is missing or damaged, or has another number of rows than the episode.
        """
        from taketwo.datasets.row_files import to_numpy

        entry = self.episode(index).entry
        columns = self.numeric_columns if columns is None else tuple(columns)
        for column in columns:
            if column not in self.numeric_columns:
                raise ConfigError(one_of("column", column, self.numeric_columns))
        file = self._row_file(entry)
        table = file.rows(index, entry.length, columns)
        return {
            column: to_numpy(table.column(column), self.info.features[column], f"column {column!r} of {file.path}")
            for column in columns
        }

    def row_tasks(self, index: int) -> list[str]:
        """The task of each row of an episode.

        Raises:
            ConfigError, DatasetError: as `rows`; or a row's task is unknown.
        """
        numbers = self.rows(index, ["task_index"])["task_index"].tolist()
        if not all(0 <= number < len(self.tasks) for number in numbers):
            raise DatasetError(f"{self.root}: episode {index} has rows of a task that is not among the dataset's")
        return [self.tasks[number] for number in numbers]

    def frame(self, index: int, camera: str, number: int) -> Pixels:
        """One frame of an episode, at random.

        Args:
            camera: its short name.
            number: of the row, from 0.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ConfigError: no such episode, camera or row.
            DatasetError: the file is missing or damaged, or has no such frame.
        """
        episode = self.episode(index)
        key = self._column_of(camera)
        if not 0 <= number < episode.length:
            raise ConfigError(f"there is no frame {number}: episode {index} has frames 0 to {episode.length - 1}")
        if not self.info.features[key].is_video:
            return self._picture(episode, key, number)
        span = episode.entry.videos[key]
        video = self._video(key, span.place)
        pixels = video.frame_at(span.start_s + number / self.fps, 1 / self.fps)
        if pixels is None:
            raise DatasetError(
                f"{video.path} has no frame {number} of episode {index}, which has {episode.length} rows"
            )
        return pixels

    def frames(
        self, index: int, camera: str, start: int = 0, stop: int | None = None, step: int = 1
    ) -> Iterator[Pixels]:
        """Frames of an episode in order, as `frame` gives them; numbered as in `range(start, stop, step)`.

        Args:
            stop: the number after the last one; the end of the episode by default, and at most.

        Raises:
            ConfigError, DatasetError: as `frame`.
        """
        length = self.episode(index).length
        self._column_of(camera)
        for number in range(start, length if stop is None else min(stop, length), step):
            yield self.frame(index, camera, number)

    def frame_times(self, index: int, camera: str) -> FloatArray:
        """(F,) seconds from the episode's first frame, as the video file has them.

        F is the episode's length, unless the file lacks frames. Pictures in the rows have the times of their rows.

        Raises:
            ConfigError, DatasetError: as `frame`.
        """
        episode = self.episode(index)
        key = self._column_of(camera)
        if not self.info.features[key].is_video:
            return self.rows(index, ["timestamp"])["timestamp"].astype(np.float64)
        span = episode.entry.videos[key]
        half = 0.5 / self.fps
        end_s = span.start_s + episode.length / self.fps
        times = self._video(key, span.place).frame_times(span.start_s - half, end_s - half)
        return times - times[0] if times.size else times

    def select(
        self, *, failed: bool | None = None, outcome: str | None = None, task: str | None = None
    ) -> list[RecordedEpisode]:
        """The episodes for which all that is asked holds.

        Args:
            failed: True for those that failed or ran out of time; False for all others, also the unjudged.
            outcome: one of `taketwo.types.Outcome`.
            task: an instruction that some of its rows have.

        Raises:
            ConfigError: no such outcome, or no such task in this dataset.
        """
        if outcome is not None and outcome not in set(Outcome):
            raise ConfigError(one_of("outcome", outcome, [known.value for known in Outcome]))
        if task is not None and task not in self.tasks:
            raise ConfigError(one_of("task", task, self.tasks))
        return [
            episode
            for episode in self.episodes
            if (failed is None or episode.failed == failed)
            and (outcome is None or episode.outcome == outcome)
            and (task is None or task in episode.tasks)
        ]

    def session_config(self, index: int) -> Mapping[str, Any] | None:
        """The resolved configuration that an episode was recorded with; None where it is not known.

        Raises:
            ConfigError: no such episode.
            DatasetError: the file is damaged.
        """
        note = self.episode(index).note
        if note is None:
            return None
        path = self.root / session_path(note.session)
        try:
            config = json.loads(path.read_text(encoding="utf-8"))["config"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} is damaged: {type(error).__name__}: {error}") from error
        if not isinstance(config, dict):
            raise DatasetError(f"{path} is damaged: its config is no mapping")
        return config

    def close(self) -> None:
        """Close the files that are open."""
        self._pictures.clear()
        self._videos.close()
        self._row_files.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _column_of(self, camera: str) -> str:
        try:
            return self.camera_columns[camera]
        except KeyError:
            raise ConfigError(one_of("camera", camera, self.camera_columns)) from None

    def _row_file(self, entry: EpisodeEntry) -> RowFile:
        return self._row_files.get(self.root / self.info.data_file(entry.data))

    def _video(self, key: str, place: FilePlace) -> VideoReader:
        return self._videos.get(self.root / self.info.video_file(key, place))

    def _picture(self, episode: RecordedEpisode, key: str, number: int) -> Pixels:
        from taketwo.datasets.decoding import decode_picture

        file = self._row_file(episode.entry)
        pictures = self._pictures.get(key)
        if pictures is None or pictures.episode != episode.index or not pictures.is_near(number):
            following = file.pictures(episode.index, key, number)
            pictures = self._pictures[key] = _Pictures(episode.index, number, following)
        data = pictures.get(number)
        if not data:
            raise DatasetError(f"{file.path} has no picture {key!r} of frame {number} of episode {episode.index}")
        return decode_picture(data, f"{file.path}: {key!r} of frame {number} of episode {episode.index}")


def locate(text: str, root: Path | None = None) -> Path:
    """The folder of the dataset that a user names.

    Args:
        text: a folder, or a repo id such as `me/cube`, which is looked for in LeRobot's home.
        root: where it is, if not there.

    Raises:
        ConfigError: it is neither a folder nor a repo id.
        DatasetError: there is no dataset.
    """
    folder = Path(text).expanduser()
    if root is None and (folder / INFO).is_file():
        return folder
    if root is None:
        check_not_only_takes(folder)
    if root is None and (folder.is_absolute() or text.startswith((".", "~"))):
        there = "it has no" if folder.is_dir() else "there is no such folder with"
        raise DatasetError(f"{folder} is no LeRobot dataset: {there} {INFO}")
    found = find_root(text, root)
    if not (found / INFO).is_file():
        raise DatasetError(f"there is no dataset {text!r}: {found} has no {INFO}")
    return found


class _Pictures:
    """The encoded pictures of an episode's rows, in order."""

    def __init__(self, episode: int, number: int, following: Iterator[bytes]) -> None:
        """`following` begins with that of row `number`."""
        self.episode = episode
        self._number = number
        self._following = following

    def is_near(self, number: int) -> bool:
        """Whether it comes next, or soon."""
        return 0 <= number - self._number < NEAR_PICTURES

    def get(self, number: int) -> bytes | None:
        """The one of a row that has not come yet."""
        skipped = number - self._number
        self._number = number + 1
        return next(islice(self._following, skipped, None), None)


def _open_video(path: Path) -> VideoReader:
    from taketwo.datasets.decoding import VideoReader

    return VideoReader(path)


def _open_rows(path: Path) -> RowFile:
    from taketwo.datasets.row_files import RowFile

    return RowFile(path)


def _size(feature: Feature) -> CameraSpec:
    """Converted older datasets have the channels first."""
    names = list(feature.names or ())
    channels_first = bool(names) and str(names[0]).startswith("channel")
    height, width = feature.shape[1:3] if channels_first else feature.shape[:2]
    return CameraSpec(height, width)


def _judged(root: Path, info: Info, entries: Sequence[EpisodeEntry]) -> dict[int, bool]:
    """Whether `next.success` was ever true, by episode."""
    from taketwo.datasets.row_files import RowFile

    if SUCCESS not in info.features or not entries:
        return {}
    found = _judged_by_statistics(root)
    for place in sorted({entry.data for entry in entries if entry.index not in found}):
        file = RowFile(root / info.data_file(place))
        found |= file.ever_true(SUCCESS)
        file.close()
    return found


def _judged_by_statistics(root: Path) -> dict[int, bool]:
    """The same from the maxima that LeRobot keeps beside the entries, without a look at the rows."""
    import pyarrow.parquet as pq

    from taketwo.datasets.parquet_files import reading_parquet

    column = f"stats/{SUCCESS}/max"
    found: dict[int, bool] = {}
    for path in sorted((root / EPISODES).glob("*/*.parquet")):
        with reading_parquet(path):
            if column in pq.read_schema(path).names:
                rows = pq.read_table(path, columns=["episode_index", column], partitioning=None).to_pylist()
                found |= {row["episode_index"]: bool(row[column][0]) for row in rows if row[column]}
    return found
