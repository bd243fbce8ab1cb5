"""One writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from taketwo.datasets.layout import TAKES, WORK
from taketwo.errors import DatasetError
from taketwo.recording.naming import cannot_write


class DatasetLock:
    """Held by whoever changes a dataset; the system frees it when the process dies, however it does."""

    def __init__(self, root: Path) -> None:
        """Take it.

        Raises:
            DatasetError: another process has it.
            RecordingError: the folder cannot be written.
        """
        self._root = root
        self._path = root / WORK / "lock"
        while True:
            self._file = self._open()
            self._hold()
            if self._is_the_one():
                break
            os.close(self._file)  # the one before removed it between our opening and our holding it
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        """Give it back, and remove what of its folders is empty."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            for folder in (self._root / TAKES, self._path.parent, self._root):
                if folder.exists():
                    folder.rmdir()
        os.close(self._file)

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip()
            os.close(self._file)
            who = f"process {holder}" if holder else "another process"
            raise DatasetError(
                f"{self._root} is being written by {who}: wait for it, or record under another --dataset.repo_id"
            ) from error
        except OSError as error:  # a file system without locks
            os.close(self._file)
            raise cannot_write(self._path, error) from error

    def _is_the_one(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False
