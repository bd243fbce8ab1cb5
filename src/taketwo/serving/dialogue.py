"""A client's messages, answered one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

from taketwo.serving.connection import Message, ServedConnection
from taketwo.serving.metrics import Metrics
from taketwo.serving.protocols import Conversation, Reply

MESSAGES_AHEAD = 2
"""Messages of one client that are read before it is their turn; a client that sends more waits."""


class Dialogue:
    """Lets a conversation answer a connection's messages in order. All but `_reply` runs on the event loop."""

    def __init__(self, connection: ServedConnection, conversation: Conversation, metrics: Metrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._conversation = conversation
        self._metrics = metrics
        self._waiting: deque[Message] = deque()
        self._busy = self._ended = False
        self._began_s = 0.0

    def begin(self) -> None:
        """Answer messages from now."""
        self._connection.converse(self._receive, self._go_on)

    def end(self) -> None:
        """The client has gone: what it has asked since is left."""
        self._ended = True
        self._waiting.clear()
        if self._busy:
            self._metrics.abandoned()

    def _receive(self, message: Message) -> None:
        self._waiting.append(message)
        if len(self._waiting) > MESSAGES_AHEAD:
            self._connection.transport.pause_reading()
        self._go_on()

    def _go_on(self) -> None:
        """Begin with the next message, unless one is under way, or the client does not take its answers."""
        if self._ended or self._busy or self._connection.paused or not self._waiting:
            return
        self._busy, self._began_s = True, time.perf_counter()
        self._metrics.begun()
        message = self._waiting.popleft()
        if len(self._waiting) == MESSAGES_AHEAD:
            self._connection.transport.resume_reading()
        self._conversation.answer(message, self._reply)

    def _reply(self, reply: Reply) -> None:
        """Send a reply first, from whatever thread; then see to the rest."""
        if reply.data is not None:
            self._connection.answer(reply.data)
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._replied, reply, time.perf_counter())

    def _replied(self, reply: Reply, ended_s: float) -> None:
        self._busy = False
        if self._ended:  # nobody was there to be answered
            return
        self._metrics.replied(reply.outcome, ended_s - self._began_s)
        reply.afterwards()
        self._go_on()
