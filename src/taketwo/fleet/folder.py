"""The folder of a run, held against other commands."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Self

from taketwo.errors import ConfigError, TakeTwoError
from taketwo.fleet.episodes import Episodes
from taketwo.fleet.plan import PLAN
from taketwo.fleet.worker import EPISODES, WORK
from taketwo.recording.naming import cannot_write, make_folder

LOCK = "lock"
LEDGER = "ledger.sqlite"
LOGS = "logs"


OF_A_BEGINNING = {LOCK, f".{PLAN}.new"}
"""What a command that was killed before it had written its plan may leave."""


def check_new(folder: Path) -> None:
    """See that a folder without a plan has nothing of anybody else's.

    Raises:
        ConfigError: it has.
    """
    try:
        found = sorted(entry.name for entry in folder.iterdir() if entry.name not in OF_A_BEGINNING)
    except OSError:  # it is not there, or is refused when it is taken
        return
    if found:
        raise ConfigError(
            f"--output_dir: {folder} has files, such as {found[0]}, and no {PLAN}, so it is not the folder of a run: "
            "give a new or an empty one"
        )


class RunFolder:
    """Held by the command that runs its trials; the system frees it when the process dies, however it does.

    Attributes:
        root: the folder.
        episodes: its finished trials.
    """

    def __init__(self, root: Path) -> None:
        """Take it.

        Raises:
            TakeTwoError: another process has it.
            RecordingError: it cannot be written.
        """
        self.root = root.absolute()
        self.episodes = Episodes(self.root / EPISODES)
        make_folder(self.root)
        path = self.root / LOCK
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._lock, 32).decode(errors="replace").strip() or "another"
            os.close(self._lock)
            raise TakeTwoError(f"{root} is being run by process {holder}: wait for it, or stop it first") from error
        except OSError as error:  # a file system without locks
            os.close(self._lock)
            raise cannot_write(path, error) from error
        self._note_holder(path)

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.root / LEDGER

    @property
    def logs(self) -> Path:
        """Folder of what workers print."""
        return self.root / LOGS

    @property
    def work(self) -> Path:
        """Folder of what is under way."""
        return self.root / WORK

    def clear_work(self) -> None:
        """Remove what was under way when a command ended.

        It is moved away as a whole first, so that a worker which outlives its command finds nothing to make done.
        """
        removed = self.root / f".{WORK}.old"
        shutil.rmtree(removed, ignore_errors=True)
        with suppress(OSError):
            self.work.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def release(self) -> None:
        """Give it back."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _note_holder(self, path: Path) -> None:
        try:
            os.ftruncate(self._lock, 0)
            os.write(self._lock, str(os.getpid()).encode())
        except OSError as error:
            self.release()
            raise cannot_write(path, error) from error
