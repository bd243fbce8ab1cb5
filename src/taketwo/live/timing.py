"""How well the session keeps time, as far as a viewer wants to know."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

RATE_WINDOW_S = 3.0
"""Steps a second are counted over the last so many seconds."""

LATE_STEPS = 3000
"""Steps that are remembered at most, and that percentiles of lateness are taken over: a minute at 50 Hz."""


class Timing:
    """Rate over a few seconds and lateness over a minute."""

    def __init__(self) -> None:
        self.paced = False
        self._marks: deque[tuple[float, int]] = deque(maxlen=LATE_STEPS)
        self._late_ms: deque[float] = deque(maxlen=LATE_STEPS)

    def begin_episode(self) -> None:
        """Steps are counted anew."""
        self._marks.clear()

    def step(self, index: int, time_s: float, late_ms: float) -> None:
        """A step began, so long after the episode did, and so late."""
        self._marks.append((time_s, index))
        while self._marks[0][0] < time_s - RATE_WINDOW_S:
            self._marks.popleft()
        if self.paced:
            self._late_ms.append(late_ms)

    def describe(self) -> dict[str, Any]:
        """As `/api/state` tells it."""
        p50, p99 = np.percentile(self._late_ms, (50, 99)).tolist() if self._late_ms else (None, None)
        return {"rate_hz": self._rate_hz(), "late_ms_p50": p50, "late_ms_p99": p99}

    def _rate_hz(self) -> float | None:
        if not self._marks:
            return None
        (began_s, first), (ended_s, last) = self._marks[0], self._marks[-1]
        return (last - first) / (ended_s - began_s) if ended_s > began_s else None
