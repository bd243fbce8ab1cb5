"""Names of recordings, and files that never replace one that is there."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

from taketwo.errors import RecordingError

LONGEST_NAME_BYTES = 120
"""Common file systems take 255 bytes; the rest is left to seed, counts and numbering."""

HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOTDIR: "choose a folder, not a file",
    errno.EEXIST: "choose a folder, not a file",
}


def cannot_write(path: Path, error: Exception, kept: str = "") -> RecordingError:
    """The error for a file that cannot be written, in one line: what, why, what to do.

    Args:
        kept: a sentence telling what of the recording is safe, and where.
    """
    code = getattr(error, "errno", None)
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    message = f"cannot write {path}: {why}; {HINTS.get(code or 0, 'choose another folder')}"
    return RecordingError(f"{message}. {kept}" if kept else message)


def safe_name(name: str) -> str:
    """`name` with nothing that a file system or a shell takes for something else: `ALE/Pong-v5` is `ALE_Pong-v5`."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("._-")
    return plain.encode()[:LONGEST_NAME_BYTES].decode(errors="ignore") or "session"


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        RecordingError: it cannot be made, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def reserve(folder: Path, stem: str, suffix: str) -> Path:
    """A new, empty file `stem` + `suffix`, or with `_2`, `_3`, ... before the suffix where the name is taken.

    Two processes that ask at the same time get different names.

    Raises:
        RecordingError: the folder cannot be written.
    """
    return _first_free(folder, stem, suffix, lambda path: path.touch(exist_ok=False))


def reserve_folder(folder: Path, name: str) -> Path:
    """A new folder in `folder`, numbered like `reserve` does.

    Raises:
        RecordingError: it cannot be made.
    """
    return _first_free(folder, name, "", lambda path: path.mkdir())


def move_into_place(written: Path, folder: Path, stem: str, suffix: str) -> Path:
    """Give a finished file its name, numbered like `reserve` does; whoever sees it there sees all of it.

    The bytes are on the disk before the name is.

    Raises:
        RecordingError: the folder cannot be written.
    """
    target = reserve(folder, stem, suffix)
    try:
        replace_durably(written, target)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise cannot_write(target, error) from error
    return target


def replace_durably(written: Path, target: Path) -> None:
    """`os.replace`, after the new content has reached the disk, so that a power cut leaves the old or the new.

    Raises:
        OSError: the disk does not take it.
    """
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(target)


def _numbered(stem: str, number: int, suffix: str) -> str:
    return f"{stem}{suffix}" if number == 1 else f"{stem}_{number}{suffix}"


def _first_free(folder: Path, stem: str, suffix: str, create: Callable[[Path], None]) -> Path:
    for number in itertools.count(1):
        path = folder / _numbered(stem, number, suffix)
        try:
            create(path)
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_write(path, error) from error
        return path
    raise AssertionError("unreachable")
