"""The policy server: websockets, `/healthz` and `/metrics`, for many clients at once.

Nothing of a policy runs on the event loop, so that clients connect, and keep-alive pings are answered, while a model
infers or compiles. The server itself sends no pings: a robot that is busy is not dead. The kernel finds out about
clients that are (TCP keep-alive).
"""

from __future__ import annotations

import asyncio
import hmac
import http
import itertools
import logging
import socket
import time
from collections.abc import Callable
from typing import Literal

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from taketwo.errors import ConfigError
from taketwo.serving.client import ServedClient, Serving
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.hosting import PolicyHost
from taketwo.serving.metrics import Metrics
from taketwo.serving.options import ServerOptions
from taketwo.serving.protocols import Conversation, ServerProtocol
from taketwo.serving.records import RecordWriter

log = logging.getLogger("taketwo.serve")

CLOSED_ABOVE = 4
"""A message this many times the allowed size is not even read: the connection is closed."""

MESSAGES_AHEAD = 2
"""Messages of one client that are read before they are asked for; a client that sends more waits."""

KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A client that vanished without a word is noticed after two minutes (tcp(7))."""


def bind(host: str, port: int) -> socket.socket:
    """A socket, taken but not yet listening, so that a wrong port is told before a model is loaded.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"host {host!r} is no address of this machine: {error.strerror}") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"port {port} on {host} cannot be used: {(error.strerror or str(error)).lower()}; "
            "stop what listens there, or give another port"
        ) from error
    return bound


HEALTH_PATHS = ("/healthz", "/health")
"""openpi's, and vla-eval's."""


class PolicyServer:
    """Serves until it is told to stop."""

    def __init__(
        self,
        host: PolicyHost,
        environment: ServedEnvironment,
        options: ServerOptions,
        protocol: ServerProtocol,
        records: RecordWriter | None = None,
    ) -> None:
        """Nothing listens until `run`.

        Args:
            records: takes all that happens.

        Raises:
            ConfigError: the protocol does not fit the environment or the policy.
        """
        self.metrics = Metrics()
        self._options = options
        self._records = records
        self._serving = Serving(environment, host, self.metrics, options, None if records is None else records.put)
        self._begin_conversation = protocol.make(self._serving)
        self._numbers = itertools.count(1)
        self._connected = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stop_asked = False

    def stop(self) -> None:
        """End `run`. Callable from any thread and from a signal handler, also before it begins."""
        self._stop_asked = True
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    def run(self, bound: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
        """Serve on a bound socket, which is closed at the end.

        Args:
            ready: called when clients can connect.
        """
        asyncio.run(self._run(bound, ready))

    async def _run(self, bound: socket.socket, ready: Callable[[], None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        quiet = logging.getLogger("taketwo.serve.websockets")
        quiet.setLevel(logging.CRITICAL)  # whoever connects and speaks no websocket is no error of ours
        async with serve(
            self._handle,
            sock=bound,
            compression=None,
            max_size=CLOSED_ABOVE * self._options.max_request_bytes,
            max_queue=MESSAGES_AHEAD,
            ping_interval=None,
            process_request=self._admit,
            server_header=None,
            logger=quiet,
        ):
            ready()
            if not self._stop_asked:
                await self._stopping.wait()

    async def _handle(self, connection: ServerConnection) -> None:
        client = ServedClient(next(self._numbers), self._serving)
        self._connected += 1
        self._tell("connected", client, connection)
        self.metrics.connected()
        _keep_alive(connection)
        try:
            await self._converse(connection, self._begin_conversation(client))
        except ConnectionClosed as error:
            log.debug("client %d: %s", client.number, error)
        finally:
            self._connected -= 1
            self.metrics.disconnected()
            self._tell("disconnected", client, connection)
            await client.leave()

    async def _converse(self, connection: ServerConnection, conversation: Conversation) -> None:
        if conversation.greeting is not None:
            await connection.send(conversation.greeting)
        async for message in connection:
            began = time.perf_counter()
            with self.metrics.in_progress():
                reply = await conversation.answer(message)
            if reply.data is not None:
                await connection.send(reply.data)
            self.metrics.answered(time.perf_counter() - began, reply.blames)

    def _tell(
        self, what: Literal["connected", "disconnected"], client: ServedClient, connection: ServerConnection
    ) -> None:
        address = ":".join(map(str, connection.remote_address[:2])) if connection.remote_address else "unknown"
        log.info("client %d (%s) %s; %d connected", client.number, address, what, self._connected)
        client.record(what, address=address)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to an HTTP request; None for one that becomes a connection."""
        path = request.path.partition("?")[0]
        if path in HEALTH_PATHS:
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if not self._knows_key(request):
            log.warning("refused a client: %s", "wrong API key" if "Authorization" in request.headers else "no API key")
            return connection.respond(
                http.HTTPStatus.UNAUTHORIZED, "this server wants an API key: Authorization: Api-Key ...\n"
            )
        if path == "/metrics":
            return self._metrics(connection)
        if self._connected >= self._options.max_clients:
            log.warning("refused a client: there are %d already, see --max_clients", self._connected)
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"this server takes {self._options.max_clients} clients\n"
            )
        return None

    def _knows_key(self, request: Request) -> bool:
        key = self._options.api_key
        if key is None:
            return True
        given = request.headers.get_all("Authorization")
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), f"Api-Key {key}".encode())

    def _metrics(self, connection: ServerConnection) -> Response:
        text = self.metrics.text(0 if self._records is None else self._records.dropped).decode()
        response = connection.respond(http.HTTPStatus.OK, text)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = self.metrics.content_type
        return response


def _keep_alive(connection: ServerConnection) -> None:
    plain: socket.socket | None = connection.transport.get_extra_info("socket")
    if plain is None or plain.family not in (socket.AF_INET, socket.AF_INET6):
        return
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
