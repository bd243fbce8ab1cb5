"""Who watches a session: the protocol, and the threads that keep the loop from waiting for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Protocol

from taketwo.errors import TakeTwoError
from taketwo.session.events import Event, Paused, StepTaken, TerminalObservation
from taketwo.session.punctuality import give_way

log = logging.getLogger(__name__)

QUEUE_FRAMES = 32
"""Frames a sink may lie behind before the loop waits for it (lossless) or it loses the oldest (latest)."""

QUEUE_BYTES = 15_000_000
"""What the pictures in a sink's queue may take; where they are large, it holds fewer frames."""

LEAST_QUEUE_FRAMES = 4


class Sink(Protocol):
    """Gets every event, in order, on a thread of its own.

    Attributes:
        name: what reports and messages call it.
        lossless: True, and the loop waits when it cannot follow; False, and frames are dropped for it.
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
        dropped: frames (steps and terminal observations) that it did not get.
    """

    def __init__(self, sink: Sink, capacity: int = QUEUE_FRAMES) -> None:
        self.sink = sink
        self.error: BaseException | None = None
        self.waited_s = 0.0
        self.dropped = 0
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._frames_pending = 0
        self._changed = threading.Condition()
        self._closing = self._busy = False
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Hand over one event, waiting or dropping as the sink has it."""
        shows_frame = _shows_frame(event)
        capacity = min(self._capacity, frames_that_fit(event))
        with self._changed:
            if isinstance(event, Paused) and self._events:
                return  # nothing new to who has not seen the last of it
            if shows_frame and self.error is None and self._frames_pending >= capacity:
                self._make_room(capacity)
            if self.error is not None:
                self.dropped += shows_frame
                return
            self._frames_pending += shows_frame
            self._events.append(event)
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until the sink, if it is lossless, has taken what it was given so far."""
        if self.sink.lossless:
            with self._changed:
                self._changed.wait_for(lambda: not (self._events or self._busy) or self.error is not None)

    def finish(self) -> None:
        """Wait until the sink has taken everything, and end its thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def fail(self, error: BaseException) -> None:
        """Give the sink nothing any more, because of what it raised."""
        with self._changed:
            self.error = error
            self.dropped += self._frames_pending
            self._frames_pending = 0
            self._events.clear()
            self._changed.notify_all()
        if not self.sink.required:
            traceback = None if isinstance(error, TakeTwoError) else error
            log.warning("%s failed and is detached; the session goes on: %s", self.sink.name, error, exc_info=traceback)

    def _make_room(self, capacity: int) -> None:
        if self.sink.lossless:
            began = time.monotonic()
            self._changed.wait_for(lambda: self._frames_pending < capacity or self.error is not None)
            self.waited_s += time.monotonic() - began
        else:
            self._events.remove(next(filter(_shows_frame, self._events)))
            self._frames_pending -= 1
            self.dropped += 1

    def _run(self) -> None:
        give_way()
        while (event := self._next_event()) is not None:
            try:
                self.sink.on(event)
            except BaseException as error:  # noqa: BLE001 - whatever a sink raises, the session decides what follows
                self.fail(error)

    def _next_event(self) -> Event | None:
        """The next event when it comes; None when no more will come."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._events or self._closing or self.error is not None)
            if not self._events:
                return None
            event = self._events.popleft()
            self._frames_pending -= _shows_frame(event)
            self._busy = True
            self._changed.notify_all()
            return event


def frames_that_fit(event: Event) -> int:
    """How many frames like this one may be held back, by the memory that its pictures take."""
    if not isinstance(event, StepTaken | TerminalObservation):
        return QUEUE_FRAMES
    pictures = (image for image in event.observation.images.values() if image.rendered)
    frame_bytes = sum(image.height * image.width * 3 for image in pictures)
    return max(LEAST_QUEUE_FRAMES, QUEUE_BYTES // frame_bytes) if frame_bytes else QUEUE_FRAMES


def _shows_frame(event: Event) -> bool:
    return isinstance(event, StepTaken | TerminalObservation)
