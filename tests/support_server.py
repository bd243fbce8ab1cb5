"""An openpi policy server on the loopback interface, with openpi's own codec, and faults on demand."""

from __future__ import annotations

import asyncio
import http
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from openpi_client import msgpack_numpy
from websockets.asyncio.server import Request, Response, Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed


@dataclass(frozen=True)
class Raw:
    """A message sent as it is."""

    message: str | bytes


class Die:
    """The connection breaks without a word."""


class Hang:
    """No answer ever comes."""


class CloseAtOnce:
    """The connection is closed properly, with no answer."""


Infer = Callable[[dict[str, Any]], Any]


class LoopbackServer:
    """Metadata first, then an answer to each message, as `openpi/serving/websocket_policy_server.py` does it.

    `infer` runs on the event loop and blocks it, as openpi's does. It may return a fault, or raise.
    """

    def __init__(
        self,
        infer: Infer,
        *,
        metadata: Any = None,
        api_key: str | None = None,
        status: int | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.keys: list[str | None] = []
        self._infer = infer
        self._metadata: Any = {} if metadata is None else metadata
        self._api_key = api_key
        self._status = status
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the test server does not start")

    def stop(self) -> None:
        if self._thread is None or self._loop is None or self._stop is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._thread = None

    async def _run(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._open: set[ServerConnection] = set()
        async with serve(
            self._handle,
            "127.0.0.1",
            self.port,
            compression=None,
            max_size=None,
            process_request=self._admit,
            close_timeout=0.2,
        ) as server:
            self.port = self._port_of(server)
            ready.set()
            await self._stop.wait()
            for connection in self._open:  # like a killed process: no closing handshake
                connection.transport.abort()

    @staticmethod
    def _port_of(server: Server) -> int:
        return int(next(iter(server.sockets)).getsockname()[1])

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        key = request.headers.get("Authorization")
        self.keys.append(key)
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self._status is not None:
            return connection.respond(http.HTTPStatus(self._status), "no\n")
        if self._api_key is not None and key != f"Api-Key {self._api_key}":
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        self.connections += 1
        self._open.add(connection)
        packer = msgpack_numpy.Packer()
        try:
            await connection.send(
                self._metadata.message if isinstance(self._metadata, Raw) else packer.pack(self._metadata)
            )
            while True:
                await self._answer(connection, packer)
        except ConnectionClosed:
            pass
        finally:
            self._open.discard(connection)

    async def _answer(self, connection: ServerConnection, packer: Any) -> None:
        request = msgpack_numpy.unpackb(await connection.recv())
        self.requests.append(request)
        try:
            began = time.monotonic()
            answer = self._infer(request)
            if isinstance(answer, dict):
                answer["server_timing"] = {"infer_ms": (time.monotonic() - began) * 1000}
        except Exception:  # noqa: BLE001 - openpi's server sends every one to its client
            await connection.send(traceback.format_exc())
            await connection.close(1011, "Internal server error. Traceback included in previous frame.")
            return
        match answer:
            case Die():
                connection.transport.abort()
            case Hang():
                await connection.wait_closed()
            case CloseAtOnce():
                await connection.close(1012, "restarting")
            case Raw(message):
                await connection.send(message)
            case _:
                await connection.send(packer.pack(answer))


def actions_like(row: Any, horizon: int = 5) -> Infer:
    """Answers every request with `horizon` times the same action."""
    return lambda request: {"actions": np.tile(np.asarray(row), (horizon, 1))}


def in_turn(*answers: Any) -> Infer:
    """Answers with one after the other, then with the last one for ever; callables are called."""
    left = list(answers)

    def infer(request: dict[str, Any]) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    return infer


@contextmanager
def serving(infer: Infer, **options: Any) -> Iterator[LoopbackServer]:
    """A running server on a free port."""
    server = LoopbackServer(infer, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reset_answers(infer: Infer) -> Infer:
    """Answers reset messages by an empty map, as a server does that announces them."""

    def answer(request: Mapping[str, Any]) -> Any:
        return {} if "taketwo" in request else infer(dict(request))

    return answer
