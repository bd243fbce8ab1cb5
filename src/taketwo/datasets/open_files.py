"""A few open files out of many: opening one costs more than reading from it, and each holds memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let go of the file."""
        ...


T = TypeVar("T", bound=Closable)


class OpenFiles(Generic[T]):
    """Opens files as they are asked for, and closes the one unused for longest where they become too many.

    For use from one thread. A process that was forked off opens files of its own.
    """

    def __init__(self, open_file: Callable[[Path], T], capacity: int) -> None:
        self._open_file = open_file
        self._capacity = capacity
        self._files: OrderedDict[Path, T] = OrderedDict()
        self._process = os.getpid()
        self._of_parent: list[OrderedDict[Path, T]] = []

    def get(self, path: Path) -> T:
        """The file, open; it stays so until `capacity` others were asked for."""
        self._leave_those_of_the_parent()
        file = self._files.pop(path, None) or self._open_file(path)
        self._files[path] = file
        while len(self._files) > self._capacity:
            self._files.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        """Close all; they are opened again when they are asked for."""
        self._leave_those_of_the_parent()
        while self._files:
            self._files.popitem()[1].close()

    def _leave_those_of_the_parent(self) -> None:
        # After a fork both processes share each file's position, and the decoder's threads are not there to be
        # joined. So these are neither used nor closed, but kept, for garbage collection would close them.
        if self._process != os.getpid():
            self._of_parent.append(self._files)
            self._files = OrderedDict()
            self._process = os.getpid()
