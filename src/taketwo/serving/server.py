"""The policy server: websockets, `/healthz` and `/metrics`, for many clients at once.

Nothing of a policy runs on the event loop, so that clients connect, and keep-alive pings are answered, while a model
infers or compiles. The server itself sends no pings: a robot that is busy is not dead. The kernel finds out about
clients that are (TCP keep-alive).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import http
import itertools
import logging
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from taketwo.errors import one_line
from taketwo.serving.client import ServedClient, Serving
from taketwo.serving.connection import ServedConnection
from taketwo.serving.dialogue import Dialogue
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.hosting import PolicyHost
from taketwo.serving.memory import keep_freed_memory
from taketwo.serving.metrics import Metrics
from taketwo.serving.options import ServerOptions
from taketwo.serving.protocols import Conversation, ServerProtocol
from taketwo.serving.records import RecordWriter
from taketwo.sockets import cannot_use

log = logging.getLogger("taketwo.serve")

CLOSED_ABOVE = 4
"""A message this many times the allowed size is not even read: the connection is closed."""

KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A client that vanished without a word is noticed after two minutes (tcp(7))."""


LOOK_EVERY_S = 0.5
"""How often a server looks whether it was told to stop, since a signal that comes just before it waits does not wake
it, and sees to replies of clients that are silent since."""

GOODBYE_S = 2.0
"""How long a server that is stopped waits for its clients, also for those that have said nothing yet."""

ORDINARY_ENDS = (1000, 1001, 1005, 1006)
"""Codes of connections that end without anybody's fault (RFC 6455, section 7.4.1), also by a client that is killed."""

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
        self._dialogues: set[Dialogue] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stop_asked = False

    def stop(self) -> None:
        """End `run`. Callable from any thread and from a signal handler, before it begins and after it has ended."""
        self._stop_asked = True
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stopping.set)

    def run(self, bound: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
        """Serve on a bound socket, which is closed at the end.

        Args:
            ready: called when clients can connect.
        """
        keep_freed_memory()
        asyncio.run(self._run(bound, ready))

    async def _run(self, bound: socket.socket, ready: Callable[[], None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_tell_of)
        quiet = logging.getLogger("taketwo.serve.websockets")
        quiet.setLevel(logging.CRITICAL)  # whoever connects and speaks no websocket is no error of ours
        try:
            server = await serve(self._handle, sock=bound, **self._websockets(quiet))
        except OSError as error:  # another one listens there since
            host, port = bound.getsockname()[:2]
            raise cannot_use(host, port, error) from error
        try:
            ready()
            while not self._stop_asked:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), LOOK_EVERY_S)
                self._settle()
        finally:
            server.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), GOODBYE_S)

    def _websockets(self, quiet: logging.Logger) -> dict[str, Any]:
        return {
            "compression": None,
            "max_size": CLOSED_ABOVE * self._options.max_request_bytes,
            "create_connection": partial(ServedConnection, longest_message=self._options.max_request_bytes),
            "ping_interval": None,
            "close_timeout": GOODBYE_S / 2,
            "process_request": self._admit,
            "server_header": None,
            "logger": quiet,
        }

    async def _handle(self, connection: ServerConnection) -> None:
        client = ServedClient(next(self._numbers), self._serving)
        self._connected += 1
        self.metrics.connected()
        try:
            self._tell("connected", client, connection)
            _keep_alive(connection)
            await self._converse(connection, self._begin_conversation(client), client.number)
        except ConnectionClosed as error:
            log.debug("client %d: %s", client.number, error)
        finally:
            self._connected -= 1
            self.metrics.disconnected()
            self._tell("disconnected", client, connection)
            await client.leave()

    async def _converse(self, connection: ServerConnection, conversation: Conversation, number: int) -> None:
        assert isinstance(connection, ServedConnection)
        if conversation.greeting is not None:
            await connection.send(conversation.greeting)
        dialogue = Dialogue(connection, conversation, self.metrics)
        self._dialogues.add(dialogue)
        dialogue.begin()
        try:
            await connection.wait_closed()
        finally:
            dialogue.end()
            self._dialogues.discard(dialogue)
        if connection.close_code not in ORDINARY_ENDS:
            log.warning("client %d: the connection was closed: %s", number, one_line(connection.protocol.close_exc))

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

    def _settle(self) -> None:
        """See to the replies of clients that ask nothing more for now."""
        for dialogue in list(self._dialogues):
            dialogue.settle()

    def _metrics(self, connection: ServerConnection) -> Response:
        self._settle()
        text = self.metrics.text(0 if self._records is None else self._records.dropped).decode()
        response = connection.respond(http.HTTPStatus.OK, text)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = self.metrics.content_type
        return response


def _tell_of(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """What goes wrong beside any connection, such as no more file descriptors, in one line."""
    log.warning("%s: %s", context.get("message", "the server failed"), one_line(context.get("exception", "")))
    log.debug("where it came from", exc_info=context.get("exception"))


def _keep_alive(connection: ServerConnection) -> None:
    plain: socket.socket | None = connection.transport.get_extra_info("socket")
    if plain is None or plain.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # it has gone already
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE.items():
            if hasattr(socket, name):
                plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
