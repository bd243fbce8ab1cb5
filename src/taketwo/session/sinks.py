"""Who watches a session: the protocol, and the threads that keep the loop from waiting for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Protocol

from taketwo.errors import TakeTwoError
from taketwo.session.events import Event, StepTaken

log = logging.getLogger(__name__)

QUEUE_STEPS = 32
"""Steps a sink may lie behind before the loop waits for it (lossless) or it loses the oldest (latest)."""


class Sink(Protocol):
    """Gets every event, in order, on a thread of its own.

    Attributes:
        name: what reports and messages call it.
        lossless: True, and the loop waits when it cannot follow; False, and steps are dropped for it.
        required: whether the session ends when it fails; otherwise it is detached and the session goes on.
    """

    name: str
    lossless: bool
    required: bool

    def cameras(self, frame: int) -> Collection[str]:
        """Which pictures it will look at of the session's frame of this number; no others are rendered.

        Called on the loop's thread.
        """
        ...

    def on(self, event: Event) -> None:
        """Take one event. `SessionEnd` is the last; whatever is open is closed then."""
        ...


class SinkThread:
    """Hands events over to one sink.

    Attributes:
        error: what the sink raised; it gets nothing any more after that.
        waited_s: how long the loop has waited for it.
        dropped: steps it did not get.
    """

    def __init__(self, sink: Sink, capacity: int = QUEUE_STEPS) -> None:
        self.sink = sink
        self.error: BaseException | None = None
        self.waited_s = 0.0
        self.dropped = 0
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._steps_pending = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Hand over one event, waiting or dropping as the sink has it."""
        with self._changed:
            if isinstance(event, StepTaken):
                self._make_room()
                self._steps_pending += 1
            if self.error is None:
                self._events.append(event)
                self._changed.notify_all()

    def finish(self) -> None:
        """Wait until the sink has taken everything."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _make_room(self) -> None:
        if self._steps_pending < self._capacity:
            return
        if self.sink.lossless:
            began = time.monotonic()
            self._changed.wait_for(lambda: self._steps_pending < self._capacity or self.error is not None)
            self.waited_s += time.monotonic() - began
        else:
            oldest = next(event for event in self._events if isinstance(event, StepTaken))
            self._events.remove(oldest)
            self._steps_pending -= 1
            self.dropped += 1

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._closing)
                if not self._events:
                    return
                event = self._events.popleft()
                if isinstance(event, StepTaken):
                    self._steps_pending -= 1
                    self._changed.notify_all()
            try:
                self.sink.on(event)
            except Exception as error:  # noqa: BLE001 - whatever a sink raises, the session decides what follows
                self._fail(error)
                return

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self.error = error
            self._events.clear()
            self._changed.notify_all()
        if not self.sink.required:
            traceback = None if isinstance(error, TakeTwoError) else error
            log.warning("%s failed and is detached; the session goes on: %s", self.sink.name, error, exc_info=traceback)
