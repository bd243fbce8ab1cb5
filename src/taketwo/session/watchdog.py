"""Notices an environment that hangs, and has somebody told where the loop itself cannot go on.

A thread that hangs in a simulator or a driver cannot be ended from outside. What can be done is to bring everything
else to its end on another thread, which is what `on_timeout` is for. Where the hanging code holds Python's global
lock no other thread runs either: then `faulthandler`, whose timer needs no lock, prints where every thread is and ends
the process with status 1.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import threading
import time
from collections.abc import Callable
from typing import Self

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the watchdog looks, at least."""

LAST_RESORT_S = 5.0
"""How much later than the watchdog `faulthandler` comes."""

STDERR = 2
"""`faulthandler` writes to a file descriptor, which `sys.stderr` need not have."""


class Watchdog:
    """Calls `on_timeout` when something takes too long. It watches one thread; any may close it.

    Time in which its own thread did not run counts as two looks at most: a process that was stopped for a while, and
    goes on, does not hang. `faulthandler` cannot know that: it ends a process that was stopped for `LAST_RESORT_S`
    longer than the time-out. Its timer is one for the whole process.

    Attributes:
        fired: whether `on_timeout` has been called, which happens once at most.
    """

    def __init__(self, timeout_s: float | None, on_timeout: Callable[[str, float], None]) -> None:
        """It is on guard until `close`.

        Args:
            timeout_s: how long a thing may take; None or 0, and there is no watchdog.
            on_timeout: called on the watchdog's thread, with what hangs and for how many seconds it has.
        """
        self.fired = False
        self._leaving = threading.Lock()
        self._timeout_s = timeout_s or 0.0
        self._on_timeout = on_timeout
        self._section: Section | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        if self._timeout_s:
            self._thread.start()

    def watching(self, what: str) -> Section:
        """A context manager around something that may hang and is called `what`.

        Of nested ones the time of the outermost counts; messages name them all.
        """
        return Section(self, what)

    def close(self) -> None:
        """Go off guard, after an `on_timeout` that has begun; it may itself call this. Safe to call twice."""
        self._closed.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        pause_s = min(LOOK_S, self._timeout_s / 4)
        seen: Section | None = None
        spent_s, looked = 0.0, time.monotonic()
        try:
            while True:
                section, now = self._section, time.monotonic()
                outermost = section.outermost if section is not None else None
                if outermost is not seen:
                    spent_s, looked = 0.0, outermost.began if outermost is not None else now
                spent_s += min(now - looked, 2 * pause_s)
                if section is not None and spent_s >= self._timeout_s and self._holds(section):
                    break
                self._set_last_resort()
                seen, looked = outermost, now
                if self._closed.wait(pause_s):
                    return
        finally:
            faulthandler.cancel_dump_traceback_later()
        self._fire(section.path(), spent_s)

    def _set_last_resort(self) -> None:
        """Let `faulthandler` end the process unless this thread comes back in time.

        It is set whether or not something is watched now: once something holds the lock, nobody can set it.
        """
        with contextlib.suppress(ValueError):  # there is no stderr
            faulthandler.dump_traceback_later(self._timeout_s + LAST_RESORT_S, exit=True, file=STDERR)

    def _holds(self, section: Section) -> bool:
        """Fire, unless it has been left in this very moment."""
        with self._leaving:
            self.fired = self._section is not None and self._section.outermost is section.outermost
        return self.fired

    def _fire(self, what: str, seconds: float) -> None:
        try:
            self._on_timeout(what, seconds)
        except Exception:
            log.exception("%s hangs, and what should follow failed", what)


class Section:
    """Something that is watched while in its context. Entered once.

    Attributes:
        outermost: the one that was entered first of those that this one is in, or itself.
        began: when it was entered, `time.monotonic()`.
    """

    __slots__ = ("_outer", "_watchdog", "_what", "began", "outermost")

    def __init__(self, watchdog: Watchdog, what: str) -> None:
        self._watchdog = watchdog
        self._what = what

    def path(self) -> str:
        """What it is called, after those that it is in."""
        return self._what if self._outer is None else f"{self._outer.path()}, {self._what}"

    def __enter__(self) -> None:
        watchdog = self._watchdog
        outer = self._outer = watchdog._section
        self.outermost: Section = self if outer is None else outer.outermost
        self.began = time.monotonic()
        watchdog._section = self  # last, since the other thread may look at any time

    def __exit__(self, *_: object) -> None:
        with self._watchdog._leaving:
            self._watchdog._section = self._outer
