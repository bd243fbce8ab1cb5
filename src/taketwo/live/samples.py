"""The last minute of signals, for plots."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from taketwo.live.throttle import Throttle
from taketwo.session.events import StepTaken
from taketwo.types import FloatArray

KEPT_S = 60.0
"""Session time that who comes anew sees of the past."""

SAMPLES_HZ = 25.0
"""Samples kept in a second of wall time."""

MOST_KEPT = 3000
"""Bounds memory where a session's time goes much slower than the wall's."""

DECIMALS = 5


class Sample(NamedTuple):
    """What plots show of one step; the names are those of the message's columns."""

    time: float
    episode: int
    action: list[float]
    state: list[float]
    late_ms: float | None
    p_fail: float | None
    high: float | None
    low: float | None


class Samples:
    """Numbered from 0 on, the last ones kept."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: deque[Sample] = deque(maxlen=MOST_KEPT)
        self._due = Throttle(SAMPLES_HZ)

    def begin_episode(self) -> None:
        """Steps count their time anew."""
        self._due.reset()

    def add(self, step: StepTaken, episode: int, time_s: float, late_ms: float | None) -> None:
        """Take a step, unless there are enough.

        Args:
            time_s: session time.
        """
        if not self._due(step.time_s):
            return
        failure = step.decision.failure
        told = (None, None, None) if failure is None else (failure.p_fail, failure.high, failure.low)
        self._kept.append(
            Sample(
                time_s,
                episode,
                _rounded(step.decision.sent),
                _rounded(step.observation.state),
                None if late_ms is None else round(late_ms, 3),
                *(None if value is None else float(value) for value in told),
            )
        )
        self.count += 1
        while self._kept[0].time < time_s - KEPT_S:
            self._kept.popleft()

    def between(self, begin: int, end: int) -> Sequence[Sample]:
        """Samples number `begin` to `end` - 1, as far as they are kept."""
        first = self.count - len(self._kept)
        return list(islice(self._kept, max(0, begin - first), max(0, end - first)))


def columns(samples: Sequence[Sample]) -> dict[str, Any]:
    """A message of samples: a list for each column."""
    values = zip(*samples, strict=True) if samples else ((),) * len(Sample._fields)
    return {"type": "samples", **dict(zip(Sample._fields, values, strict=True))}


def _rounded(values: FloatArray) -> list[float]:
    rounded: list[float] = np.round(values, DECIMALS).tolist()
    return rounded
