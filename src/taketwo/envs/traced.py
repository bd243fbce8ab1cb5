"""A simulator that tells its full state with every observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from taketwo.envs.base import Environment
from taketwo.types import SIMULATOR_STATE, FloatArray, Observation, StepResult


class Simulator(Environment, Protocol):
    """An environment that can tell its full state, as `Snapshots` does."""

    def snapshot(self) -> dict[str, Any]:
        """New values and arrays at every call."""
        ...


class Traced:
    """A simulator whose every observation carries `snapshot()` in `extras["simulator_state"]`."""

    def __init__(self, environment: Simulator) -> None:
        self._environment = environment
        self.spec = environment.spec

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode."""
        return self._with_state(self._environment.reset(seed, options))

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action."""
        result = self._environment.step(action)
        return replace(result, observation=self._with_state(result.observation))

    def close(self) -> None:
        """Close the simulator."""
        self._environment.close()

    def _with_state(self, observation: Observation) -> Observation:
        extras = {**observation.extras, SIMULATOR_STATE: self._environment.snapshot()}
        return replace(observation, extras=extras)
