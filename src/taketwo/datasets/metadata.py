"""What a dataset says of itself: `info.json`, its tasks, its episodes, and our notes on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taketwo.datasets.features import Feature
from taketwo.datasets.layout import (
    DATA_FILE_MB,
    DATA_TEMPLATE,
    EPISODES,
    FILES_PER_CHUNK,
    FORMAT_VERSION,
    INFO,
    NOTES,
    TAKES,
    TASKS,
    VIDEO_FILE_MB,
    VIDEO_TEMPLATE,
    FilePlace,
    said_only_takes,
)
from taketwo.errors import DatasetError
from taketwo.recording.plain import to_json

if TYPE_CHECKING:
    import pyarrow as pa

Stats = Mapping[str, Mapping[str, Any]]
"""Column to statistic to its value: nested lists, (3, 1, 1) for cameras with values from 0 to 1, and `count` (1,)."""


@dataclass(frozen=True)
class Info:
    """`info.json`.

    Attributes:
        fps: rows a second.
        rest: entries that we do not know, kept as they are.
    """

    fps: float
    features: Mapping[str, Feature]
    robot_type: str | None = None
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0
    chunks_size: int = FILES_PER_CHUNK
    data_files_size_in_mb: float = DATA_FILE_MB
    video_files_size_in_mb: float = VIDEO_FILE_MB
    data_path: str = DATA_TEMPLATE
    video_path: str | None = VIDEO_TEMPLATE
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The columns that hold pictures, such as `observation.images.top`."""
        return tuple(key for key, feature in self.features.items() if feature.is_camera)

    @property
    def videos(self) -> tuple[str, ...]:
        """The cameras whose pictures are in MP4 files."""
        return tuple(key for key, feature in self.features.items() if feature.is_video)

    def data_file(self, place: FilePlace) -> str:
        """Relative path of a file of rows.

        Raises:
            DatasetError: the template is none.
        """
        return _filled(self.data_path, chunk_index=place.chunk, file_index=place.file)

    def video_file(self, key: str, place: FilePlace) -> str:
        """Relative path of a file of a camera's pictures.

        Raises:
            DatasetError: there is no template, or it is none.
        """
        return _filled(self.video_path, video_key=key, chunk_index=place.chunk, file_index=place.file)

    def to_json(self) -> str:
        """The text of the file."""
        own = {name: getattr(self, name) for name in _OWN}
        own["fps"] = int(self.fps) if float(self.fps).is_integer() else self.fps
        own["features"] = {key: feature.to_json() for key, feature in self.features.items()}
        splits = {"train": f"0:{self.total_episodes}"}
        return json.dumps({"codebase_version": FORMAT_VERSION} | own | {"splits": splits} | dict(self.rest), indent=4)

    @classmethod
    def load(cls, root: Path, relative: str = INFO) -> Info:
        """Read it.

        Args:
            relative: where it is in the dataset.

        Raises:
            DatasetError: there is none, it is damaged, or of another version.
        """
        path = root / relative
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            version = plain.pop("codebase_version")
            own = {name: plain.pop(name) for name in _OWN if name in plain}
            plain.pop("splits", None)
            own["features"] = {key: Feature.from_json(feature) for key, feature in own["features"].items()}
            info = cls(**own, rest=plain)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetError(_not_there(root, relative)) from error
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path} is damaged: {type(error).__name__}: {error}") from error
        if version != FORMAT_VERSION:
            raise DatasetError(
                f"{root} is a dataset of version {version}, and this reads {FORMAT_VERSION}: convert it with LeRobot"
            )
        return info


def _not_there(root: Path, relative: str) -> str:
    if (root / TAKES).exists():
        return said_only_takes(root)
    return f"{root} is no LeRobot dataset: it has no {relative}"


def _filled(template: str | None, **values: str | int) -> str:
    try:
        if template is None:
            raise ValueError("there is none")
        return template.format(**values)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DatasetError(f"{INFO} is damaged: the path template {template!r} cannot be filled in: {error}") from error


_OWN = [part.name for part in fields(Info) if part.name != "rest"]


@dataclass(frozen=True)
class VideoSpan:
    """Where an episode lies in a camera's MP4.

    Attributes:
        start_s: time of its first frame in the file.
        end_s: time at which its last frame ends.
    """

    place: FilePlace
    start_s: float
    end_s: float


@dataclass(frozen=True)
class EpisodeEntry:
    """An episode, as LeRobot's `meta/episodes` has it.

    Attributes:
        tasks: the instructions of its rows, each once.
        length: its rows.
        data: the file of its rows.
        first_row: index of its first row in the dataset.
        videos: by column.
        meta: the file of this entry.
        stats: its statistics; empty where they were not asked for.
    """

    index: int
    tasks: tuple[str, ...]
    length: int
    data: FilePlace
    first_row: int
    videos: Mapping[str, VideoSpan] = field(default_factory=dict)
    meta: FilePlace = field(default_factory=FilePlace)
    stats: Stats = field(default_factory=dict)

    @property
    def end_row(self) -> int:
        """Index after its last row."""
        return self.first_row + self.length

    def to_row(self) -> dict[str, Any]:
        """As a row of the table."""
        row: dict[str, Any] = {
            "episode_index": self.index,
            "tasks": list(self.tasks),
            "length": self.length,
            "data/chunk_index": self.data.chunk,
            "data/file_index": self.data.file,
            "dataset_from_index": self.first_row,
            "dataset_to_index": self.end_row,
        }
        for key, span in self.videos.items():
            row |= {
                f"videos/{key}/chunk_index": span.place.chunk,
                f"videos/{key}/file_index": span.place.file,
                f"videos/{key}/from_timestamp": span.start_s,
                f"videos/{key}/to_timestamp": span.end_s,
            }
        for key, stats in self.stats.items():
            row |= {f"stats/{key}/{name}": value for name, value in stats.items()}
        return row | {"meta/episodes/chunk_index": self.meta.chunk, "meta/episodes/file_index": self.meta.file}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], videos: Iterable[str]) -> EpisodeEntry:
        """Out of a row of the table.

        Raises:
            KeyError, TypeError: it is not one.
        """
        spans = {
            key: VideoSpan(
                _place(row, f"videos/{key}"),
                float(row[f"videos/{key}/from_timestamp"]),
                float(row[f"videos/{key}/to_timestamp"]),
            )
            for key in videos
        }
        stats: dict[str, dict[str, Any]] = {}
        for name, value in row.items():
            if name.startswith("stats/") and value is not None:
                key, statistic = name.removeprefix("stats/").rsplit("/", 1)
                stats.setdefault(key, {})[statistic] = value
        return cls(
            index=int(row["episode_index"]),
            tasks=tuple(row["tasks"]),
            length=int(row["length"]),
            data=_place(row, "data"),
            first_row=int(row["dataset_from_index"]),
            videos=spans,
            meta=_place(row, "meta/episodes"),
            stats=stats,
        )


def _place(row: Mapping[str, Any], prefix: str) -> FilePlace:
    return FilePlace(int(row[f"{prefix}/chunk_index"]), int(row[f"{prefix}/file_index"]))


def load_episodes(root: Path, info: Info, stats: bool = False) -> list[EpisodeEntry]:
    """Every episode, in order.

    Args:
        stats: also their statistics.

    Raises:
        DatasetError: a file is missing or damaged, or the episodes are not 0, 1, 2, ...
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    entries = []
    for path in sorted((root / EPISODES).glob("*/*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                rows = file.read([name for name in names if stats or not name.startswith("stats/")]).to_pylist()
            entries += [EpisodeEntry.from_row(row, info.videos) for row in rows]
        except (OSError, pa.ArrowException, KeyError, TypeError) as error:
            raise DatasetError(f"{path} is damaged: {error}") from error
    entries.sort(key=lambda entry: entry.index)
    if [entry.index for entry in entries] != list(range(info.total_episodes)):
        raise DatasetError(
            f"{root / EPISODES} has {len(entries)} episodes and {INFO} says {info.total_episodes}: "
            "restore meta/ from a copy or from the Hub"
        )
    return entries


def episodes_table(entries: Sequence[EpisodeEntry]) -> pa.Table:
    """Entries, one at least and with statistics of the same columns, as the table that LeRobot reads."""
    import pyarrow as pa

    rows = [entry.to_row() for entry in entries]
    types = pa.struct([(name, _column_type(name, value)) for name, value in rows[0].items()])
    return pa.Table.from_struct_array(pa.array(rows, types))


def _column_type(name: str, value: Any) -> pa.DataType:
    import pyarrow as pa

    if name == "tasks":
        return pa.list_(pa.string())
    depth = 0
    while isinstance(value, list) and value:
        depth, value = depth + 1, value[0]
    whole = name.endswith(("/count", "_index", "length"))
    column = pa.int64() if whole else pa.float64()
    for _ in range(depth):
        column = pa.list_(column)
    return column


def load_tasks(root: Path) -> list[str]:
    """The tasks by their index.

    Raises:
        DatasetError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = root / TASKS
    if not path.exists():
        return []
    try:
        table = pq.read_table(path, partitioning=None).to_pydict()
        numbers = table.pop("task_index")
        (texts,) = table.values()
        by_number = dict(zip(numbers, texts, strict=True))
        return [by_number[number] for number in range(len(by_number))]
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """Tasks as LeRobot keeps them: a pandas table whose index is the text."""
    import pyarrow as pa

    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    column = {
        "name": "task_index",
        "field_name": "task_index",
        "pandas_type": "int64",
        "numpy_type": "int64",
        "metadata": None,
    }
    names = {
        "name": None,
        "field_name": None,
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": {"encoding": "UTF-8"},
    }
    mark = {"index_columns": ["task"], "column_indexes": [names], "columns": [column, index], "pandas_version": "2.0.0"}
    schema = pa.schema([("task_index", pa.int64()), ("task", pa.string())], metadata={"pandas": json.dumps(mark)})
    return pa.table({"task_index": list(range(len(tasks))), "task": list(tasks)}, schema=schema)


@dataclass(frozen=True)
class EpisodeNote:
    """What only we know of an episode.

    Attributes:
        index: the episode's.
        length: its rows; a note whose length is not the episode's belongs to another one and is not used.
        outcome: `success`, `failure`, `timeout`, `stopped`, `fault` or `unjudged`; see `taketwo.types.Outcome`.
        reason: one sentence telling why it ended so.
        success: whether the task was solved, None where nobody judged.
        seed: the environment's.
        session: number of the file with the configuration that it was recorded with.
        started_at: wall-clock time of its start, ISO 8601 with its zone.
        duration_s: seconds from its first row to the end of its last one, on the recorder's clock.
        measured_hz: rows a second that it really had; None where the session was not paced by a clock.
        late: whether it ran slower than the dataset's fps says, beyond what is tolerated.
        reward_sum: of its rows.
        interventions: rows in which another than the policy acted.
        traced: whether it has a simulator trace.
        salvaged: whether it was cut short by a crash and mended.
        env: number of its environment, where several stepped together.
        init_state: number of the recorded initial state that it began from, where there are some.
        seeded: whether its environment began it by the seed; not where a simulator went on by itself.
    """

    index: int
    length: int
    outcome: str
    reason: str
    success: bool | None
    seed: int
    session: int
    started_at: str
    duration_s: float
    measured_hz: float | None = None
    late: bool = False
    reward_sum: float = 0.0
    interventions: int = 0
    traced: bool = False
    salvaged: bool = False
    env: int = 0
    init_state: int | None = None
    seeded: bool = True

    def to_line(self) -> str:
        """As a line of the file."""
        return to_json(asdict(self)) + "\n"


def load_notes(root: Path, entries: Sequence[EpisodeEntry]) -> dict[int, EpisodeNote]:
    """Notes by episode; those that LeRobot added have none, and a note that does not fit its episode is left out."""
    lengths = {entry.index: entry.length for entry in entries}
    notes = (note for path in sorted((root / NOTES).glob("*/*.jsonl")) for note in read_notes(path))
    return {note.index: note for note in notes if lengths.get(note.index) == note.length}


def read_notes(path: Path) -> Iterator[EpisodeNote]:
    """The notes of a file.

    Raises:
        OSError: it cannot be read.
        DatasetError: a line of it is damaged.
    """
    known = {part.name for part in fields(EpisodeNote)}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            plain = json.loads(line)
            yield EpisodeNote(**{name: value for name, value in plain.items() if name in known})
        except (ValueError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path}, line {number}, is damaged: {error}") from error
