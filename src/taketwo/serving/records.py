"""Recording what a policy server is asked and what it answers.

A recording is a folder of files `inferences-<UTC time>-<number>.msgpack`. In the order of their names they hold
the records in the order in which things happened. A file is MessagePack maps, one after the other and nothing
between them, so any MessagePack library reads it:

    with open(path, "rb") as file:
        for record in msgpack.Unpacker(file, max_buffer_size=0):
            print(record["kind"], record.get("client"))

Each record has a `kind` and a `time` in Unix seconds. A file begins with one of kind `server`:

    server         taketwo (version), policy and env (their options), default_prompt; its time is that of the
                   server's start, the same in all files of a run
    connected      client (a number, from the server's start on), address
    disconnected   client, address
    inference      client, request and response (the bytes of the two messages as they were on the wire, in
                   openpi's format), prompt_used, prompt_source, queue_ms, infer_ms, batch_size
    reset          client, index, seed
    error          client, request (bytes, or nil where it was not read), message
    dropped        count: so many records are missing here, because they came faster than they could be written

Files are made with the permissions that the umask leaves. They hold the robots' pictures: a folder that others
must not look into is made so beforehand (`chmod 700`). Nothing is synchronised with the disk before it has to be:
a killed server loses nothing that was written, a power cut may cost the last seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taketwo.errors import ConfigError, RecordingError
from taketwo.recording.naming import cannot_write, make_folder
from taketwo.wire.protocol import encode

log = logging.getLogger(__name__)

FILE_BYTES = 64 * 1024**2
"""A file that would grow beyond this is followed by the next one."""

FILES_AT_LEAST = 4
"""A recording is never in fewer files than this when it is full, so that making room costs a quarter of it at most."""

SMALLEST_BYTES = 1_000_000

QUEUE_BYTES = 64_000_000
QUEUE_RECORDS = 10_000
"""What waits for the disk at most; beyond either, records are dropped."""

GOODBYE_S = 10.0
"""How long closing waits for the disk to take what is left."""

FILE_NAME = re.compile(r"inferences-(?P<stamp>\d{8}T\d{6}Z)-(?P<number>\d{6,})\.msgpack")

LOCK = ".lock"


def record_files(folder: Path) -> list[Path]:
    """The files of a recording, the oldest first.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted((path for path in folder.iterdir() if FILE_NAME.fullmatch(path.name)), key=_order)


class RecordWriter:
    """Writes records on a thread of its own; whoever puts them in neither waits nor fails.

    Whatever keeps the disk from taking more ends the recording and not the server: it is told once, as a warning,
    and in `failed`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        header: Mapping[str, Any],
        file_bytes: int = FILE_BYTES,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        """Take the folder, which is made where it is missing. The first record makes the first file.

        Args:
            max_bytes: bound for all files in the folder, those of earlier servers too; the oldest go first.
            header: what each file begins with, a record of kind `server`.
            file_bytes: a new file is begun before one passes this, or a quarter of `max_bytes`.
            queue_bytes: bound for what waits for the disk.

        Raises:
            ConfigError: `max_bytes` is less than a million.
            RecordingError: the folder cannot be written, or another server records into it.
            ValueError: the header has no place in MessagePack.
        """
        if max_bytes < SMALLEST_BYTES:
            raise ConfigError(f"max_bytes must be {SMALLEST_BYTES} or more, not {max_bytes}")
        start = time.time()
        first = encode({"kind": "server", **header, "time": start})
        self._files = _Files(folder, first, start, max_bytes, min(file_bytes, max_bytes // FILES_AT_LEAST))
        self._longest = min(queue_bytes, max_bytes - len(first))
        self._queue_bytes = queue_bytes
        self._queue: deque[tuple[Mapping[str, Any], int]] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._untold = 0  # dropped since the last record of kind `dropped`
        self._closing = False
        self._failed: str | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many records were not written, for want of room or because the recording had failed."""
        return self._dropped

    @property
    def failed(self) -> str | None:
        """Why nothing is recorded any more, in one line; None while all is well."""
        return self._failed

    def put(self, record: Mapping[str, Any]) -> None:
        """Hand over a record, which must not be changed afterwards. From any thread; never waits and never fails."""
        size = _size_of(record)
        with self._changed:
            fits = (
                size <= self._longest
                and self._waiting_bytes + size <= self._queue_bytes
                and len(self._queue) < QUEUE_RECORDS
            )
            if fits and self._failed is None and not self._closing:
                self._tell_dropped()
                self._append(record, size)
                return
            self._dropped += 1
            self._untold += 1
            warns = self._dropped == 1 and not self._closing
        if warns:
            log.warning(
                "%s does not take inferences as fast as they come: some are not recorded; a faster disk or "
                "smaller pictures help",
                self._files.folder,
            )

    def close(self) -> None:
        """Write what is left, and give the folder free. Safe to call twice."""
        with self._changed:
            if not self._closing and self._failed is None:
                self._tell_dropped()
            self._closing = True
            self._changed.notify()
        self._thread.join(GOODBYE_S)
        if self._thread.is_alive():
            log.warning("%s: %d inferences were not written in time", self._files.folder, len(self._queue))

    def _tell_dropped(self) -> None:
        if self._untold:
            record = {"kind": "dropped", "time": time.time(), "count": self._untold}
            self._append(record, _size_of(record))
            self._untold = 0

    def _append(self, record: Mapping[str, Any], size: int) -> None:
        self._queue.append((record, size))
        self._waiting_bytes += size
        self._changed.notify()

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._closing)
                    if not self._queue:
                        return
                    record, size = self._queue.popleft()
                self._files.append(encode(record))
                with self._changed:
                    self._waiting_bytes -= size
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on
            self._fail(error)
        finally:
            self._files.close()

    def _fail(self, error: Exception) -> None:
        reason = str(cannot_write(self._files.path, error))
        with self._changed:
            self._failed = reason
            self._dropped += 1 + len(self._queue)
            self._queue.clear()
        log.warning("inferences are no longer recorded: %s; then start the server again. It goes on without", reason)


class _Files:
    """The files of a recording, the newest of which is appended to. For one thread at a time."""

    def __init__(self, folder: Path, header: bytes, start: float, max_bytes: int, file_bytes: int) -> None:
        make_folder(folder)
        self.folder = folder
        self.path = folder
        self._lock: int | None = _locked(folder)
        self._header = header
        self._max_bytes = max_bytes
        self._file_bytes = file_bytes
        self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(start))
        self._file: int | None = None
        self._size = 0

    def append(self, data: bytes) -> None:
        """Write a record, into a new file where it does not fit into this one.

        Raises:
            OSError: it cannot be written; of this record, nothing is.
        """
        full = self._size + len(data) > self._file_bytes and self._size > len(self._header)
        if self._file is None or full or os.fstat(self._file).st_nlink == 0:  # without a name: somebody removed it
            self._begin(len(data))
        self._write(data)

    def close(self) -> None:
        """Close the file and give the folder free. Safe to call twice."""
        self._end()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _begin(self, coming: int) -> None:
        self._end()
        files = record_files(self.folder)
        self._make_room(files, max(self._file_bytes, len(self._header) + coming))
        self.path = self.folder / self._next_name(files)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._size = 0
        self._write(self._header)

    def _next_name(self, files: list[Path]) -> str:
        """A name after all that are there, also where the clock was set back."""
        newest = FILE_NAME.fullmatch(files[-1].name) if files else None
        number = 1
        if newest and newest["stamp"] >= self._stamp:
            self._stamp, number = newest["stamp"], int(newest["number"]) + 1
        return f"inferences-{self._stamp}-{number:06d}.msgpack"

    def _make_room(self, files: list[Path], room: int) -> None:
        sizes = [path.stat().st_size for path in files]
        total = sum(sizes) + room
        for path, size in zip(files, sizes, strict=True):
            if total <= self._max_bytes:
                return
            path.unlink()
            total -= size

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _end(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _locked(folder: Path) -> int:
    """The folder's lock, held until it is closed; the system frees it when the process dies, however it does.

    Raises:
        RecordingError: another process has it, or the folder cannot be written.
    """
    path = folder / LOCK
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if isinstance(error, BlockingIOError):
            raise RecordingError(f"another server records into {folder}: give this one a folder of its own") from error
        raise cannot_write(path, error) from error
    return file


def _order(path: Path) -> tuple[str, int]:
    match = FILE_NAME.fullmatch(path.name)
    assert match is not None
    return match["stamp"], int(match["number"])


def _size_of(record: Mapping[str, Any]) -> int:
    """Not less than what a flat record takes, without encoding it."""
    size = 64
    for key, value in record.items():
        size += 32 + len(key)
        if isinstance(value, bytes | bytearray | memoryview):
            size += len(value)
        elif isinstance(value, str):
            size += 4 * len(value)
    return size
