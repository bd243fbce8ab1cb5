"""Parquet files read a piece at a time, and their errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taketwo.errors import DatasetError, one_line


@contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
    """Turn what fails while a file is read into one line.

    Raises:
        DatasetError: the body failed.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except KeyError as error:
        raise DatasetError(f"{path} is damaged: it has no column {error}") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is damaged: {one_line(error)}") from error


def row_groups(path: Path) -> Iterator[pa.Table]:
    """The pieces of a file, one in memory at a time.

    Raises:
        DatasetError: it is missing or damaged.
    """
    with reading_parquet(path), pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def row_count(path: Path) -> int:
    """Rows of a file.

    Raises:
        DatasetError: it is missing or damaged.
    """
    with reading_parquet(path):
        return int(pq.read_metadata(path).num_rows)
