"""At most so often."""

from __future__ import annotations

EARLY = 0.25
"""Part of a period by which something may come too early, since steps of a steady loop are not on time to the
millisecond. What comes early does not make the next one early too."""


class Throttle:
    """Lets through at most `hz` a second of what comes at any rate, evenly."""

    def __init__(self, hz: float) -> None:
        self._period_s = 1.0 / hz
        self._due_s = float("-inf")

    def __call__(self, now_s: float) -> bool:
        """Whether what comes now goes through."""
        early_s = EARLY * self._period_s
        if now_s < self._due_s - early_s:
            return False
        after_silence = now_s > self._due_s + self._period_s
        self._due_s = (now_s if after_silence else max(self._due_s, now_s - early_s)) + self._period_s
        return True

    def reset(self) -> None:
        """Let the next one through; another clock may follow."""
        self._due_s = float("-inf")
