"""Many small files to few large ones, by copying: rows, episodes, notes and videos, all in one change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taketwo.datasets.catalog import Catalog
from taketwo.datasets.layout import FilePlace, data_path, episodes_path, notes_path, video_path
from taketwo.datasets.metadata import EpisodeEntry, VideoSpan, load_episodes
from taketwo.datasets.parquet_files import reading_parquet, row_groups
from taketwo.datasets.transaction import Transaction, link_or_copy
from taketwo.datasets.video_files import join_videos, video_kind
from taketwo.errors import DatasetError
from taketwo.recording.naming import cannot_write

ROW_GROUP_BYTES = 16_000_000
"""Rows that are written, and later read, at once."""

MEGABYTE = 1024**2


@dataclass(frozen=True)
class Group:
    """Files that become one.

    Attributes:
        sources: one after the other.
        target: the place of the one.
    """

    sources: tuple[FilePlace, ...]
    target: FilePlace

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self.sources != (self.target,)


def pack(root: Path, catalog: Catalog, episodes: slice = slice(None)) -> Catalog:
    """Join the files of some episodes, which no other episodes share, up to the sizes that `info.json` names.

    Raises:
        DatasetError: a file is damaged.
        RecordingError: the disk does not take it. In both cases the dataset is as it was.
    """
    entries = load_episodes(root, catalog.info)[episodes]
    if not entries:
        return replace(catalog, loose=0)
    transaction = Transaction(root)
    try:
        packed, removed = _stage(transaction, root, catalog, entries)
    except BaseException:
        transaction.cancel()
        raise
    transaction.commit(removed)
    return packed


def _stage(
    transaction: Transaction, root: Path, catalog: Catalog, entries: Sequence[EpisodeEntry]
) -> tuple[Catalog, list[str]]:
    info = catalog.info
    size = info.chunks_size
    data = _plan(root, data_path, (entry.data for entry in entries), _schema_of, info.data_files_size_in_mb, size)
    meta = _plan(root, episodes_path, (entry.meta for entry in entries), _schema_of, info.data_files_size_in_mb, size)
    for group in _changed(data):
        _join_parquet(root, transaction, data_path, group)
    videos: dict[str, list[Group]] = {}
    starts: dict[str, dict[FilePlace, float]] = {}
    for key in info.videos:
        path = _video_paths(key)
        places = (entry.videos[key].place for entry in entries)
        videos[key] = _plan(root, path, places, video_kind, info.video_files_size_in_mb, size)
        starts[key] = {}
        for group in _changed(videos[key]):
            starts[key] |= _join_videos(root, transaction, path, group)
    moved = [_moved(entry, data, meta, videos, starts) for entry in entries]
    _stage_meta(root, transaction, meta, entries, moved)
    packed = replace(
        catalog,
        data=data[-1].target.following(size),
        meta=meta[-1].target.following(size),
        videos={key: groups[-1].target.following(size) for key, groups in videos.items()},
        loose=0,
    )
    removed = [
        path(place)
        for path, groups in (
            (data_path, data),
            (episodes_path, meta),
            (notes_path, meta),
            *((_video_paths(key), groups) for key, groups in videos.items()),
        )
        for group in _changed(groups)
        for place in group.sources
    ]
    return packed, removed


def _video_paths(key: str) -> Callable[[FilePlace], str]:
    return lambda place: video_path(key, place)


def _changed(groups: Iterable[Group]) -> Iterator[Group]:
    return (group for group in groups if group.changes)


def _plan(
    root: Path,
    path: Callable[[FilePlace], str],
    places: Iterable[FilePlace],
    kind: Callable[[Path], Any],
    limit_mb: float,
    files_per_chunk: int,
) -> list[Group]:
    """Neighbours of one kind that are small enough together, numbered from the first one's place on."""
    groups: list[list[FilePlace]] = []
    total = 0.0
    last_kind: Any = None
    ordered = list(dict.fromkeys(places))
    for place in ordered:
        file = root / path(place)
        try:
            size = file.stat().st_size
        except OSError as error:
            raise DatasetError(f"{file} cannot be read: {error.strerror}") from error
        this_kind = kind(file)
        if groups and this_kind == last_kind and total + size <= limit_mb * MEGABYTE:
            groups[-1].append(place)
            total += size
        else:
            groups.append([place])
            total, last_kind = size, this_kind
    target = ordered[0]
    numbered = []
    for sources in groups:
        numbered.append(Group(tuple(sources), target))
        target = target.following(files_per_chunk)
    return numbered


def _schema_of(path: Path) -> pa.Schema:
    with reading_parquet(path):
        return pq.read_schema(path).remove_metadata()


def _join_parquet(root: Path, transaction: Transaction, path: Callable[[FilePlace], str], group: Group) -> None:
    sources = [root / path(place) for place in group.sources]
    target = transaction.stage(path(group.target))
    if len(sources) == 1:
        _link(sources[0], target)
    else:
        write_row_groups(target, (table for source in sources for table in row_groups(source)))


def write_row_groups(target: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema as one file, in row groups of a good size.

    Raises:
        RecordingError: the disk does not take it.
    """
    writer: pq.ParquetWriter | None = None
    pending: list[pa.Table] = []
    pending_bytes = 0
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(target, table.schema, compression="snappy")
            pending.append(table)
            pending_bytes += table.nbytes
            if pending_bytes >= ROW_GROUP_BYTES:
                writer.write_table(pa.concat_tables(pending))
                pending, pending_bytes = [], 0
        if writer is not None:
            if pending:
                writer.write_table(pa.concat_tables(pending))
            writer.close()
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()


def _join_videos(
    root: Path, transaction: Transaction, path: Callable[[FilePlace], str], group: Group
) -> dict[FilePlace, float]:
    """Returns by source the time in seconds at which it begins in the new file."""
    sources = [root / path(place) for place in group.sources]
    target = transaction.stage(path(group.target))
    if len(sources) == 1:
        _link(sources[0], target)
        return {group.sources[0]: 0.0}
    starts = join_videos(sources, target)
    return {place: float(start) for place, start in zip(group.sources, starts, strict=True)}


def _link(source: Path, target: Path) -> None:
    try:
        link_or_copy(source, target)
    except OSError as error:
        raise cannot_write(target, error) from error


def _moved(
    entry: EpisodeEntry,
    data: Sequence[Group],
    meta: Sequence[Group],
    videos: Mapping[str, Sequence[Group]],
    starts: Mapping[str, Mapping[FilePlace, float]],
) -> EpisodeEntry:
    spans = {}
    for key, span in entry.videos.items():
        start = starts[key].get(span.place, 0.0)
        spans[key] = VideoSpan(_target(videos[key], span.place), start + span.start_s, start + span.end_s)
    return replace(entry, data=_target(data, entry.data), meta=_target(meta, entry.meta), videos=spans)


def _target(groups: Sequence[Group], place: FilePlace) -> FilePlace:
    return next(group.target for group in groups if place in group.sources)


def _stage_meta(
    root: Path,
    transaction: Transaction,
    groups: Sequence[Group],
    entries: Sequence[EpisodeEntry],
    moved: Sequence[EpisodeEntry],
) -> None:
    """The files of episodes, with the new places in them, and the notes beside them."""
    now = {entry.index: entry for entry in moved}
    changed_files = {entry.meta for entry in entries if now[entry.index] != entry}
    for group in groups:
        if not group.changes and not changed_files.intersection(group.sources):
            continue
        tables = (table for place in group.sources for table in row_groups(root / episodes_path(place)))
        write_row_groups(transaction.stage(episodes_path(group.target)), (_with_places(table, now) for table in tables))
        notes = [root / notes_path(place) for place in group.sources]
        text = "".join(file.read_text(encoding="utf-8") for file in notes if file.exists())
        if text:
            transaction.write(notes_path(group.target), text)


def _with_places(table: pa.Table, entries: Mapping[int, EpisodeEntry]) -> pa.Table:
    """A table of episodes with the places that they have now."""
    rows = [replace(entries[index], stats={}).to_row() for index in table["episode_index"].to_pylist()]
    for name in rows[0]:
        number = table.schema.get_field_index(name)
        if number >= 0:
            field = table.schema.field(number)
            table = table.set_column(number, field, pa.array([row[name] for row in rows], field.type))
    return table
