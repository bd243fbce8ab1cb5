"""A server on the loopback interface that speaks the protocol of OpenVLA's `deploy.py`, and faults on demand.

It stands for `deploy.py` because that needs the 7B weights. Arrays are written out here by hand, as the package
json-numpy puts them on the wire; a test compares both with that package.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Status:
    """An answer with another status than 200."""

    code: int
    body: bytes = b""


@dataclass(frozen=True)
class Raw:
    """An answer's body as it is."""

    body: bytes


class Die:
    """The connection breaks in mid-request."""


@dataclass(frozen=True)
class ThenHangUp:
    """A proper answer, after which the kept connection is closed without a word, as uvicorn does after 5 s."""

    answer: Any


Answer = Callable[[dict[str, Any]], Any]


def packed(array: Any) -> dict[str, Any]:
    array = np.asarray(array)
    return {
        "__numpy__": base64.b64encode(array.tobytes()).decode(),
        "dtype": array.dtype.str,
        "shape": list(array.shape),
    }


def unpacked(entry: dict[str, Any]) -> Any:
    return np.frombuffer(base64.b64decode(entry["__numpy__"]), entry["dtype"]).reshape(entry["shape"])


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is nothing to print."""


class RestServer:
    """Answers `POST /act` with what `answer` makes of the request."""

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.released = threading.Event()
        """Set at the end, so that whoever keeps a client waiting can go."""
        self._answer = answer
        self._open: set[socket.socket] = set()
        self._server = _QuietServer(("127.0.0.1", port), self._handler())
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Like a killed process: nobody listens, and open connections break."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._open):
            hang_up(connection)

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                server.connections += 1
                server._open.add(self.request)
                super().setup()

            def finish(self) -> None:
                server._open.discard(self.request)
                super().finish()

            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != "/act":
                    self._send(404, b'{"detail":"Not Found"}')
                    return
                request = json.loads(body)
                double = "encoded" in request
                if double:
                    request = json.loads(request["encoded"])
                request["image"] = unpacked(request["image"])
                server.requests.append(request)
                self._give(server._answer(request), double)

            def _give(self, answer: Any, double: bool) -> None:
                match answer:
                    case Status(code, content):
                        self._send(code, content)
                    case Raw(content):
                        self._send(200, content)
                    case Die():
                        hang_up(self.request)
                        self.close_connection = True
                    case ThenHangUp(inner):
                        self._give(inner, double)
                        hang_up(self.request)
                        self.close_connection = True
                    case str():
                        self._send(200, json.dumps(answer).encode())
                    case _:
                        text = json.dumps(packed(answer))
                        self._send(200, (json.dumps(text) if double else text).encode())

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[RestServer]:
    server = RestServer(answer, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def in_turn(*answers: Any) -> Answer:
    """Each request gets the next answer, and the last one again and again."""
    rest = list(answers)
    return lambda request: rest.pop(0) if len(rest) > 1 else rest[0]
