"""A client that keeps its policy server: it connects, and connects again when the server was lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from taketwo.wire.connection import Connection, Server
from taketwo.wire.persistence import Lost, Persistence
from taketwo.wire.protocol import encode


class PolicyClient:
    """Asks one policy server, over one connection after the other.

    One thread at a time has its request answered; `close` may be called from any thread and ends the
    request under way.

    Attributes:
        name: the server's address as messages show it.
        metadata: what the server told of itself when it was last connected to.
        outages_s: how long the server was away, each time that it was lost and came back.
    """

    def __init__(self, server: Server, accept: Callable[[Mapping[str, Any]], None] = lambda metadata: None) -> None:
        """Nothing is sent until `connect`.

        Args:
            accept: looks at the metadata of each new connection before anything is sent; raises PolicyError for a
                server that is not the one that is wanted.
        """
        self.name = server.name
        self.metadata: Mapping[str, Any] = {}
        self._server = server
        self._persistence = Persistence("policy server", server.name, server.timeouts, self._open)
        self.outages_s = self._persistence.outages_s
        self._accept = accept
        self._connection = Connection(server, accept)
        self._greeting: bytes | None = None

    def connect(self) -> None:
        """Connect, trying again until `connect_timeout_s` is over, and read the metadata.

        Raises:
            PolicyError: nobody answers, the server refuses, or is no policy server.
        """
        with self._persistence.turn:
            self._persistence.connect()

    def request(self, message: Any) -> dict[str, Any]:
        """The answer to a message. On a lost connection it is asked again, so it must do no harm twice.

        Raises:
            PolicyError: no usable answer came in time.
            ValueError: the message has no place in the protocol.
        """
        data = encode(message)
        with self._persistence.turn:
            return self._persistently(lambda: self._connection.ask(data))

    def greet(self, message: Any) -> None:
        """Send a message now, and first thing on every later connection; its answer is of no interest.

        Raises:
            PolicyError: it was not answered.
            ValueError: the message has no place in the protocol.
        """
        data = encode(message)
        with self._persistence.turn:
            self._greeting = data
            if not self._connection.usable:
                self._persistence.connect()
                return
            try:
                self._connection.ask(data, infers=False)
            except Lost as lost:
                self._persistence.recover(lost, 1)  # whoever opens a connection sends it

    def close(self) -> None:
        """Disconnect; a request under way ends with a PolicyError. Safe to call twice."""
        # By name at the last moment: the other thread may make a new connection until it knows.
        self._persistence.close(interrupt=lambda: self._connection.end(), end=lambda: self._connection.close())

    def _persistently(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `ask` returns, on new connections where the present one is lost."""
        if not self._connection.usable:
            self._persistence.connect()
        for attempt in itertools.count(1):
            try:
                return ask()
            except Lost as lost:
                self._persistence.recover(lost, attempt)
        raise AssertionError("unreachable")

    def _open(self, timeout_s: float) -> None:
        self._connection = Connection(self._server, self._accept)
        self._persistence.raise_if_closed()  # only now: whoever closes later finds the new connection
        self._connection.open(timeout_s, self._greeting)
        self.metadata = self._connection.metadata
