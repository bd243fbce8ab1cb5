"""How long a session waits for its environment."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from taketwo.errors import EnvironmentFault, one_line
from taketwo.session.processes import kill_children
from taketwo.session.watchdog import Watchdog

log = logging.getLogger(__name__)

FAULT = 1
"""Exit status."""


class Patience:
    """Watches what an environment does, and gives it up where that takes too long."""

    def __init__(self, timeout_s: float | None, give_up: Callable[[EnvironmentFault], None]) -> None:
        """Watch from now on, until its context ends.

        Args:
            timeout_s: how long anything may take; None waits without end.
            give_up: called on another thread where something takes longer. The thread that hangs cannot be ended; if
                it comes back, it waits for the process to end.
        """
        self._timeout_s = timeout_s
        self._give_up = give_up
        self._watchdog = Watchdog(timeout_s, self._on_timeout)

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Around something that may hang."""
        try:
            with self._watchdog.watching(what):
                yield
        finally:
            if self._watchdog.fired:
                threading.Event().wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.close()

    def _on_timeout(self, what: str, _seconds: float) -> None:
        fault = EnvironmentFault(f"{what} has taken more than {self._timeout_s:g} s: it hangs, and is given up")
        try:
            self._give_up(fault)
        except Exception:
            log.exception("the session that hangs could not be ended as it should")
        finally:
            end_process(fault)  # the other thread waits for that


def end_process(fault: BaseException | None) -> None:
    """Tell why, and end the process: what hangs in it cannot be ended otherwise."""
    sys.stderr.write(f"error: {one_line(fault)}\n")
    sys.stderr.flush()
    kill_children()
    os._exit(FAULT)
