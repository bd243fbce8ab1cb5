"""Changes of several files that happen as a whole or not at all, also when the process dies in between.

New files are written into a folder of their own. A list of where they go, and of what they replace, is then
put down in one move, and carried out. The next writer that finds such a list carries it out to its end, and
removes files without a list; readers refuse until then. A file that is there is replaced by renaming, never
written into.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from taketwo.datasets.layout import WORK
from taketwo.errors import DatasetError
from taketwo.recording.naming import cannot_write, replace_durably

LIST = f"{WORK}/commit.json"
STAGED = f"{WORK}/commit"


class Transaction:
    """One change of a dataset, by the holder of its lock."""

    def __init__(self, root: Path) -> None:
        """The dataset does not change until `commit`. What a process that died had staged is removed."""
        assert not commit_pending(root), "what is staged belongs to a change that has to be finished"
        self._root = root
        self._put: list[str] = []
        shutil.rmtree(root / STAGED, ignore_errors=True)

    def stage(self, relative: str) -> Path:
        """Where to write the file that shall be `relative` in the dataset.

        Raises:
            RecordingError: its folder cannot be made.
        """
        path = self._root / STAGED / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        self._put.append(relative)
        return path

    def write(self, relative: str, content: str) -> None:
        """Stage a text.

        Raises:
            RecordingError: the disk does not take it.
        """
        path = self.stage(relative)
        try:
            path.write_text(content, encoding="utf-8", errors="backslashreplace")  # as JSON escapes half a character
        except OSError as error:
            raise cannot_write(path, error) from error

    def commit(self, remove: Iterable[str] = ()) -> None:
        """Make the change, and remove files or folders that it makes superfluous.

        Raises:
            RecordingError: the disk does not take it; the dataset is as it was.
        """
        staged = set(self._put)
        plan = {"put": self._put, "remove": [relative for relative in remove if relative not in staged]}
        written = self._root / STAGED / "commit.json"
        try:
            for relative in self._put:
                with (self._root / STAGED / relative).open("rb") as file:
                    os.fsync(file.fileno())
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(plan), encoding="utf-8")
            replace_durably(written, self._root / LIST)
        except OSError as error:
            self.cancel()
            raise cannot_write(self._root, error, "The dataset is as it was before") from error
        finish_commit(self._root)

    def cancel(self) -> None:
        """Forget what was staged."""
        shutil.rmtree(self._root / STAGED, ignore_errors=True)


def commit_pending(root: Path) -> bool:
    """Whether a change was interrupted half-way, and has to be finished."""
    return (root / LIST).exists()


def refuse_pending(root: Path) -> None:
    """For readers, which cannot finish a change.

    Raises:
        DatasetError: there is one.
    """
    if commit_pending(root):
        raise DatasetError(
            f"{root} is in the middle of a change: try again, or if nothing writes it any more, run taketwo dataset "
            f"repair {root}"
        )


def finish_commit(root: Path) -> None:
    """Carry out the list that is there; what of it is done already is not done again.

    Raises:
        DatasetError: the list is damaged.
        RecordingError: the disk does not take it; it can be tried again.
    """
    path = root / LIST
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        put, remove = plan["put"], plan["remove"]
        for relative in (*put, *remove):  # a dataset from elsewhere may bring a list that reaches outside of it
            parts = PurePosixPath(relative).parts
            if not parts or PurePosixPath(relative).is_absolute() or ".." in parts:
                raise ValueError(f"{relative} is not inside of the dataset")
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    folders = set()
    try:
        for relative in put:
            staged, target = root / STAGED / relative, root / relative
            if staged.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _move(staged, target)
                folders.add(target.parent)
        for relative in remove:
            _remove(root / relative)
        for folder in folders:
            _sync_folder(folder)
        path.unlink()
    except OSError as error:
        raise cannot_write(root, error, f"Nothing is lost; go on with: taketwo dataset repair {root}") from error
    shutil.rmtree(root / STAGED, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system has no such thing.

    Raises:
        OSError: neither works.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _move(staged: Path, target: Path) -> None:
    """Rename; where a folder of the dataset lies on another disk, by way of a copy there."""
    try:
        staged.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = target.with_name(f".{target.name}.new")
        shutil.copyfile(staged, copy)
        replace_durably(copy, target)
        staged.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Names too reach the disk only when their folder does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
