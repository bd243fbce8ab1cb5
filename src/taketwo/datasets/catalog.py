"""What a dataset holds, as its writer keeps it in mind: counts, and where the next files go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

from taketwo.datasets.layout import STATS, FilePlace
from taketwo.datasets.metadata import EpisodeEntry, Info, Stats, load_episodes, load_tasks
from taketwo.datasets.statistics import combined
from taketwo.errors import DatasetError


@dataclass(frozen=True)
class Catalog:
    """The state of a dataset between two episodes.

    Attributes:
        tasks: their texts by index.
        stats: of all rows.
        data: place of the next file of rows.
        meta: place of the next file of episodes.
        videos: by column, place of the next file.
        loose: files of single episodes that were not yet packed together with others.
    """

    info: Info
    tasks: tuple[str, ...] = ()
    stats: Stats = field(default_factory=dict)
    data: FilePlace = field(default_factory=FilePlace)
    meta: FilePlace = field(default_factory=FilePlace)
    videos: Mapping[str, FilePlace] = field(default_factory=dict)
    loose: int = 0

    @classmethod
    def load(cls, root: Path) -> Catalog:
        """Of a dataset that is there.

        Raises:
            DatasetError: it is damaged.
        """
        info = Info.load(root)
        entries = load_episodes(root, info)
        stats = load_stats(root)
        if entries and not stats:  # they are in the episodes too
            stats = reduce(combined, (entry.stats for entry in load_episodes(root, info, stats=True)))
        size = info.chunks_size
        return cls(
            info=info,
            tasks=tuple(load_tasks(root)),
            stats=stats,
            data=_next(max((entry.data for entry in entries), default=None), size),
            meta=_next(max((entry.meta for entry in entries), default=None), size),
            videos={
                key: _next(max((entry.videos[key].place for entry in entries), default=None), size)
                for key in info.videos
            },
        )

    def after(self, entry: EpisodeEntry) -> Catalog:
        """With one more episode, whose files are of the next places."""
        size = self.info.chunks_size
        tasks = (*self.tasks, *(task for task in entry.tasks if task not in self.tasks))
        info = replace(
            self.info,
            total_episodes=entry.index + 1,
            total_frames=entry.end_row,
            total_tasks=len(tasks),
        )
        return replace(
            self,
            info=info,
            tasks=tasks,
            stats=combined(self.stats, entry.stats),
            data=self.data.following(size),
            meta=self.meta.following(size),
            videos={key: self.videos.get(key, FilePlace()).following(size) for key in info.videos},
            loose=self.loose + 1,
        )


def load_stats(root: Path) -> Stats:
    """`stats.json`; empty where there is none.

    Raises:
        DatasetError: it is damaged.
    """
    path = root / STATS
    if not path.exists():
        return {}
    try:
        stats: Stats = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    return stats


def _next(last: FilePlace | None, files_per_chunk: int) -> FilePlace:
    return FilePlace() if last is None else last.following(files_per_chunk)
