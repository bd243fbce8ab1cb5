"""The two ends of a replay: a controller that plays recorded actions, and an environment put where they began."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from taketwo.envs.base import Environment, Snapshots
from taketwo.errors import ConfigError
from taketwo.types import Decision, EnvironmentSpec, EpisodeInfo, FloatArray, Observation, StepResult


class Playback:
    """Sends one action after the other, where it has to after a ramp from the present pose to the first of them.

    Attributes:
        stalls: none.
        ramp_steps: actions before the first recorded one; known after `reset`.
    """

    stalls = 0

    def __init__(self, actions: FloatArray, ramp_step: float | None = None) -> None:
        """From (T, A) actions.

        Args:
            ramp_step: the most that any dimension may change in one step of the ramp, in the action's own unit; None
                for no ramp. With one, `observation.state` has to be the same quantities as the action.
        """
        self._actions = actions
        self._ramp_step = ramp_step
        self._plan = actions
        self._next = 0
        self._stopping = threading.Event()
        self.ramp_steps = 0

    @property
    def done(self) -> bool:
        """Whether the last action has been sent."""
        return self._next >= len(self._plan)

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        """Begin, by the ramp if there is to be one."""
        self._next = 0
        if self._ramp_step is not None:
            ramp = ramp_between(observation.state, self._actions[0], self._ramp_step)
            self._plan = np.concatenate([ramp, self._actions])
            self.ramp_steps = len(ramp)

    def decide(self, observation: Observation) -> Decision:
        """The next action.

        Raises:
            KeyboardInterrupt: the operator has stopped the replay; the action is not sent.
        """
        if self._stopping.is_set():
            raise KeyboardInterrupt
        action = self._plan[self._next].copy()
        self._next += 1
        return Decision(asked=action, sent=action)

    def stop(self) -> None:
        """Send no further action. Callable from any thread and from a signal handler."""
        self._stopping.set()

    def now(self) -> float:
        """As a clock: seconds that never go back."""
        return time.monotonic()

    def sleep_until(self, instant: float) -> None:
        """As a clock: return at `instant`, or when the replay is stopped."""
        remaining = instant - time.monotonic()
        if remaining > 0:
            self._stopping.wait(remaining)


def ramp_between(start: FloatArray, end: FloatArray, step: float) -> FloatArray:
    """(n, A) actions on the straight line from a pose to an action, both left out; no dimension moves more than `step`.

    All dimensions arrive at the same time.
    """
    steps = math.ceil(float(np.abs(end - start).max(initial=0.0)) / step)
    parts = np.arange(1, max(1, steps)) / max(1, steps)
    return start + parts[:, None] * (end - start)


class AtItsStart:
    """An environment that begins where an episode began, and ends it with the last action of its playback."""

    def __init__(
        self,
        environment: Environment,
        done: Callable[[], bool],
        seed: int | None,
        init_state: int | None,
        state: Mapping[str, Any] | None,
        name: str,
    ) -> None:
        """Nothing moves yet.

        Args:
            done: whether the last action has been sent.
            seed: what to reset with; None for the session's.
            init_state: number of the recorded initial state to reset to; None for none.
            state: what to restore after that, from `snapshot()`; None for nothing.
            name: what file names call it.
        """
        self._environment = environment
        self._done = done
        self._seed = seed
        self._options = None if init_state is None else {"init_state": init_state}
        self._state = state
        self.spec = played_spec(environment.spec, name)

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Go to where the episode began."""
        observation = self._environment.reset(seed if self._seed is None else self._seed, self._options)
        if self._state is None:
            return observation
        assert isinstance(self._environment, Snapshots)
        return self._environment.restore(self._state)

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action; the last one ends the episode."""
        result = self._environment.step(action)
        return replace(result, truncated=True) if self._done() and not result.terminated else result

    def snapshot(self) -> dict[str, Any]:
        """The simulator's state; only where it can tell."""
        assert isinstance(self._environment, Snapshots)
        return self._environment.snapshot()

    def close(self) -> None:
        """The environment stays open: others may replay in it."""


def played_spec(spec: EnvironmentSpec, name: str) -> EnvironmentSpec:
    """The same environment under another name, without a limit of its own, and without a choice of initial states."""
    return replace(spec, name=name, max_episode_steps=None, num_init_states=None)


def check_ramp_speed(speed: float) -> None:
    """Refuse what is no speed.

    Raises:
        ConfigError: it is not above 0.
    """
    if not (speed > 0 and math.isfinite(speed)):
        raise ConfigError(f"ramp_speed must be a finite number above 0, not {speed}")
