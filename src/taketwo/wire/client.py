"""A client that keeps its policy server: it connects, and connects again when the server was lost."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from taketwo.errors import PolicyError
from taketwo.wire.connection import Connection, Lost, Server
from taketwo.wire.protocol import encode

log = logging.getLogger(__name__)

ASKED_AT_MOST = 3
"""Times that one request is sent, each on a new connection. A request that three times ends with the server
lost is taken to be what breaks it."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 2.0
"""Pauses between tries double from the first to the longest; each is cut by up to half, at random, so that
many clients do not come back all at once."""


class PolicyClient:
    """Asks one policy server, over one connection after the other.

    One thread at a time has its request answered; `close` may be called from any thread and ends the
    request under way.

    Attributes:
        name: the server's address as messages show it.
        metadata: what the server told of itself when it was last connected to.
        outages_s: how long the server was away, each time that it was lost and came back.
    """

    def __init__(self, server: Server, *, connect_timeout_s: float, reconnect_timeout_s: float) -> None:
        """Nothing is sent until `connect`.

        Args:
            connect_timeout_s: how long to wait for a server that does not answer yet.
            reconnect_timeout_s: how long to try to get a lost server back; 0 gives up at once.
        """
        self.name = server.name
        self.metadata: Mapping[str, Any] = {}
        self.outages_s: list[float] = []
        self._server = server
        self._connect_timeout_s = connect_timeout_s
        self._reconnect_timeout_s = reconnect_timeout_s
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._connection = Connection(server)
        self._greeting: bytes | None = None

    def connect(self) -> None:
        """Connect, trying again until `connect_timeout_s` is over, and read the metadata.

        Raises:
            PolicyError: nobody answers, the server refuses, or is no policy server.
        """
        with self._turn:
            self._connect()

    def request(self, message: Any) -> dict[str, Any]:
        """The answer to a message. On a lost connection it is asked again, so it must do no harm twice.

        Raises:
            PolicyError: no usable answer came in time.
            ValueError: the message has no place in the protocol.
        """
        data = encode(message)
        with self._turn:
            return self._persistently(lambda: self._connection.ask(data))

    def greet(self, message: Any) -> None:
        """Send a message now, and first thing on every later connection; its answer is of no interest.

        Raises:
            PolicyError: it was not answered.
            ValueError: the message has no place in the protocol.
        """
        data = encode(message)
        with self._turn:
            self._greeting = data
            self._persistently(lambda: self._connection.ask(data, infers=False))

    def close(self) -> None:
        """Disconnect; a request under way ends with a PolicyError. Safe to call twice."""
        self._closed.set()
        if not self._turn.acquire(blocking=False):
            self._connection.end()
            return
        try:
            self._connection.close()
        finally:
            self._turn.release()

    def _persistently(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `ask` returns, on new connections where the present one is lost."""
        if not self._connection.usable:
            self._connect()
        for attempt in itertools.count(1):
            try:
                return ask()
            except Lost as lost:
                self._raise_if_closed()
                if attempt == ASKED_AT_MOST or self._reconnect_timeout_s == 0:
                    times = f" {attempt} times" if attempt > 1 else ""
                    raise PolicyError(f"the policy server at {self.name} was lost{times}: {lost}") from lost
                log.warning("the policy server at %s was lost: %s; connecting again", self.name, lost)
                lost_at = time.monotonic()
                self._closed.wait(_delay_s(attempt))
                self._reconnect(lost)
                self.outages_s.append(time.monotonic() - lost_at)
                log.warning("connected to %s again after %.1f s", self.name, self.outages_s[-1])
        raise AssertionError("unreachable")

    def _connect(self) -> None:
        try:
            self._connect_within(self._connect_timeout_s)
        except Lost as cause:
            raise PolicyError(
                f"no policy server answers at {self.name}: {cause}; start one or check --policy.host and --policy.port"
            ) from cause

    def _reconnect(self, lost: Lost) -> None:
        try:
            self._connect_within(self._reconnect_timeout_s)
        except Lost as cause:
            raise PolicyError(
                f"the policy server at {self.name} was lost ({lost}) and did not come back within "
                f"{self._reconnect_timeout_s:g} s: {cause}"
            ) from cause

    def _connect_within(self, timeout_s: float) -> None:
        """Try to connect until the time is over; raises the last try's `Lost`."""
        deadline = time.monotonic() + timeout_s
        for attempt in itertools.count(1):
            self._connection = Connection(self._server)
            self._raise_if_closed()  # only now: whoever closes later finds the new connection
            try:
                self._connection.open(max(deadline - time.monotonic(), FIRST_DELAY_S), self._greeting)
                self.metadata = self._connection.metadata
                return
            except Lost as lost:
                self._raise_if_closed()
                delay_s = _delay_s(attempt)
                if time.monotonic() + delay_s >= deadline:
                    raise
                if attempt == 1:
                    log.info("waiting for the policy server at %s: %s", self.name, lost)
                self._closed.wait(delay_s)

    def _raise_if_closed(self) -> None:
        if self._closed.is_set():
            raise PolicyError(f"the policy's connection to {self.name} was closed")


def _delay_s(attempt: int) -> float:
    longest: float = min(FIRST_DELAY_S * 2 ** (attempt - 1), LONGEST_DELAY_S)
    return longest * random.uniform(0.5, 1.0)
