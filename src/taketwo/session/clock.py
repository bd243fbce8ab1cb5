"""Time: deadlines that do not drift, and what was late."""

from __future__ import annotations

import time
from array import array
from typing import Protocol

import numpy as np

CATCH_UP_LIMIT_S = 1.0
"""Steps that are late are caught up with, so that n steps take n / hz in the mean. Beyond this much the
schedule starts anew instead: a robot must not get a second's worth of actions in one burst."""


class Clock(Protocol):
    """Where the loop gets its time from; a test gives one that needs no waiting."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def sleep_until(self, instant: float) -> None:
        """Return at `instant`, or at once where it has passed."""
        ...


class MonotonicClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since some fixed instant."""
        return time.monotonic()

    def sleep_until(self, instant: float) -> None:
        """Sleep; the kernel wakes this thread some 0.1 ms late."""
        remaining = instant - time.monotonic()
        if remaining > 0:
            time.sleep(remaining)


class Pacer:
    """Holds a rate by absolute deadlines: step k begins at start + k / hz, however late step k - 1 was.

    With `hz` 0 nothing waits and nothing counts as late.
    """

    def __init__(self, clock: Clock, hz: float) -> None:
        self._clock = clock
        self._period_s = 1.0 / hz if hz > 0 else 0.0
        self._start = 0.0
        self._step = 0
        self._late_ms = array("f")
        self.overruns = 0
        self.lost_s = 0.0

    def start(self) -> None:
        """Begin a new schedule; its first deadline is now."""
        self._start = self._clock.now()
        self._step = 0

    def wait(self) -> float:
        """Wait for the next deadline; returns how late it is met, in seconds."""
        if not self._period_s:
            return 0.0
        deadline = self._start + self._step * self._period_s
        self._step += 1
        now = self._clock.now()
        if now < deadline:
            self._clock.sleep_until(deadline)
            now = self._clock.now()
        elif self._step > 1:
            self.overruns += 1
        late_s = max(0.0, now - deadline)
        self._late_ms.append(late_s * 1e3)
        if late_s > CATCH_UP_LIMIT_S:
            self.lost_s += late_s
            self._start += late_s
        return late_s

    def jitter_ms(self, percentile: float) -> float | None:
        """How late steps began, in milliseconds; None when nothing was paced."""
        if not self._late_ms:
            return None
        return float(np.percentile(np.frombuffer(self._late_ms, dtype=np.float32), percentile))
