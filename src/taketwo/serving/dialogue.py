"""A client's messages, answered one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque

from taketwo.serving.connection import Message, ServedConnection
from taketwo.serving.metrics import Metrics
from taketwo.serving.protocols import Conversation, Reply

MESSAGES_AHEAD = 2
"""Messages of one client that are read before it is their turn; a client that sends more waits."""


class Dialogue:
    """Lets a conversation answer a connection's messages in order. All but `_reply` runs on the event loop.

    A reply is sent by the thread that made it. What else there is to do about it waits until the event loop has to
    see to this client anyway: to wake it for that alone costs more than the reply, in the very moment in which the
    client is to go on.
    """

    def __init__(self, connection: ServedConnection, conversation: Conversation, metrics: Metrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._conversation = conversation
        self._metrics = metrics
        self._waiting: deque[Message] = deque()
        self._replies: deque[tuple[Reply, float]] = deque()  # sent, and not yet seen to; one at most
        self._replying = threading.Lock()  # held from sending a reply until `_replies` has it
        self._busy = self._ended = False
        self._began_s = 0.0

    def begin(self) -> None:
        """Answer messages from now."""
        self._connection.converse(self._receive, self.go_on)

    def end(self) -> None:
        """The client has gone: what it has asked since is left."""
        self.settle()
        self._ended = True
        self._waiting.clear()
        if self._busy:
            self._metrics.abandoned()

    def settle(self) -> None:
        """See to a reply that was sent: log, metrics, recording. Who has got an answer finds it counted."""
        if self._ended:
            return
        with self._replying:
            if not self._replies:
                return
            reply, ended_s = self._replies.popleft()
        self._busy = False
        self._metrics.replied(reply.outcome, ended_s - self._began_s)
        reply.afterwards()

    def go_on(self) -> None:
        """Begin with the next message, unless one is under way, or the client does not take its answers."""
        self.settle()
        if self._ended or self._busy or self._connection.paused or not self._waiting:
            return
        self._busy, self._began_s = True, time.perf_counter()
        self._metrics.begun()
        message = self._waiting.popleft()
        if len(self._waiting) == MESSAGES_AHEAD:
            self._connection.transport.resume_reading()
        self._conversation.answer(message, self._reply)

    def _receive(self, message: Message) -> None:
        self._waiting.append(message)  # before it looks for replies, as `_reply` looks for messages after it put one
        if len(self._waiting) > MESSAGES_AHEAD:
            self._connection.transport.pause_reading()
        self.go_on()

    def _reply(self, reply: Reply) -> None:
        """Send a reply, from whatever thread."""
        ended_s = time.perf_counter()
        with self._replying:
            if reply.data is not None:
                self._connection.answer(reply.data)
            self._replies.append((reply, ended_s))
        if self._waiting:
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self.go_on)
