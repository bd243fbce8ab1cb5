"""Getting hold of a server that is not there yet, or not any more: what clients of all protocols share."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable

from taketwo.errors import PolicyError, one_line
from taketwo.wire.timeouts import Timeouts

log = logging.getLogger(__name__)

ASKED_AT_MOST = 3
"""Times that one request is sent, each on a new connection. A request that three times ends with the server
lost is taken to be what breaks it."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 2.0
"""Pauses between tries double from the first to the longest; each is cut by up to half, at random, so that
many clients do not come back all at once."""


class Lost(Exception):
    """The server cannot be reached, or went away in mid-request; trying again may help."""


class Persistence:
    """Opens connections to one server until one of them stands, the time is over, or somebody closes it.

    `close` may be called from any thread; everything else is for the one that holds `turn`.

    Attributes:
        turn: held by the thread whose request is being answered.
        outages_s: how long the server was away, each time that it was lost and came back.
    """

    def __init__(self, what: str, name: str, timeouts: Timeouts, open_once: Callable[[float], None]) -> None:
        """Nothing is opened until `connect`.

        Args:
            what: what kind of server it is, as messages call it.
            name: the server's address as messages show it.
            timeouts: of which those for connecting count.
            open_once: opens a connection within so many seconds, or raises `Lost`, or PolicyError where trying
                again is of no use.
        """
        self.turn = threading.Lock()
        self.outages_s: list[float] = []
        self._what = what
        self._name = name
        self._timeouts = timeouts
        self._open_once = open_once
        self._closed = threading.Event()
        self._lost: tuple[Lost, float] | None = None  # why and when, for as long as it is to be got back

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def connect(self) -> None:
        """Open a connection to a server that may not have started yet.

        Raises:
            PolicyError: nobody answers in time, or whoever does cannot be used.
        """
        self._connect_within(self._timeouts.connect_timeout_s)

    def lose(self, lost: Lost) -> None:
        """Note that the server is lost since now, unless it was already.

        Raises:
            PolicyError: it was not the server: `close` was called.
        """
        self.raise_if_closed()
        if self._lost is None:
            self._lost = lost, time.monotonic()

    def reconnect(self) -> None:
        """Open a connection to a server that was there before.

        Raises:
            PolicyError: nobody answers in time, or whoever does cannot be used.
        """
        if self._lost is None:
            self._connect_within(self._timeouts.reconnect_timeout_s)
            return
        (lost, lost_at), self._lost = self._lost, None
        log.warning("the %s at %s was lost: %s; connecting again", self._what, self._name, lost)
        try:
            self._open_within(self._timeouts.reconnect_timeout_s)
        except Lost as cause:
            raise PolicyError(
                f"the {self._what} at {self._name} was lost ({lost}) and did not come back within "
                f"{self._timeouts.reconnect_timeout_s:g} s: {cause}"
            ) from cause
        self.outages_s.append(time.monotonic() - lost_at)
        log.warning("connected to %s again after %.1f s", self._name, self.outages_s[-1])

    def recover(self, lost: Lost, attempt: int) -> None:
        """Open another connection for a request that was lost, so that it can be asked again.

        Args:
            attempt: how many times it has been asked.

        Raises:
            PolicyError: it is not to be asked again, or the server does not come back.
        """
        self.raise_if_closed()
        if attempt == ASKED_AT_MOST or self._timeouts.reconnect_timeout_s == 0:
            times = f" {attempt} times" if attempt == ASKED_AT_MOST else ""
            raise PolicyError(f"the {self._what} at {self._name} was lost{times}: {lost}") from lost
        self.lose(lost)
        self._closed.wait(_delay_s(attempt))
        self.reconnect()

    def close(self, *, interrupt: Callable[[], None], end: Callable[[], None]) -> None:
        """Open nothing any more. Safe to call twice.

        Args:
            interrupt: breaks off what another thread is doing on the connection; called only then.
            end: ends the connection in good order; called where nobody uses it.
        """
        self._closed.set()
        if not self.turn.acquire(blocking=False):
            interrupt()
            return
        try:
            end()
        finally:
            self.turn.release()

    def raise_if_closed(self) -> None:
        """Raise the PolicyError that whoever asks gets after `close`."""
        if self.closed:
            raise PolicyError(f"the policy's connection to {self._name} was closed")

    def _connect_within(self, timeout_s: float) -> None:
        try:
            self._open_within(timeout_s)
        except Lost as cause:
            raise PolicyError(
                f"no {self._what} answers at {self._name}: {cause}; start one or check --policy.host and --policy.port"
            ) from cause

    def _open_within(self, timeout_s: float) -> None:
        """Try until the time is over; raises the last try's `Lost`."""
        deadline = time.monotonic() + timeout_s
        for attempt in itertools.count(1):
            self.raise_if_closed()
            try:
                self._open_once(max(deadline - time.monotonic(), FIRST_DELAY_S))
                return
            except Lost as lost:
                self.raise_if_closed()
                delay_s = _delay_s(attempt)
                if time.monotonic() + delay_s >= deadline:
                    raise
                if attempt == 1:
                    log.info("waiting for the %s at %s: %s", self._what, self._name, lost)
                self._closed.wait(delay_s)


def system_error(error: Exception) -> str:
    """What the operating system says of a connection, for a `Lost`."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return one_line(getattr(error, "strerror", None) or error).lower()


def _delay_s(attempt: int) -> float:
    longest: float = min(FIRST_DELAY_S * 2 ** (attempt - 1), LONGEST_DELAY_S)
    return longest * random.uniform(0.5, 1.0)
