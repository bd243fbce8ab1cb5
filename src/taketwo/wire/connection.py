"""One connection to a policy server that speaks openpi's websocket protocol.

A server sends its metadata first; then each request is answered by one message, binary for an answer and
text for a traceback (`openpi/serving/websocket_policy_server.py`). Requests have no numbers, so a
connection on which an answer is overdue can never be used again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from taketwo.errors import PolicyError, one_line
from taketwo.wire.persistence import Lost, system_error
from taketwo.wire.protocol import decode
from taketwo.wire.timeouts import Timeouts

log = logging.getLogger(__name__)

GOODBYE_S = 1.0
"""How long a server may take to answer the closing handshake."""


@dataclass(frozen=True)
class Server:
    """Where a policy server is, and how long it may take.

    Attributes:
        url: ws:// or wss://.
        api_key: the key that it asks for; None for a server that asks for none.
        timeouts: of which the limit for the first answer counts on every connection anew.
    """

    url: str
    api_key: str | None = field(repr=False)
    timeouts: Timeouts

    @property
    def name(self) -> str:
        """The address as messages show it, without the query, which may hold a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"


class Connection:
    """Opened once, and ended by the first failure, whatever it is.

    `end` may be called from any thread; everything else is for one thread at a time. There are no
    keep-alive pings: openpi's server answers none while it infers, which takes minutes when it compiles
    its model, so time limits on answers stand in for them.

    Attributes:
        metadata: what the server told of itself.
    """

    def __init__(self, server: Server, accept: Callable[[Mapping[str, Any]], None] = lambda metadata: None) -> None:
        """Nothing is sent until `open`.

        Args:
            accept: looks at the metadata before anything is sent; may raise PolicyError.
        """
        self.metadata: Mapping[str, Any] = {}
        self._server = server
        self._accept = accept
        self._socket: ClientConnection | None = None
        self._usable = False
        self._ended = False
        self._warm = False  # whether it has answered before

    @property
    def usable(self) -> bool:
        """Whether requests can be sent: open, metadata read, greeted, and nothing has failed since."""
        return self._usable and not self._ended

    def open(self, timeout_s: float, greeting: bytes | None = None) -> None:
        """Connect, read the metadata, and send the greeting if there is one; its answer is of no interest.

        Raises:
            Lost: the server cannot be reached now.
            PolicyError: it refuses, or is no policy server.
        """
        deadline = time.monotonic() + timeout_s
        try:
            websocket = self._handshake(timeout_s)
            self.metadata = self._first_message(websocket, deadline)
            self._accept(self.metadata)
            if greeting is not None:
                self.ask(greeting, infers=False)
            self._usable = True
        except InvalidStatus as error:
            raise self._refused(error.response.status_code) from error
        except ssl.SSLCertVerificationError as error:
            raise PolicyError(
                f"the certificate of {self._server.name} is not trusted: {error.verify_message}"
            ) from error
        except TimeoutError as error:
            raise Lost(f"nothing came within {timeout_s:.3g} s") from error
        except ConnectionClosed as error:
            raise Lost(_closing(error)) from error
        except InvalidHandshake as error:
            raise Lost(f"it does not speak websocket ({one_line(error)})") from error
        except WebSocketException as error:  # such as a proxy in the environment variables that is none
            raise PolicyError(f"cannot connect to {self._server.name}: {one_line(error)}") from error
        except OSError as error:
            raise Lost(system_error(error)) from error
        finally:
            if not self._usable:
                self.end()

    def _first_message(self, websocket: ClientConnection, deadline: float) -> dict[str, Any]:
        try:
            return self._decoded(websocket.recv(timeout=max(deadline - time.monotonic(), 0)))
        except TimeoutError as error:
            raise Lost(
                "it takes connections and sends no metadata, so it is busy, or no server of openpi's protocol "
                "(--policy.type=vla_eval is for one of vla-eval)"
            ) from error

    def ask(self, data: bytes, *, infers: bool = True) -> dict[str, Any]:
        """The answer to an encoded request.

        Args:
            infers: whether the model is used. Until it was, the limit for the first answer counts, also for other
                messages: they may have to wait for a model that is still being compiled.

        Raises:
            Lost: the connection broke.
            PolicyError: the answer is late, or none that can be used.
        """
        if self._socket is None or self._ended:
            raise Lost("it is not connected")
        cold = not self._warm
        timeouts = self._server.timeouts
        timeout_s = timeouts.first_infer_timeout_s if cold else timeouts.infer_timeout_s
        deadline = time.monotonic() + timeout_s
        answered = False
        try:
            _limit_sending(self._socket, timeout_s)
            self._socket.send(data)
            answer = self._decoded(self._socket.recv(timeout=max(deadline - time.monotonic(), 0)))
            answered = True
        except TimeoutError as error:
            raise self._late(timeout_s, cold) from error
        except ConnectionClosed as error:
            if time.monotonic() >= deadline:  # how a sending that takes too long ends
                raise self._late(timeout_s, cold) from error
            raise Lost(_closing(error)) from error
        finally:
            if not answered:  # also on Ctrl-C: the next request must not get this one's answer
                self.end()
        self._warm = self._warm or infers
        return answer

    def close(self) -> None:
        """Say goodbye to the server. Safe to call twice."""
        if self._socket is not None and not self._ended:
            with contextlib.suppress(OSError):
                self._socket.close()
        self.end()

    def end(self) -> None:
        """Break the connection off, from any thread; whoever sends or receives on it gets an error. Never fails."""
        self._ended = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # The plain socket's method: that of a TLS socket fails a thread that is reading from it.
                socket.socket.shutdown(self._socket.socket, socket.SHUT_RDWR)

    def _handshake(self, timeout_s: float) -> ClientConnection:
        def tracked(*args: Any, **kwargs: Any) -> ClientConnection:
            # Known before the handshake, so that `end` can end one that hangs.
            self._socket = ClientConnection(*args, **kwargs)
            if self._ended:
                self.end()
            return self._socket

        factory: Any = tracked  # called like the class that websockets asks for
        key = self._server.api_key
        websocket: ClientConnection = connect(
            self._server.url,
            compression=None,
            max_size=None,
            additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
            proxy=_proxy_for(self._server.url),
            open_timeout=timeout_s,
            ping_interval=None,
            close_timeout=GOODBYE_S,
            create_connection=factory,
        )
        return websocket.__enter__()  # `close` leaves it; websockets warns of a connection never entered

    def _decoded(self, message: str | bytes) -> dict[str, Any]:
        """A binary message as a map; a text is openpi's way to send a traceback."""
        name = self._server.name
        if isinstance(message, str):
            log.debug("traceback of the policy server at %s:\n%s", name, message)
            lines = message.strip().splitlines()
            reason = lines[-1] if lines else "it does not say why"
            says = "says" if reason.startswith("the policy failed") else "failed"
            raise PolicyError(f"the policy server at {name} {says}: {reason}")
        try:
            content = decode(message)
        except ValueError as error:
            raise PolicyError(f"the policy server at {name} sent an unreadable message: {error}") from error
        if not isinstance(content, dict):
            raise PolicyError(f"the policy server at {name} sent a {type(content).__name__}, not a map")
        return content

    def _refused(self, status: int) -> Exception:
        name = self._server.name
        if status in (401, 403):
            advice = "the given one is not accepted" if self._server.api_key else "give one with --policy.api_key"
            return PolicyError(f"the policy server at {name} wants an API key: {advice} (HTTP {status})")
        if status >= 500:  # a proxy in front of a server that is still starting
            return Lost(f"HTTP {status}")
        return PolicyError(f"{name} is not a policy server: it answers HTTP {status} to a websocket handshake")

    def _late(self, timeout_s: float, cold: bool) -> PolicyError:
        option = "first_infer_timeout_s" if cold else "infer_timeout_s"
        return PolicyError(
            f"the policy server at {self._server.name} gave no answer within {timeout_s:g} s; "
            f"if it needs longer, raise --policy.{option}"
        )


def _limit_sending(connection: ClientConnection, timeout_s: float) -> None:
    """Let sending fail when a server reads nothing for so long; websockets itself sets no limit.

    The kernel keeps this time (`SO_SNDTIMEO` in socket(7)): a watching thread costs milliseconds a request.
    """
    seconds, fraction = divmod(timeout_s, 1)
    with contextlib.suppress(OSError):  # the connection is gone already, which sending will tell
        connection.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(seconds), int(fraction * 1e6))
        )


def _proxy_for(url: str) -> Literal[True] | None:
    """None for a loopback address, which is never behind the proxy that the environment variables name."""
    host = urlsplit(url).hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    return None if loopback else True


def _closing(error: ConnectionClosed) -> str:
    if error.rcvd is None:
        return "the connection broke"
    reason = f": {one_line(error.rcvd.reason)}" if error.rcvd.reason else ""
    return f"it closed the connection (code {error.rcvd.code}{reason})"
