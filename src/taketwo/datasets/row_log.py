"""Rows on the disk as they come: a file that is only appended to, and readable up to where its writer died."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from taketwo.recording.naming import cannot_write


class RowLog:
    """Appends rows to a file in Arrow's streaming format, in batches.

    Attributes:
        rows: how many were added.
    """

    def __init__(self, path: Path, schema: pa.Schema, batch_rows: int) -> None:
        """Begin a new file.

        Args:
            batch_rows: rows that are handed to the operating system at once; a killed process loses fewer than these.

        Raises:
            RecordingError: the file cannot be written, or is there already.
        """
        self.rows = 0
        self._path = path
        self._schema = schema
        self._batch_rows = batch_rows
        self._pending: list[Mapping[str, Any]] = []
        try:
            self._file = path.open("xb", buffering=0)
            self._writer = pa.ipc.new_stream(self._file, schema)
        except OSError as error:
            raise cannot_write(path, error) from error

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row: every column of the schema, as Python or NumPy values.

        Raises:
            RecordingError: the disk does not take it; the batches before are safe.
        """
        self._pending.append(row)
        self.rows += 1
        if len(self._pending) >= self._batch_rows:
            self._flush()

    def close(self) -> None:
        """Write what is left.

        Raises:
            RecordingError: the disk does not take it.
        """
        if self._file.closed:
            return
        try:
            self._flush()
            self._writer.close()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        finally:
            self._file.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        columns = {name: [row[name] for row in self._pending] for name in self._schema.names}
        self._pending.clear()
        try:
            self._writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=self._schema))
        except OSError as error:
            raise cannot_write(self._path, error) from error


def read_row_log(path: Path) -> pa.Table:
    """Every whole batch of a file that `RowLog` wrote, also of one that was cut off in the middle.

    Raises:
        OSError: it cannot be read.
        pa.ArrowInvalid: not even its header is whole.
    """
    with path.open("rb") as file:
        reader = pa.ipc.open_stream(file)
        return pa.Table.from_batches(_whole_batches(reader), reader.schema)


def row_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The same, batch by batch."""
    with path.open("rb") as file:
        yield from _whole_batches(pa.ipc.open_stream(file))


def _whole_batches(reader: pa.ipc.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            yield reader.read_next_batch()
        except (StopIteration, pa.ArrowInvalid, OSError):  # the end, or the middle of a batch
            return
