"""The client's end of openpi's websocket protocol.

A server sends its metadata first; then each request is answered by one message, binary for an answer and
text for a traceback (`openpi/serving/websocket_policy_server.py`). Requests have no numbers, so a
connection on which an answer is overdue can never be used again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import logging
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from taketwo.errors import PolicyError
from taketwo.serving.protocol import decode, encode

log = logging.getLogger(__name__)

ASKED_AT_MOST = 3
"""Times that one request is sent, each on a new connection, before its server is given up as one it breaks."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 2.0
"""Pauses between tries double from the first to the longest; each is cut by up to half, at random, so that
many clients do not come back all at once."""

GOODBYE_S = 1.0
"""How long a server may take to answer the closing handshake."""


class _Lost(Exception):
    """The server cannot be reached, or went away in mid-request; trying again may help."""


class PolicyClient:
    """Speaks to one policy server, and comes back to it when the connection is lost.

    One thread at a time has its request answered; `close` may be called from any thread and ends the
    request under way. There are no keep-alive pings: openpi's server answers none while it infers, which
    takes minutes when it compiles its model, so time limits on answers stand in for them.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        connect_timeout_s: float,
        reconnect_timeout_s: float,
        first_answer_timeout_s: float,
        answer_timeout_s: float,
    ) -> None:
        """Nothing is sent until `connect`.

        Args:
            reconnect_timeout_s: how long to try to get a lost server back; 0 gives up at once.
            first_answer_timeout_s: limit for the first answer on a connection, in which models are compiled.
        """
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.metadata: Mapping[str, Any] = {}
        self._url = url
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._connect_timeout_s = connect_timeout_s
        self._reconnect_timeout_s = reconnect_timeout_s
        self._first_answer_timeout_s = first_answer_timeout_s
        self._answer_timeout_s = answer_timeout_s
        # A loopback address is never behind the proxy that the environment variables name.
        self._proxy: Literal[True] | None = None if _is_loopback(parts.hostname or "") else True
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._connection: ClientConnection | None = None
        self._usable = False  # whether requests can be sent: open, metadata read, greeted
        self._warm = False  # whether this connection has answered before
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
            return self._persistently(lambda: self._exchange(data))

    def greet(self, message: Any) -> None:
        """Send a message now, and first thing on every later connection; its answer is of no interest.

        Raises:
            PolicyError: it was not answered.
        """
        with self._turn:
            self._greeting = encode(message)
            self._persistently(self._greet)

    def close(self) -> None:
        """Take leave of the server; a request under way ends with a PolicyError. Safe to call twice."""
        self._closed.set()
        if not self._turn.acquire(blocking=False):
            self._cut()
            return
        try:
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.close()
            self._connection, self._usable = None, False
        finally:
            self._turn.release()

    def _persistently(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `ask` returns, on new connections where the present one is lost."""
        if not self._usable:
            self._connect()
        for attempt in itertools.count(1):
            try:
                return ask()
            except _Lost as lost:
                self._raise_if_closed()
                if attempt == ASKED_AT_MOST or self._reconnect_timeout_s == 0:
                    times = f" {attempt} times" if attempt > 1 else ""
                    raise PolicyError(f"the policy server at {self.name} was lost{times}: {lost}") from lost
                log.warning("the policy server at %s was lost: %s; connecting again", self.name, lost)
                self._closed.wait(_delay_s(attempt))
                self._reconnect(lost)
        raise AssertionError("unreachable")

    def _connect(self) -> None:
        try:
            self._connect_within(self._connect_timeout_s)
        except _Lost as cause:
            raise PolicyError(
                f"no policy server answers at {self.name}: {cause}; start one or check --policy.host and --policy.port"
            ) from cause

    def _reconnect(self, lost: _Lost) -> None:
        try:
            self._connect_within(self._reconnect_timeout_s)
        except _Lost as cause:
            raise PolicyError(
                f"the policy server at {self.name} was lost ({lost}) and did not come back within "
                f"{self._reconnect_timeout_s:g} s: {cause}"
            ) from cause

    def _connect_within(self, timeout_s: float) -> None:
        """Try to connect until the time is over; raises the last try's `_Lost`."""
        deadline = time.monotonic() + timeout_s
        for attempt in itertools.count(1):
            self._raise_if_closed()
            try:
                self._open(max(deadline - time.monotonic(), FIRST_DELAY_S))
                return
            except _Lost as lost:
                self._raise_if_closed()
                delay_s = _delay_s(attempt)
                if time.monotonic() + delay_s >= deadline:
                    raise
                if attempt == 1:
                    log.info("waiting for the policy server at %s: %s", self.name, lost)
                self._closed.wait(delay_s)

    def _open(self, timeout_s: float) -> None:
        """One try to connect, read the metadata and greet."""
        deadline = time.monotonic() + timeout_s
        try:
            connection = self._handshake(timeout_s)
            self.metadata = self._decoded(connection.recv(timeout=max(deadline - time.monotonic(), 0)))
            self._warm = False
            if self._greeting is not None:
                self._greet()
            self._usable = True
        except InvalidStatus as error:
            raise self._refused(error.response.status_code) from error
        except ssl.SSLCertVerificationError as error:
            raise PolicyError(f"the certificate of {self.name} is not trusted: {error.verify_message}") from error
        except TimeoutError as error:
            raise _Lost(f"nothing came within {timeout_s:.3g} s") from error
        except ConnectionClosed as error:
            raise _Lost(_closing(error)) from error
        except InvalidHandshake as error:
            raise _Lost(f"it does not speak websocket ({_one_line(error)})") from error
        except WebSocketException as error:  # such as a proxy in the environment variables that is none
            raise PolicyError(f"cannot connect to {self.name}: {_one_line(error)}") from error
        except OSError as error:
            raise _Lost(_system_error(error)) from error
        finally:
            if not self._usable:
                self._drop()

    def _handshake(self, timeout_s: float) -> ClientConnection:
        def tracked(*args: Any, **kwargs: Any) -> ClientConnection:
            # Known before the handshake, so that `close` can end one that hangs.
            self._connection = ClientConnection(*args, **kwargs)
            if self._closed.is_set():
                self._cut()
            return self._connection

        factory: Any = tracked  # called like the class that websockets asks for
        connection: ClientConnection = connect(
            self._url,
            compression=None,
            max_size=None,
            additional_headers=self._headers,
            proxy=self._proxy,
            open_timeout=timeout_s,
            ping_interval=None,
            close_timeout=GOODBYE_S,
            create_connection=factory,
        )
        return connection.__enter__()  # `close` leaves it; websockets warns of a connection never entered

    def _greet(self) -> dict[str, Any]:
        return self._exchange(self._greeting or b"", infers=False)

    def _exchange(self, data: bytes, *, infers: bool = True) -> dict[str, Any]:
        """Send a request and wait for its answer, or drop the connection, whatever happens."""
        connection = self._connection
        if connection is None:
            raise _Lost("it is not connected")
        cold = infers and not self._warm
        timeout_s = self._first_answer_timeout_s if cold else self._answer_timeout_s
        deadline = time.monotonic() + timeout_s
        answered = False
        try:
            _limit_sending(connection, timeout_s)
            connection.send(data)
            answer = self._decoded(connection.recv(timeout=max(deadline - time.monotonic(), 0)))
            answered = True
        except TimeoutError as error:
            raise self._late(timeout_s, cold) from error
        except ConnectionClosed as error:
            self._raise_if_closed()
            if time.monotonic() >= deadline:  # how a sending that takes too long ends
                raise self._late(timeout_s, cold) from error
            raise _Lost(_closing(error)) from error
        finally:
            if not answered:  # also on Ctrl-C: the next request must not get this one's answer
                self._drop()
        self._warm = self._warm or infers
        return answer

    def _decoded(self, message: str | bytes) -> dict[str, Any]:
        """A binary message as a map; a text is openpi's way to send a traceback."""
        if isinstance(message, str):
            log.debug("traceback of the policy server at %s:\n%s", self.name, message)
            lines = message.strip().splitlines()
            raise PolicyError(
                f"the policy server at {self.name} failed: {lines[-1] if lines else 'it does not say why'}"
            )
        try:
            content = decode(message)
        except ValueError as error:
            raise PolicyError(f"the policy server at {self.name} sent an unreadable message: {error}") from error
        if not isinstance(content, dict):
            raise PolicyError(f"the policy server at {self.name} sent a {type(content).__name__} in place of a map")
        return content

    def _refused(self, status: int) -> Exception:
        if status in (401, 403):
            advice = "the given one is not accepted" if self._headers else "give one with --policy.api_key"
            return PolicyError(f"the policy server at {self.name} wants an API key: {advice} (HTTP {status})")
        if status >= 500:  # a proxy in front of a server that is still starting
            return _Lost(f"HTTP {status}")
        return PolicyError(f"{self.name} is not a policy server: it answers HTTP {status} to a websocket handshake")

    def _late(self, timeout_s: float, cold: bool) -> PolicyError:
        option = "first_infer_timeout_s" if cold else "infer_timeout_s"
        return PolicyError(
            f"the policy server at {self.name} gave no answer within {timeout_s:g} s; "
            f"if it needs longer, raise --policy.{option}"
        )

    def _raise_if_closed(self) -> None:
        if self._closed.is_set():
            raise PolicyError(f"the policy's connection to {self.name} was closed")

    def _drop(self) -> None:
        """Never use the present connection again."""
        self._cut()
        self._connection, self._usable = None, False

    def _cut(self) -> None:
        """End the present connection at once; called from any thread."""
        connection = self._connection
        if connection is not None:
            _shut(connection)


def _shut(connection: ClientConnection) -> None:
    """End a connection at once, from any thread; whoever sends or receives on it gets ConnectionClosed."""
    with contextlib.suppress(OSError):
        # The plain socket's method, since that of a TLS socket pulls the floor from under a reading thread.
        socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)


def _limit_sending(connection: ClientConnection, timeout_s: float) -> None:
    """Let sending fail when a server reads nothing for so long; websockets itself would wait for ever.

    The kernel keeps this time (`SO_SNDTIMEO` in socket(7)): a watching thread costs milliseconds a request.
    """
    seconds, fraction = divmod(timeout_s, 1)
    with contextlib.suppress(OSError):  # the connection is gone already, which sending will tell
        connection.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(seconds), int(fraction * 1e6))
        )


def _delay_s(attempt: int) -> float:
    longest: float = min(FIRST_DELAY_S * 2 ** (attempt - 1), LONGEST_DELAY_S)
    return longest * random.uniform(0.5, 1.0)


def _closing(error: ConnectionClosed) -> str:
    if error.rcvd is None:
        return "the connection broke"
    reason = f": {_one_line(error.rcvd.reason)}" if error.rcvd.reason else ""
    return f"it closed the connection (code {error.rcvd.code}{reason})"


def _system_error(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return _one_line(error.strerror or error).lower()


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
