"""Reading recorded inferences, record by record; `taketwo.serving.records` describes the files."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np

from taketwo.errors import TakeTwoError
from taketwo.serving.records import record_files
from taketwo.types import FloatArray
from taketwo.wire.protocol import decode

log = logging.getLogger(__name__)

Record = Mapping[str, Any]

NUMBER = (int, float)

FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "server": {"time": NUMBER, "policy": dict, "env": dict},
    "connected": {"time": NUMBER, "client": int},
    "disconnected": {"time": NUMBER, "client": int},
    "inference": {
        "time": NUMBER,
        "client": int,
        "request": bytes,
        "response": bytes,
        "queue_ms": NUMBER,
        "infer_ms": NUMBER,
        "batch_size": int,
    },
    "reset": {"time": NUMBER, "client": int, "index": int, "seed": int},
    "error": {"time": NUMBER, "client": int, "message": str},
    "dropped": {"time": NUMBER, "count": int},
}
"""What records of a kind have at least. Records of other kinds, from later versions, are passed over by who reads."""


class RecordsError(TakeTwoError):
    """Recorded inferences cannot be read."""


@dataclass(frozen=True)
class Run:
    """What one server recorded.

    Attributes:
        header: its record of kind `server`.
        records: the others, in order; to be read before the next run is.
    """

    header: Record
    records: Iterator[Record]


def recording_files(path: Path) -> list[Path]:
    """The files of a recording, the oldest first; a file is its own.

    Raises:
        RecordsError: there is none.
    """
    if path.is_file():
        return [path]
    try:
        files = record_files(path)
    except OSError as error:
        raise RecordsError(f"cannot read {path}: {error.strerror}") from error
    if not files:
        raise RecordsError(f"no inferences are recorded in {path}: give the folder that taketwo serve --record had")
    return files


def read_records(path: Path) -> Iterator[Record]:
    """The records of a folder or a file, in order; every file's first one is of kind `server`.

    Only what is there at the beginning is read: a server that is asked what it has recorded, and records it again,
    would be asked without end. A record at the end of a file that was cut off, as by a kill, is left out, with a
    warning. A file that a running server removes meanwhile, to make room, is passed over.

    Raises:
        RecordsError: there are none, or a file is not what it should be.
    """
    for file, size in [(file, _size_of(file)) for file in recording_files(path)]:
        try:
            with file.open("rb") as opened:
                yield from _records_in(opened, file, size)
        except FileNotFoundError:
            log.warning("%s was removed while it was read", file)
        except OSError as error:
            raise RecordsError(f"cannot read {file}: {error.strerror}") from error


def read_runs(path: Path) -> Iterator[Run]:
    """The same, by the server that recorded them.

    Raises:
        RecordsError: as for `read_records`.
    """
    newest: Record = {}

    def run_of(record: Record) -> float:
        nonlocal newest
        if record["kind"] == "server":
            newest = record
        return float(newest["time"])

    for _, records in itertools.groupby(read_records(path), run_of):
        yield _run(records)


def message_of(record: Record, part: str) -> Any:
    """The decoded `request` or `response` of an inference.

    Raises:
        RecordsError: it is none in the wire's format.
    """
    try:
        return decode(record[part])
    except ValueError as error:
        raise RecordsError(f"the {part} of an inference of client {record['client']} is damaged: {error}") from error


def actions_of(record: Record) -> FloatArray:
    """The (H, D) actions that an inference was answered with.

    Raises:
        RecordsError: there are none.
    """
    response = message_of(record, "response")
    actions = response.get("actions") if isinstance(response, dict) else None
    if not isinstance(actions, np.ndarray) or actions.ndim != 2 or actions.dtype.kind not in "iuf":
        raise RecordsError(f"the response of an inference of client {record['client']} is damaged: it has no actions")
    return actions.astype(np.float64)


def _run(records: Iterator[Record]) -> Run:
    header = next(records)
    return Run(header, (record for record in records if record["kind"] != "server"))


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # opening it will tell


def _records_in(opened: BinaryIO, file: Path, size: int) -> Iterator[Record]:
    for start, end in _places(opened, file, size):
        try:
            record = decode(os.pread(opened.fileno(), end - start, start))
        except ValueError as error:
            raise _not_a_record(file, start, str(error)) from error
        if start == 0 and not (isinstance(record, dict) and record.get("kind") == "server"):
            raise _not_a_record(file, start, "")
        yield _checked(record, file, start)


def _places(opened: BinaryIO, file: Path, size: int) -> Iterator[tuple[int, int]]:
    """Where each whole record begins and ends, in so many bytes of a file."""
    unpacker = msgpack.Unpacker(opened, max_buffer_size=0)
    start = 0
    while start < size:
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            break
        except (ValueError, msgpack.UnpackException) as error:
            raise _not_a_record(file, start, "no MessagePack") from error
        end = unpacker.tell()
        yield start, end
        start = end
    if start < size:
        log.warning("%s: its last record is cut off, as by a kill; %d bytes are left out", file, size - start)


def _checked(record: Any, file: Path, start: int) -> Record:
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise _not_a_record(file, start, "no record")
    for name, kind in FIELDS.get(record["kind"], {}).items():
        if not isinstance(record.get(name), kind):
            raise _not_a_record(file, start, f"a record of kind {record['kind']!r} without {name!r}")
    return record


def _not_a_record(file: Path, start: int, found: str) -> RecordsError:
    if start == 0:
        return RecordsError(f"{file} is no recording of taketwo serve: it does not begin as one does")
    return RecordsError(f"{file} is damaged at byte {start}: {found}; remove the file to read the others")
