"""Where the time of a trial goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from taketwo.session.loop import Controller, Environment
from taketwo.types import Decision, EnvironmentSpec, EpisodeInfo, FloatArray, Observation, StepResult


class Stopwatch:
    """Adds up time under names."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """`now` gives seconds."""
        self._now = now
        self._spent_s: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Around what is to be counted."""
        began = self._now()
        try:
            yield
        finally:
            self._spent_s[name] += self._now() - began

    def take(self) -> dict[str, float]:
        """What was counted, in seconds; it begins anew."""
        spent = dict(self._spent_s)
        self._spent_s.clear()
        return spent


class TimedEnvironment:
    """The environment, with its resets and steps counted. Pictures are drawn when somebody looks, so not in here."""

    def __init__(self, inner: Environment, stopwatch: Stopwatch) -> None:
        """Around an environment."""
        self._inner = inner
        self._stopwatch = stopwatch
        self.spec: EnvironmentSpec = inner.spec

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode."""
        with self._stopwatch.timing("reset"):
            return self._inner.reset(seed, options)

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action."""
        with self._stopwatch.timing("environment"):
            return self._inner.step(action)


class TimedController:
    """The controller, with its decisions counted, and the pictures that it looks at for them."""

    def __init__(self, inner: Controller, stopwatch: Stopwatch, number: int) -> None:
        """Around a controller.

        Args:
            number: what it is told that the episode's index is; policies that play recorded episodes go by it.
        """
        self._inner = inner
        self._stopwatch = stopwatch
        self._number = number

    @property
    def stalls(self) -> int:
        """How often the loop has waited because no action was ready in time."""
        return self._inner.stalls

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        """Forget the last episode."""
        with self._stopwatch.timing("policy"):
            self._inner.reset(replace(episode, index=self._number), observation)

    def decide(self, observation: Observation) -> Decision:
        """The action for this step."""
        with self._stopwatch.timing("policy"):
            return self._inner.decide(observation)
