"""A dataset put together out of chosen episodes of others, by copying: nothing is encoded or rounded again.

A file whose episodes all stay as they are is taken whole. Of the others rows are filtered and numbered again, a
piece at a time, and the packets of the chosen episodes copied.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taketwo.datasets.catalog import Catalog
from taketwo.datasets.commit import stage_summary, write_parquet
from taketwo.datasets.features import Feature
from taketwo.datasets.layout import (
    SESSIONS,
    FilePlace,
    data_path,
    episodes_path,
    notes_path,
    session_path,
    trace_path,
    video_path,
)
from taketwo.datasets.metadata import EpisodeEntry, Info, Stats, VideoSpan, episodes_table
from taketwo.datasets.packing import write_row_groups
from taketwo.datasets.parquet_files import reading_parquet, row_count, row_groups
from taketwo.datasets.selection import EPISODE, INDEX, TASK_INDEX, Part, numbered, survey_tasks
from taketwo.datasets.statistics import combined, of_column, plain_stats
from taketwo.datasets.transaction import Transaction, link_or_copy
from taketwo.datasets.video_cuts import Cut, cut_video
from taketwo.errors import DatasetError, one_line
from taketwo.recording.naming import cannot_write
from taketwo.recording.rate import exact_fps

UNKNOWN_SESSION = '{"config": {}}\n'
"""Stands for a session whose file was lost, so that the numbers of the others stay right."""

PlaceOf = Callable[[EpisodeEntry], FilePlace]


class Assembly:
    """Stages the files of a dataset that has the chosen episodes, one part after the other, numbered from 0."""

    def __init__(self, transaction: Transaction, root: Path, parts: Sequence[Part]) -> None:
        """Look at the parts; nothing is staged yet.

        Args:
            root: the dataset to be. Where it is that of a part, what need not change stays where it is.
            parts: they agree in rate, robot and columns, and have one episode together at least.

        Raises:
            DatasetError: a file of rows is damaged.
        """
        self._transaction = transaction
        self._root = root
        self._parts = parts
        self._info = replace(parts[0].info, features=common_features([part.info for part in parts]))
        self._numbers = numbered(parts)
        self._tasks = survey_tasks(parts)
        self._data: dict[tuple[Part, FilePlace], FilePlace] = {}
        self._videos: dict[tuple[Part, int], dict[str, VideoSpan]] = {pair: {} for pair in self._numbers}
        self._kept: set[str] = set()

    def stage(self) -> list[str]:
        """Stage all of it; returns the files of the part in `root` that are superfluous then, by relative path.

        Raises:
            DatasetError: a source is damaged, or an episode's video does not begin with a key frame.
            RecordingError: the disk does not take it.
        """
        self._stage_rows()
        for key in self._info.videos:
            self._stage_video(key)
        self._stage_traces()
        self._stage_episodes(self._stage_sessions())
        return [path for part in self._parts if part.root == self._root for path in files_of(part) - self._kept]

    def _places(self, place_of: PlaceOf) -> Iterator[tuple[Part, FilePlace, list[EpisodeEntry], FilePlace]]:
        """Each source file with its chosen episodes, and the place of the file that it becomes."""
        target = FilePlace()
        for part in self._parts:
            for place, entries in part.by_place(place_of).items():
                yield part, place, entries, target
                target = target.following(self._info.chunks_size)

    def _take_whole(self, part: Part, old: str, new: str) -> None:
        """A file as it is. Only within a dataset it is a link: what is written into one must not change another."""
        if part.root == self._root and old == new:
            self._kept.add(old)
            return
        source, target = part.root / old, self._transaction.stage(new)
        try:
            if part.root == self._root:
                link_or_copy(source, target)
            else:
                shutil.copyfile(source, target)
        except FileNotFoundError as error:
            raise DatasetError(f"{source} is missing") from error
        except OSError as error:
            raise cannot_write(target, error) from error

    def _stage_rows(self) -> None:
        schema: pa.Schema | None = None
        for part, place, entries, target in self._places(lambda entry: entry.data):
            path = part.root / data_path(place)
            with reading_parquet(path):
                schema = schema or pq.read_schema(path)
                same_schema = pq.read_schema(path).equals(schema)
            self._data[part, place] = target
            rows = sum(entry.length for entry in entries)
            if same_schema and row_count(path) == rows and all(self._is_unchanged(part, entry) for entry in entries):
                self._take_whole(part, data_path(place), data_path(target))
            else:
                tables = self._new_rows(part, path, entries, schema)
                write_row_groups(self._transaction.stage(data_path(target)), tables)

    def _is_unchanged(self, part: Part, entry: EpisodeEntry) -> bool:
        """Whether no row of an episode gets another number."""
        number = self._numbers[part, entry.index]
        before, now = self._tasks.of_rows[part, entry.index], self._tasks.new_rows(part, entry.index)
        return (number.index, number.first_row) == (entry.index, entry.first_row) and np.array_equal(before, now)

    def _new_rows(
        self, part: Part, path: Path, entries: Sequence[EpisodeEntry], schema: pa.Schema
    ) -> Iterator[pa.Table]:
        old = np.array([entry.index for entry in entries])
        new = np.array([self._numbers[part, index].index for index in old])
        row = self._numbers[part, entries[0].index].first_row
        for table in row_groups(path):
            episodes = table[EPISODE].to_numpy().astype(np.int64)
            mine = np.isin(episodes, old)
            if not mine.any():
                continue
            table = _as_schema(table.filter(pa.array(mine)), schema, path)
            tasks = self._tasks.mapping[part][table[TASK_INDEX].to_numpy().astype(np.int64)]
            table = _with_column(table, EPISODE, new[np.searchsorted(old, episodes[mine])])
            table = _with_column(table, INDEX, row + np.arange(len(table)))
            yield _with_column(table, TASK_INDEX, tasks)
            row += len(table)

    def _stage_video(self, key: str) -> None:
        def place_of(entry: EpisodeEntry) -> FilePlace:
            return entry.videos[key].place

        fps = exact_fps(self._info.fps)
        for part, place, entries, target in self._places(place_of):
            old, new = video_path(key, place), video_path(key, target)
            spans = [entry.videos[key] for entry in entries]
            starts = [span.start_s for span in spans]
            if part.is_whole(place, place_of):
                self._take_whole(part, old, new)
            else:
                cuts = [Cut(span.start_s, entry.length) for span, entry in zip(spans, entries, strict=True)]
                starts = cut_video(part.root / old, self._transaction.stage(new), cuts, fps)
            for entry, span, start_s in zip(entries, spans, starts, strict=True):
                end_s = span.end_s if start_s == span.start_s else start_s + (span.end_s - span.start_s)
                self._videos[part, entry.index][key] = VideoSpan(target, start_s, end_s)

    def _stage_traces(self) -> None:
        for (part, index), number in self._numbers.items():
            if (part.root / trace_path(index)).exists():
                self._take_whole(part, trace_path(index), trace_path(number.index))

    def _stage_sessions(self) -> dict[tuple[Part, int], int]:
        """The configurations that the chosen episodes were recorded with; their new numbers by part and old one."""
        sessions: dict[tuple[Part, int], int] = {}
        for part, index in self._numbers:
            note = part.notes.get(index)
            if note is None or (part, note.session) in sessions:
                continue
            new = sessions[part, note.session] = len(sessions)
            if (part.root / session_path(note.session)).exists():
                self._take_whole(part, session_path(note.session), session_path(new))
            else:
                self._transaction.write(session_path(new), UNKNOWN_SESSION)
        return sessions

    def _stage_episodes(self, sessions: Mapping[tuple[Part, int], int]) -> None:
        """Entries with their statistics, the notes beside them, and what they sum up to."""
        stats: Stats = {}
        known = self._common_statistics()
        for part, place, entries, target in self._places(lambda entry: entry.meta):
            new = [
                self._new_entry(part, entry, target, known)
                for entry in _with_statistics(part, place, [entry.index for entry in entries])
            ]
            for entry in new:
                stats = combined(stats, entry.stats)
            write_parquet(episodes_table(new), self._transaction.stage(episodes_path(target)))
            notes = [part.notes[entry.index] for entry in entries if entry.index in part.notes]
            if notes:
                moved = (
                    replace(note, index=self._numbers[part, note.index].index, session=sessions[part, note.session])
                    for note in notes
                )
                self._transaction.write(notes_path(target), "".join(note.to_line() for note in moved))
        info = replace(
            self._info,
            total_episodes=len(self._numbers),
            total_frames=sum(entry.length for part in self._parts for entry in part.chosen_entries),
            total_tasks=len(self._tasks.texts),
        )
        stage_summary(self._transaction, Catalog(info, self._tasks.texts, stats))

    def _new_entry(
        self, part: Part, entry: EpisodeEntry, meta: FilePlace, known: frozenset[tuple[str, str]]
    ) -> EpisodeEntry:
        number = self._numbers[part, entry.index]
        stats = {
            key: {name: _plain_statistic(name, value) for name, value in of.items() if (key, name) in known}
            for key, of in entry.stats.items()
        }
        bookkeeping = {
            EPISODE: np.full(entry.length, number.index),
            INDEX: number.first_row + np.arange(entry.length),
            TASK_INDEX: self._tasks.new_rows(part, entry.index),
        }
        for key, values in bookkeeping.items():
            if key in stats:
                fresh = plain_stats({key: of_column(values)})[key]
                stats[key] = {name: fresh[name] for name in stats[key] if name in fresh}
        return replace(
            entry,
            index=number.index,
            first_row=number.first_row,
            data=self._data[part, entry.data],
            videos=self._videos[part, entry.index],
            meta=meta,
            stats={key: of for key, of in stats.items() if of},
        )

    def _common_statistics(self) -> frozenset[tuple[str, str]]:
        """Columns and statistics that all parts have: the files of episodes are one table to LeRobot."""
        found: frozenset[tuple[str, str]] | None = None
        for part in self._parts:
            for place in part.by_place(lambda entry: entry.meta):
                path = part.root / episodes_path(place)
                with reading_parquet(path):
                    names = [name for name in pq.read_schema(path).names if name.startswith("stats/")]
                split = (name.removeprefix("stats/").rsplit("/", 1) for name in names)
                here = frozenset((key, statistic) for key, statistic in split)
                found = here if found is None else found & here
        return found or frozenset()


def files_of(part: Part) -> set[str]:
    """All files of a dataset's episodes and sessions, by relative path; also those of episodes not chosen."""
    entries = part.entries
    files = {data_path(entry.data) for entry in entries}
    files |= {video_path(key, span.place) for entry in entries for key, span in entry.videos.items()}
    files |= {path(entry.meta) for entry in entries for path in (episodes_path, notes_path)}
    files |= {trace_path(entry.index) for entry in entries}
    sessions = {path.relative_to(part.root).as_posix() for path in (part.root / SESSIONS).glob("session-*.json")}
    return sessions | {file for file in files if (part.root / file).exists()}


def common_features(infos: Sequence[Info]) -> dict[str, Feature]:
    """The columns, told of each only what all datasets tell of it."""
    return {
        key: replace(
            feature,
            info={
                name: value
                for name, value in feature.info.items()
                if all(name in info.features[key].info and info.features[key].info[name] == value for info in infos)
            },
        )
        for key, feature in infos[0].features.items()
    }


def _as_schema(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """LeRobot reads the data files as one table."""
    if table.schema.equals(schema, check_metadata=True):
        return table
    try:
        return table.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"{path} has columns of other types than the first file: {one_line(error)}") from error


def _with_column(table: pa.Table, name: str, values: NDArray[Any]) -> pa.Table:
    number = table.schema.get_field_index(name)
    field = table.schema.field(number)
    return table.set_column(number, field, pa.array(values, field.type))


def _with_statistics(part: Part, place: FilePlace, indices: Iterable[int]) -> list[EpisodeEntry]:
    path = part.root / episodes_path(place)
    wanted = set(indices)
    with reading_parquet(path):
        rows = pq.read_table(path, partitioning=None).to_pylist()
        entries = [EpisodeEntry.from_row(row, part.info.videos) for row in rows if row["episode_index"] in wanted]
    return sorted(entries, key=lambda entry: entry.index)


def _plain_statistic(name: str, value: Any) -> Any:
    """In the types that we and LeRobot's later versions write; earlier ones had whole numbers in some places."""
    return np.asarray(value, np.int64 if name == "count" else np.float64).tolist()
