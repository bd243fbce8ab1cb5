"""A sign of life of a trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from taketwo.session.loop import Environment
from taketwo.types import EnvironmentSpec, FloatArray, Observation, StepResult

EVERY_S = 0.5


class Heartbeat:
    """An environment that tells, at most every `EVERY_S`, how many actions its episode has had.

    It does so on the loop's thread, which is silent when the environment hangs, or the policy.
    """

    def __init__(
        self, inner: Environment, stepped: Callable[[int], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        """Around an environment.

        Args:
            now: gives seconds.
        """
        self._inner = inner
        self._stepped = stepped
        self._now = now
        self._told = now() - EVERY_S
        self._steps = 0
        self.spec: EnvironmentSpec = inner.spec

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode."""
        self._steps = 0
        return self._inner.reset(seed, options)

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action, and tell it."""
        result = self._inner.step(action)
        self._steps += 1
        now = self._now()
        if now - self._told >= EVERY_S:
            self._told = now
            self._stepped(self._steps)
        return result
