"""The rig's time: physics moves it on, by the wall clock or by hand, and cameras wait for it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

ROUNDING_S = 1e-6
"""By which sums of ticks may miss a time."""


class RigTime:
    """Seconds since the rig began, as far as the physics has come."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._now_s = 0.0
        self._earliest_s = math.inf

    @property
    def now_s(self) -> float:
        """How far it is."""
        return self._now_s

    def reach(self, time_s: float) -> None:
        """It is this late now. Wakes who waited for it, and nobody else."""
        with self._condition:
            self._now_s = time_s
            if time_s >= self._earliest_s:
                self._earliest_s = math.inf
                self._condition.notify_all()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._condition:
            self._earliest_s = math.inf
            self._condition.notify_all()

    def wait_until(self, time_s: float, unless: Callable[[], bool]) -> bool:
        """Wait for a time; False where `unless` came true before, which is looked at after every `wake`."""
        with self._condition:
            time_s -= ROUNDING_S
            while self._now_s < time_s and not unless():
                self._earliest_s = min(self._earliest_s, time_s)
                self._condition.wait()
            return self._now_s >= time_s
