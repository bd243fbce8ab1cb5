"""Rows of one episode out of a Parquet file of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taketwo.datasets.features import Feature
from taketwo.datasets.parquet_files import reading_parquet
from taketwo.errors import DatasetError, one_line

EPISODE, FRAME = "episode_index", "frame_index"

ROWS_AT_ONCE, PICTURES_AT_ONCE = 4096, 8
BUFFER_BYTES = 1 << 18
"""How much is in memory of a file while an episode is looked for: many files, such as those that LeRobot converted,
have a single row group with all their episodes."""


class RowFile:
    """One data file. Row groups that cannot hold an episode are not read."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            DatasetError: it is missing or damaged.
        """
        self.path = path
        with reading_parquet(path):
            self._file = pq.ParquetFile(path, buffer_size=BUFFER_BYTES)
            self.columns = frozenset(self._file.schema_arrow.names)
            self._episodes = _Ranges.of(self._file.metadata, EPISODE)
            self._frames = _Ranges.of(self._file.metadata, FRAME)
        self._scan: _Scan | None = None

    def rows(self, episode: int, length: int, columns: Sequence[str]) -> pa.Table:
        """The rows of an episode.

        Episodes that are asked for in their order are found in one pass over the file.

        Args:
            length: how many there must be.
            columns: which; all of them must be in the file.

        Raises:
            DatasetError: the file is damaged, lacks a column, or has another number of rows.
        """
        self._check(columns)
        groups, wanted = self._episodes.having(episode), tuple(dict.fromkeys((*columns, EPISODE)))
        with reading_parquet(self.path):
            scan, self._scan = self._scan, None  # one that fails is not used again
            found = scan.take(episode) if scan is not None and (scan.groups, scan.columns) == (groups, wanted) else []
            if not found:
                scan = _Scan(self._file, groups, wanted)
                found = scan.take(episode)
            self._scan = scan
        rows = sum(part.num_rows for part in found)
        if rows != length:
            raise DatasetError(f"{self.path} has {rows} rows of episode {episode}, and there should be {length}")
        return pa.Table.from_batches(found) if found else self._file.schema_arrow.empty_table()

    def pictures(self, episode: int, column: str, first: int) -> Iterator[bytes]:
        """The encoded pictures of an episode from row `first` on, in order; few are in memory at a time.

        The file may be closed meanwhile.

        Raises:
            DatasetError: the file is damaged, or lacks them.
        """
        self._check([column, FRAME])
        with reading_parquet(self.path):
            groups = [group for group in self._episodes.having(episode) if self._frames.high[group] >= first]
            with pq.ParquetFile(self.path, metadata=self._file.metadata, buffer_size=BUFFER_BYTES) as file:
                for batch in file.iter_batches(PICTURES_AT_ONCE, row_groups=groups, columns=[EPISODE, FRAME, column]):
                    mine = (_numbers(batch, EPISODE) == episode) & (_numbers(batch, FRAME) >= first)
                    for picture in batch.column(column).filter(pa.array(mine)).to_pylist():
                        yield (picture and picture["bytes"]) or b""

    def ever_true(self, column: str) -> dict[int, bool]:
        """Whether a column of truth values is true in some row, by episode.

        Raises:
            DatasetError: the file is damaged, or lacks it.
        """
        self._check([column])
        with reading_parquet(self.path):
            table = self._file.read([EPISODE, column])
        episodes, holds = (table.column(name).to_numpy().astype(np.int64) for name in (EPISODE, column))
        true = set(episodes[holds != 0].tolist())
        return {episode: episode in true for episode in np.unique(episodes).tolist()}

    def close(self) -> None:
        """Close the file."""
        self._scan = None
        self._file.close(force=True)

    def _check(self, columns: Sequence[str]) -> None:
        if missing := [column for column in (*columns, EPISODE) if column not in self.columns]:
            raise DatasetError(f"{self.path} has no column {missing[0]!r}")


class _Scan:
    """A pass over row groups that takes out episodes; few rows are in memory at a time."""

    def __init__(self, file: pq.ParquetFile, groups: list[int], columns: tuple[str, ...]) -> None:
        self.groups = groups
        self.columns = columns
        self._batches = file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=list(columns))
        self._rest: pa.RecordBatch | None = None

    def take(self, episode: int) -> list[pa.RecordBatch]:
        """The rows of an episode; none where it does not follow the one that was taken last."""
        found: list[pa.RecordBatch] = []
        while (batch := self._next()) is not None:
            mine = np.flatnonzero(_numbers(batch, EPISODE) == episode)
            if mine.size:
                found.append(batch.take(pa.array(mine)))
            end = int(mine[-1]) + 1 if mine.size else 0
            if found and end < batch.num_rows:
                self._rest = batch.slice(end)
                break
        return found

    def _next(self) -> pa.RecordBatch | None:
        batch, self._rest = self._rest, None
        return batch if batch is not None else next(self._batches, None)


def to_numpy(column: pa.ChunkedArray, feature: Feature, where: str) -> NDArray[Any]:
    """A column as (T,) where a row has one number, else (T, n), in the type of its feature.

    Raises:
        DatasetError: it holds something else.
    """
    length = len(column)
    values = column.combine_chunks()
    try:
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks)
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        while (
            pa.types.is_list(values.type)
            or pa.types.is_fixed_size_list(values.type)
            or pa.types.is_large_list(values.type)
        ):
            values = values.flatten()
        flat = np.asarray(values.to_numpy(zero_copy_only=False), np.dtype(feature.dtype))
        return flat.reshape(length if feature.shape == (1,) else (length, *feature.shape))
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise DatasetError(f"{where} is not {feature.dtype} {list(feature.shape)}: {one_line(error)}") from error


@dataclass(frozen=True)
class _Ranges:
    """(G,) smallest and (G,) largest value of a column in each row group."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def of(cls, metadata: Any, column: str) -> _Ranges:
        """As the file has it; where it does not tell, any may be there."""
        groups = metadata.num_row_groups
        low, high = np.zeros(groups, np.int64), np.full(groups, np.iinfo(np.int64).max)
        # Names out of `metadata.schema` would tie it to itself, and keep it in memory after the file is closed.
        numbers = range(metadata.num_columns if groups else 0)
        names = [metadata.row_group(0).column(number).path_in_schema for number in numbers]
        if column in names:
            number = names.index(column)
            for group in range(groups):
                statistics = metadata.row_group(group).column(number).statistics
                if statistics is not None and statistics.has_min_max:
                    low[group], high[group] = statistics.min, statistics.max
        return cls(low, high)

    def having(self, value: int) -> list[int]:
        """The row groups that may have it."""
        return [int(group) for group in np.flatnonzero((self.low <= value) & (value <= self.high))]


def _numbers(batch: pa.RecordBatch, column: str) -> NDArray[np.int64]:
    return np.asarray(batch.column(column), np.int64)
