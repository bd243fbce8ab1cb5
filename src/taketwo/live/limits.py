"""What a connection may take of the server before anybody knows who it is."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_CONNECTIONS = 256
"""Files are open in this process too, and there are often 1024 at most."""

LONGEST_HEAD = 32 * 1024
"""Bytes of a request before its body."""

LONGEST_LINE = 8000
MOST_HEADERS = 100
"""Of a request; `websockets` never answers to one with somewhat more, nor to one with a body."""

HEAD_WAIT_S = 10.0
"""How long the head of a request may take to arrive."""

LONGEST_MESSAGE = 16 * 1024
"""Bytes of a websocket's message."""


class LimitedHttp(HttpToolsProtocol):
    """uvicorn's HTTP, which by itself takes any number of connections, and requests of any length at any leisure."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        super().__init__(*args, **options)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, unless its head is too long."""
        if self._in_head:
            self._head_bytes += len(data)
            self._await_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head, self._head_bytes = False, 0
        self._stop_timer()
        lines = [self.url, *(name + value for name, value in self.headers)]
        if len(self.headers) > MOST_HEADERS or max(map(len, lines)) > LONGEST_LINE:
            raise ValueError("too many headers, or one is too long")  # which the parser turns into an answer of 400
        if self.parser.should_upgrade() and any(map(_tells_a_body, self.headers)):
            raise ValueError("a websocket begins without a body")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there, and another one may follow."""
        self._in_head = True
        super().on_message_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_WAIT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _tells_a_body(header: tuple[bytes, bytes]) -> bool:
    name, value = header
    return name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
