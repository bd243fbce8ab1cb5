"""From a take to an episode of the dataset: its files in their places, and all that is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taketwo.datasets.catalog import Catalog
from taketwo.datasets.features import BOOKKEEPING, arrow_schema
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
from taketwo.datasets.row_log import read_row_log
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
        numbers = {
            key: _as_array(table[key]) for key, feature in catalog.info.features.items() if not feature.is_camera
        }
        stats = {key: plain_stats({key: of_column(values)})[key] for key, values in numbers.items()}
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
        write_parquet(table, transaction.stage(data_path(entry.data)))
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
    """The take's rows with bookkeeping and pictures, and the tasks in them, in order of appearance."""
    info = catalog.info
    table = _read(take / ROWS, note.length)
    texts = table[TASK].to_pylist()
    tasks = tuple(dict.fromkeys(texts))
    number = {task: index for index, task in enumerate(dict.fromkeys((*catalog.tasks, *tasks)))}
    frames = np.arange(note.length)
    columns: dict[str, Any] = {
        "timestamp": (frames / info.fps).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.full(note.length, note.index),
        "index": frames + info.total_frames,
        "task_index": np.array([number[text] for text in texts]),
    }
    for key, feature in info.features.items():
        if key in BOOKKEEPING or feature.is_video:
            continue
        if feature.is_camera:
            columns[key] = _read(picture_path(take, key, feature), note.length).to_struct_array()
        else:
            columns[key] = table[key]
    schema = arrow_schema(info.features)
    return pa.table([columns[name] for name in schema.names], schema=schema), tasks


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
