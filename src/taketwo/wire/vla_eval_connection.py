"""Connections to a model server of vla-eval: one, and the next one where that was lost."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from taketwo.errors import PolicyError, one_line
from taketwo.wire.connection import Connection, Lost, Server
from taketwo.wire.vla_eval import PROTOCOL_VERSION, Kind, Message, decode, encode

log = logging.getLogger(__name__)

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 2.0
"""Pauses between tries to connect double from the first to the longest."""


class HarnessConnection(Connection):
    """Says hello first and is told of the server in answer, where openpi's servers speak first.

    Observations are answered, episodes' beginnings and ends are not (`vla_eval/model_servers/serve.py`).
    Messages have numbers here, but a server answers them in order all the same.
    """

    def __init__(self, server: Server, version: str) -> None:
        """Nothing is sent until `open`.

        Args:
            version: of this client, which servers log.
        """
        super().__init__(server)
        self._version = version
        self._seq = 0

    def tell(self, kind: Kind, payload: Mapping[str, Any]) -> None:
        """Send a message that is not answered.

        Raises:
            Lost: the connection broke, as far as that can be known without an answer.
        """
        if self._socket is None or self._ended:
            raise Lost("it is not connected")
        try:
            self._socket.send(self._numbered(kind, payload))
        except ConnectionClosed as error:
            self.end()
            raise Lost("the connection broke") from error

    def act(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """What the server answers to an observation: the payload of its action.

        Raises:
            Lost: the connection broke.
            PolicyError: the answer is late, an error, or none that can be used.
            ValueError: the observation has no place in the protocol.
        """
        return self.ask(self._numbered("observation", observation))

    def _numbered(self, kind: Kind, payload: Mapping[str, Any]) -> bytes:
        self._seq += 1
        return encode(Message(kind, payload, self._seq))

    def _handshake(self, timeout_s: float) -> ClientConnection:
        websocket = super()._handshake(timeout_s)
        websocket.send(
            self._numbered("hello", {"harness_version": self._version, "protocol_version": PROTOCOL_VERSION})
        )
        return websocket

    def _decoded(self, message: str | bytes) -> dict[str, Any]:
        """The payload of the answer to the last message."""
        name = self._server.name
        if isinstance(message, str):
            raise PolicyError(f"{name} is not a model server of vla-eval: it sends text")
        try:
            answer = decode(message)
        except ValueError as error:
            advice = "" if self.usable else "; for openpi's protocol use --policy.type=remote"
            raise PolicyError(f"{name} sent an unreadable message: {error}{advice}") from error
        if answer.kind == "error":
            raise PolicyError(f"the model server at {name} failed: {one_line(answer.payload.get('error', 'unknown'))}")
        expected = "action" if self.usable else "hello"
        if answer.kind != expected or answer.seq != self._seq:
            raise PolicyError(
                f"the model server at {name} answers out of turn: {answer.kind} to message {answer.seq}, "
                f"where {expected} to message {self._seq} was due"
            )
        if expected == "hello":
            self._check_version(answer.payload)
        return dict(answer.payload)

    def _check_version(self, hello: Mapping[str, Any]) -> None:
        version = hello.get("protocol_version")
        if version != PROTOCOL_VERSION:
            raise PolicyError(
                f"the model server at {self._server.name} speaks version {version} of vla-eval's protocol, "
                f"this is version {PROTOCOL_VERSION}"
            )


class HarnessLink:
    """The connection to the server, and the next one where that was lost.

    Entered, it is the thread's own. `close` may be called from any thread.
    """

    def __init__(
        self,
        new: Callable[[], HarnessConnection],
        check: Callable[[Mapping[str, Any]], None],
        *,
        name: str,
        reconnect_timeout_s: float,
    ) -> None:
        self.name = name
        self.hello: Mapping[str, Any] = {}
        self._new = new
        self._check = check
        self._reconnect_timeout_s = reconnect_timeout_s
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._connection = new()
        self._start: Mapping[str, Any] = {}

    def __enter__(self) -> HarnessLink:
        self._turn.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._turn.release()

    def connect(self, timeout_s: float) -> None:
        """Connect, trying again until the time is over, and see whether the server fits.

        Raises:
            PolicyError: nobody answers, or whoever does cannot be used.
        """
        deadline = time.monotonic() + timeout_s
        for attempt in itertools.count():
            self._raise_if_closed()
            self._connection = self._new()
            self._raise_if_closed()  # whoever closes from now on finds the new connection
            delay_s = min(FIRST_DELAY_S * 2**attempt, LONGEST_DELAY_S)
            try:
                self._connection.open(max(deadline - time.monotonic(), FIRST_DELAY_S))
                break
            except Lost as lost:
                if time.monotonic() + delay_s >= deadline:
                    raise PolicyError(
                        f"no model server of vla-eval answers at {self.name}: {lost}; "
                        "start one or check --policy.host and --policy.port"
                    ) from lost
                self._closed.wait(delay_s)
        self.hello = self._connection.metadata
        try:
            self._check(self.hello)
        except PolicyError:
            self._connection.close()
            raise

    def tell(self, kind: Kind, payload: Mapping[str, Any]) -> None:
        """Send a message that does not matter to a server that was lost."""
        try:
            self._connection.tell(kind, payload)
        except Lost as lost:
            log.debug("the model server at %s is gone: %s", self.name, lost)

    def begin(self, start: Mapping[str, Any]) -> None:
        """Begin an episode, on a new connection where there is no other.

        Raises:
            PolicyError: the server does not come back.
        """
        self._start = start
        try:
            self._connection.tell("episode_start", start)
        except Lost:
            self._begin_again()

    def act(self, observation: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """The payload of the action that answers an observation.

        Args:
            first: of the episode: then it may begin again on a new connection.

        Raises:
            PolicyError: no usable answer came, or the server was lost in mid-episode.
        """
        self._raise_if_closed()
        try:
            try:
                return self._connection.act(observation)
            except Lost as lost:
                if not first:
                    raise
                log.warning("the model server at %s was lost: %s; connecting again", self.name, lost)
                self._begin_again()
                return self._connection.act(observation)
        except Lost as lost:
            self._raise_if_closed()
            raise PolicyError(
                f"the model server at {self.name} was lost: {lost}; it kept the episode's state, so the episode is over"
            ) from lost

    def close(self) -> None:
        """Disconnect. Safe to call twice."""
        self._closed.set()
        if not self._turn.acquire(blocking=False):
            self._connection.end()
            return
        try:
            self._connection.close()
        finally:
            self._turn.release()

    def _begin_again(self) -> None:
        self.connect(self._reconnect_timeout_s)
        try:
            self._connection.tell("episode_start", self._start)
        except Lost as lost:
            raise PolicyError(f"the model server at {self.name} was lost again at once: {lost}") from lost

    def _raise_if_closed(self) -> None:
        if self._closed.is_set():
            raise PolicyError(f"the policy's connection to {self.name} was closed")
