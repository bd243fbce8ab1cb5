"""From a take to an episode of the dataset: its files in their places, and all that is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taketwo.datasets.catalog import Catalog
from taketwo.datasets.features import BOOKKEEPING, Feature, arrow_schema
from taketwo.datasets.layout import (
    INFO,
    STATS,
    TASKS,
    FilePlace,
    data_path,
    episodes_path,
    notes_path,
    trace_path,
    video_path,
)
from taketwo.datasets.metadata import EpisodeEntry, EpisodeNote, VideoSpan, episodes_table, tasks_table
from taketwo.datasets.packing import write_row_groups
from taketwo.datasets.row_log import read_row_log, row_batches
from taketwo.datasets.statistics import Statistics, of_column, plain_stats
from taketwo.datasets.take import ROWS, TASK, TRACE, picture_path
from taketwo.datasets.trace import write_trace
from taketwo.datasets.transaction import Transaction
from taketwo.datasets.video_files import copy_video
from taketwo.errors import DatasetError
from taketwo.recording.naming import cannot_write
from taketwo.recording.rate import exact_fps

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_ROWS = 32
"""Rows with pictures in them that are held in memory at once; readers too take them in such groups."""


def add_episode(
    root: Path,
    catalog: Catalog,
    take: Path,
    note: EpisodeNote,
    pictures: Mapping[str, Statistics],
    also: Mapping[str, str],
) -> Catalog:
    """Make a closed take the next episode; returns what the dataset holds then. The take is removed.

    Args:
        note: its `length` says how many of the take's rows count, the first ones.
        pictures: statistics of the cameras by column.
        also: further texts that the change puts down, by relative path.

    Raises:
        RecordingError: the disk does not take it; the dataset and the take are as they were.
        DatasetError: the take is damaged.
    """
    transaction = Transaction(root)
    try:
        table, tasks = _rows(catalog, take, note)
        stats = plain_stats({key: of_column(_as_array(table[key])) for key in table.column_names})
        entry = EpisodeEntry(
            index=note.index,
            tasks=tasks,
            length=note.length,
            data=catalog.data,
            first_row=catalog.info.total_frames,
            videos=_stage_videos(transaction, catalog, take, note.length),
            meta=catalog.meta,
            stats=stats | plain_stats(pictures),
        )
        after = catalog.after(entry)
        parts = _with_pictures(table, catalog.info.features, take)
        write_row_groups(transaction.stage(data_path(entry.data)), parts)
        write_parquet(episodes_table([entry]), transaction.stage(episodes_path(entry.meta)))
        transaction.write(notes_path(entry.meta), note.to_line())
        if note.traced:
            write_trace(take / TRACE, transaction.stage(trace_path(note.index)), note.length)
        stage_summary(transaction, after, catalog.tasks)
        for relative, text in also.items():
            transaction.write(relative, text)
    except BaseException:
        transaction.cancel()
        raise
    transaction.commit(remove=[str(take.relative_to(root))])
    return after


def stage_summary(transaction: Transaction, catalog: Catalog, tasks_before: Sequence[str] | None = None) -> None:
    """Stage `info.json`, `stats.json`, and the tasks where they are not what they were."""
    transaction.write(INFO, catalog.info.to_json())
    transaction.write(STATS, json.dumps(plain_stats(catalog.stats), indent=4))
    if tasks_before is None or tuple(tasks_before) != catalog.tasks:
        write_parquet(tasks_table(catalog.tasks), transaction.stage(TASKS))


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table as LeRobot's files are.

    Raises:
        RecordingError: the disk does not take it.
    """
    try:
        pq.write_table(table, path, compression="snappy")
    except OSError as error:
        raise cannot_write(path, error) from error


def _rows(catalog: Catalog, take: Path, note: EpisodeNote) -> tuple[pa.Table, tuple[str, ...]]:
    """The take's rows with bookkeeping, without pictures; and the tasks in them, in order of appearance."""
    info = catalog.info
    table = _read(take / ROWS, note.length)
    texts = table[TASK].to_pylist()
    tasks = tuple(dict.fromkeys(texts))
    number = {task: index for index, task in enumerate(dict.fromkeys((*catalog.tasks, *tasks)))}
    frames = np.arange(note.length)
    bookkeeping: dict[str, Any] = {
        "timestamp": (frames / info.fps).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full(note.length, note.index),
        "index": frames + info.total_frames,
        "task_index": np.array([number[text] for text in texts]),
    }
    numbers = {key: feature for key, feature in info.features.items() if not feature.is_camera}
    columns = [bookkeeping[key] if key in BOOKKEEPING else table[key] for key in numbers]
    return pa.table(columns, schema=arrow_schema(numbers)), tasks


def _with_pictures(rows: pa.Table, features: Mapping[str, Feature], take: Path) -> Iterator[pa.Table]:
    """The rows as they go into the file, in parts that are small also where pictures are in them."""
    schema = arrow_schema(features)
    images = {key: feature for key, feature in features.items() if feature.dtype == "image"}
    if not images:
        yield rows.cast(schema)
        return
    logs = {key: _pictures(picture_path(take, key, feature)) for key, feature in images.items()}
    for start in range(0, len(rows), IMAGE_ROWS):
        part = rows.slice(start, IMAGE_ROWS)
        pictures = {key: pa.array(islice(log, len(part)), schema.field(key).type) for key, log in logs.items()}
        for key, column in pictures.items():
            if len(column) < len(part):
                raise DatasetError(f"{take} has {start + len(column)} pictures of {key} and should have {len(rows)}")
        columns = [pictures[name] if name in pictures else part[name] for name in schema.names]
        yield pa.table(columns, schema=schema)


def _pictures(path: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in row_batches(path):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def _read(path: Path, rows: int) -> pa.Table:
    try:
        table = read_row_log(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    if len(table) < rows:
        raise DatasetError(f"{path} has {len(table)} rows and should have {rows}")
    return table.slice(0, rows)


def _as_array(column: pa.ChunkedArray) -> NDArray[Any]:
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        flat: NDArray[Any] = array.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(array), -1)
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def _stage_videos(transaction: Transaction, catalog: Catalog, take: Path, frames: int) -> dict[str, VideoSpan]:
    info = catalog.info
    spans = {}
    for key in info.videos:
        place = catalog.videos.get(key, FilePlace())
        source = picture_path(take, key, info.features[key])
        copy_video(source, transaction.stage(video_path(key, place)), frames)
        spans[key] = VideoSpan(place, 0.0, float(frames / exact_fps(info.fps)))
    return spans
