"""A web server on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from taketwo.errors import one_line
from taketwo.live.limits import LONGEST_MESSAGE, LimitedHttp
from taketwo.session.punctuality import give_way
from taketwo.sockets import bound_socket, cannot_use

log = logging.getLogger("taketwo.live")

GOODBYE_S = 1.0
"""How long a server that is closed waits for viewers to take the last of it. Those that do not read are cut off."""

FLUSH_S = 0.2

UNSENT_BYTES = 128 * 1024
"""What the kernel takes for a viewer that does not follow, so that it sees new pictures and not old ones (tcp(7))."""

STALLED_S = 60
"""A viewer that takes nothing for so long, or has vanished, is cut off, and nothing is rendered for it any more
(TCP_USER_TIMEOUT, tcp(7))."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that nobody else takes the port; who connects waits for the server.

    Args:
        port: 0 takes any free one.

    Raises:
        ConfigError: the address cannot be had.
    """
    bound = bound_socket(host, port)
    try:
        _set_options(bound)
        bound.listen()
    except OSError as error:
        bound.close()
        raise cannot_use(host, port, error) from error
    return bound


def _set_options(bound: socket.socket) -> None:
    """Connections inherit them (Linux)."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {"TCP_NOTSENT_LOWAT": UNSENT_BYTES, "TCP_USER_TIMEOUT": STALLED_S * 1000}.items():
        if hasattr(socket, name):
            bound.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class WebServer:
    """Serves an application on a bound socket."""

    def __init__(self, app: ASGIApp, bound: socket.socket, on_close: Callable[[], None] = lambda: None) -> None:
        """Nothing is answered before `start`.

        Args:
            on_close: called on the server's event loop when it is about to close: requests under way are to end.
        """
        self._bound = bound
        self._server = _Server(app, on_close)
        self._thread = threading.Thread(target=self._run, name="live-server", daemon=True)

    def start(self) -> None:
        """Answer from now on, on a thread of its own."""
        self._thread.start()
        self._server.ready.wait()

    def close(self) -> None:
        """Take leave of all viewers and end the thread."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join()
        self._bound.close()

    def _run(self) -> None:
        give_way()
        try:
            asyncio.run(self._serve())
        except Exception as error:  # the session goes on without the page
            log.warning("the page has ended: %s: %s", type(error).__name__, one_line(error))
            log.debug("where it came from", exc_info=error)
        finally:
            self._server.ready.set()

    async def _serve(self) -> None:
        asyncio.get_running_loop().set_exception_handler(_tell_of)
        await self._server.serve(sockets=[self._bound])


class _Server(uvicorn.Server):
    """uvicorn's server, which by itself waits at its end for viewers that never read."""

    def __init__(self, app: ASGIApp, on_close: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=LimitedHttp,
                ws="websockets-sansio",
                ws_max_size=LONGEST_MESSAGE,
                ws_per_message_deflate=False,  # JPEG does not get smaller
                lifespan="off",
                log_config=None,
                log_level=logging.CRITICAL,  # whoever connects and speaks no HTTP is no error of ours
                access_log=False,
                proxy_headers=False,
                server_header=False,
            )
        )
        self.ready = threading.Event()
        self._on_close = on_close

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, let requests end, and cut off what is left."""
        for server in self.servers:
            server.close()
        self._on_close()
        tasks = self.server_state.tasks
        if tasks:
            await asyncio.wait(tasks, timeout=GOODBYE_S)
        connections = self.server_state.connections
        for connection in list(connections):
            connection.transport.close()  # once all that was sent has gone out
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while connections:
                    await asyncio.sleep(FLUSH_S / 20)
        for connection in list(connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # for the connections to learn of it


def _tell_of(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """What goes wrong beside any request, such as no more file descriptors, in one line."""
    log.warning("%s: %s", context.get("message", "the page failed"), one_line(context.get("exception", "")))
    log.debug("where it came from", exc_info=context.get("exception"))
