"""Episodes chosen out of datasets, to be put together as a new one: what they hold, and which numbers they get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from taketwo.datasets.layout import DATA_TEMPLATE, INFO, VIDEO_TEMPLATE, FilePlace, data_path
from taketwo.datasets.metadata import EpisodeEntry, EpisodeNote, Info, load_episodes, load_notes, load_tasks
from taketwo.datasets.parquet_files import reading_parquet
from taketwo.datasets.transaction import refuse_pending
from taketwo.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPISODE, INDEX, TASK_INDEX = "episode_index", "index", "task_index"


@dataclass(frozen=True, eq=False)
class Part:
    """Some episodes of a dataset, or all.

    Attributes:
        tasks: the dataset's, by index.
        entries: all episodes of the dataset, without their statistics.
        chosen: indices of those that count, in order.
        notes: by index.
    """

    root: Path
    info: Info
    tasks: tuple[str, ...]
    entries: tuple[EpisodeEntry, ...]
    chosen: tuple[int, ...]
    notes: Mapping[int, EpisodeNote]

    @classmethod
    def open(cls, root: Path, choose: Callable[[int], Iterable[int]] = range) -> Part:
        """Read what a dataset says of itself.

        Args:
            choose: indices of episodes out of their number; all by default.

        Raises:
            ConfigError: there is no such episode.
            DatasetError: there is no dataset, it is damaged, its last writer was interrupted, or its files are not
                where format v3.0 has them.
        """
        info = Info.load(root)
        refuse_pending(root)
        if info.data_path != DATA_TEMPLATE or (info.videos and info.video_path != VIDEO_TEMPLATE):
            raise DatasetError(f"{root} cannot be edited: its {INFO} puts data or videos at unusual paths")
        entries = tuple(load_episodes(root, info))
        chosen = tuple(sorted(set(choose(len(entries)))))
        for index in chosen:
            if not 0 <= index < len(entries):
                raise ConfigError(f"there is no episode {index}: {root} has {said_range(len(entries))}")
        return cls(root, info, tuple(load_tasks(root)), entries, chosen, load_notes(root, entries))

    @property
    def chosen_entries(self) -> list[EpisodeEntry]:
        """The entries of the chosen episodes."""
        return [self.entries[index] for index in self.chosen]

    def by_place(self, place_of: Callable[[EpisodeEntry], FilePlace]) -> dict[FilePlace, list[EpisodeEntry]]:
        """The chosen episodes by the file that they are in; files without any are left out."""
        groups: dict[FilePlace, list[EpisodeEntry]] = {}
        for entry in self.chosen_entries:
            groups.setdefault(place_of(entry), []).append(entry)
        return groups

    def is_whole(self, place: FilePlace, place_of: Callable[[EpisodeEntry], FilePlace]) -> bool:
        """Whether all episodes of a file are chosen."""
        chosen = set(self.chosen)
        return all(entry.index in chosen for entry in self.entries if place_of(entry) == place)


def said_range(count: int) -> str:
    """Which episodes a dataset has, in words."""
    return f"episodes 0 to {count - 1}" if count > 1 else "episode 0 only" if count else "no episodes"


@dataclass(frozen=True)
class Number:
    """What an episode is called in the new dataset."""

    index: int
    first_row: int


def numbered(parts: Sequence[Part]) -> dict[tuple[Part, int], Number]:
    """New numbers by part and old index: the parts one after the other."""
    numbers: dict[tuple[Part, int], Number] = {}
    row = 0
    for part in parts:
        for entry in part.chosen_entries:
            numbers[part, entry.index] = Number(len(numbers), row)
            row += entry.length
    return numbers


@dataclass(frozen=True)
class Tasks:
    """The tasks of the chosen rows.

    Attributes:
        texts: by their new index.
        of_rows: by part and old episode index, (T,) old task index of each row.
        mapping: by part, (N,) old task index to new one; -1 for those that no row has.
    """

    texts: tuple[str, ...]
    of_rows: Mapping[tuple[Part, int], NDArray[np.int64]]
    mapping: Mapping[Part, NDArray[np.int64]]

    def new_rows(self, part: Part, episode: int) -> NDArray[np.int64]:
        """(T,) new task index of each row of an episode."""
        rows: NDArray[np.int64] = self.mapping[part][self.of_rows[part, episode]]
        return rows


def survey_tasks(parts: Sequence[Part]) -> Tasks:
    """Look which tasks the rows have, and whether the files have the rows that they should.

    Raises:
        DatasetError: a file is damaged, or has other rows than its episodes.
    """
    of_rows: dict[tuple[Part, int], NDArray[np.int64]] = {}
    texts: dict[str, None] = {}
    for part in parts:
        used: set[int] = set()
        files = part.by_place(lambda entry: entry.data)
        if [entry for entries in files.values() for entry in entries] != part.chosen_entries:
            raise DatasetError(
                f"{part.root} is damaged: its files have the episodes in another order than their numbers"
            )
        for place, entries in files.items():
            path = part.root / data_path(place)
            for entry, rows in zip(entries, _task_rows(path, entries, len(part.tasks)), strict=True):
                of_rows[part, entry.index] = rows
                used.update(np.unique(rows).tolist())
        texts |= dict.fromkeys(part.tasks[number] for number in sorted(used))
    number = {text: index for index, text in enumerate(texts)}
    mapping = {part: np.array([number.get(text, -1) for text in part.tasks], np.int64) for part in parts}
    return Tasks(tuple(texts), of_rows, mapping)


def _task_rows(path: Path, entries: Sequence[EpisodeEntry], tasks: int) -> Iterator[NDArray[np.int64]]:
    """By episode the (T,) task indices of its rows; checks that all rows are there, in order."""
    with reading_parquet(path):
        table = pq.read_table(path, columns=[EPISODE, TASK_INDEX], partitioning=None)
        episodes, numbers = (table[name].to_numpy().astype(np.int64) for name in (EPISODE, TASK_INDEX))
    indices, lengths = [entry.index for entry in entries], [entry.length for entry in entries]
    mine = np.isin(episodes, indices)
    if not np.array_equal(episodes[mine], np.repeat(indices, lengths)):
        raise DatasetError(f"{path} is damaged: it has not the rows that its episodes should have")
    numbers = numbers[mine]
    if not np.isin(numbers, np.arange(tasks)).all():
        raise DatasetError(f"{path} has rows of a task that is not among the dataset's")
    yield from np.split(numbers, np.cumsum(lengths)[:-1])
