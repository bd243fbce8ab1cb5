"""Connections to a model server of vla-eval: one, and the next one where that was lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from taketwo.errors import PolicyError, one_line
from taketwo.wire.connection import Connection, Server
from taketwo.wire.persistence import Lost, Persistence
from taketwo.wire.vla_eval import PROTOCOL_VERSION, Kind, Message, decode, encode


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

    Attributes:
        name: the server's address as messages show it.
        hello: the payload of the server's HELLO when it was last connected to.
        outages_s: how long the server was away, each time that it was lost and came back.
    """

    def __init__(self, server: Server, version: str, check: Callable[[Mapping[str, Any]], None]) -> None:
        """Nothing is sent until `connect`.

        Args:
            version: of this client, which servers log.
            check: raises PolicyError where what the server tells of itself does not fit.
        """
        self.name = server.name
        self.hello: Mapping[str, Any] = {}
        self._server = server
        self._version = version
        self._check = check
        self._persistence = Persistence("model server of vla-eval", server.name, server.timeouts, self._open)
        self.outages_s = self._persistence.outages_s
        self._connection = HarnessConnection(self._server, self._version)
        self._start: Mapping[str, Any] = {}

    def __enter__(self) -> HarnessLink:
        self._persistence.turn.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._persistence.turn.release()

    def connect(self) -> None:
        """Connect, trying again until `connect_timeout_s` is over, and see whether the server fits.

        Raises:
            PolicyError: nobody answers, or whoever does cannot be used.
        """
        with self:
            self._persistence.connect()

    def tell(self, kind: Kind, payload: Mapping[str, Any]) -> None:
        """Send a message that does not matter to a server that was lost.

        Raises:
            PolicyError: `close` was called meanwhile.
        """
        if self._connection.usable:
            try:
                self._connection.tell(kind, payload)
            except Lost as lost:
                self._persistence.lose(lost)

    def begin(self, start: Mapping[str, Any]) -> None:
        """Begin an episode, on a new connection where there is no other.

        Raises:
            PolicyError: the server does not come back.
        """
        self._start = start
        if not self._connection.usable:
            self._begin_again()
            return
        try:
            self._connection.tell("episode_start", start)
        except Lost as lost:
            self._persistence.lose(lost)
            self._begin_again()

    def act(self, observation: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """The payload of the action that answers an observation.

        Args:
            first: of the episode: then it may begin again on a new connection.

        Raises:
            PolicyError: no usable answer came, or the server was lost in mid-episode.
        """
        self._persistence.raise_if_closed()
        try:
            try:
                return self._connection.act(observation)
            except Lost as lost:
                if not first:
                    raise
                self._persistence.lose(lost)
                self._begin_again()
                return self._connection.act(observation)
        except Lost as lost:
            self._persistence.lose(lost)
            raise PolicyError(
                f"the model server at {self.name} was lost: {lost}; it kept the episode's state, so the episode is over"
            ) from lost

    def close(self) -> None:
        """Disconnect. Safe to call twice."""
        # By name at the last moment: the other thread may make a new connection until it knows.
        self._persistence.close(interrupt=lambda: self._connection.end(), end=lambda: self._connection.close())

    def _open(self, timeout_s: float) -> None:
        self._connection = HarnessConnection(self._server, self._version)
        self._persistence.raise_if_closed()  # only now: whoever closes later finds the new connection
        self._connection.open(timeout_s)
        self.hello = self._connection.metadata
        try:
            self._check(self.hello)
        except PolicyError:
            self._connection.close()
            raise

    def _begin_again(self) -> None:
        self._persistence.reconnect()
        try:
            self._connection.tell("episode_start", self._start)
        except Lost as lost:
            raise PolicyError(f"the model server at {self.name} was lost again at once: {lost}") from lost
