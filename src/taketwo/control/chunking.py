"""Executors that ask the policy within the step: open loop, and temporal ensemble."""

from __future__ import annotations

import math

import numpy as np

from taketwo.control.base import PlannedAction
from taketwo.errors import ConfigError
from taketwo.policies.base import Policy
from taketwo.types import EpisodeInfo, FloatArray, Observation


class OpenLoop:
    """Executes the first actions of a chunk without looking, then asks again.

    Attributes:
        stalls: always 0: it waits for the policy by design, never because an answer is late.
    """

    stalls = 0
    _actions: FloatArray  # what is to be executed of the present chunk
    _next: int
    _prompt: tuple[str | None, bool | None]  # the one that it was made with, and whether it was read

    def __init__(self, policy: Policy, action_horizon: int | None = None) -> None:
        """Nothing is asked yet.

        Args:
            action_horizon: actions of each chunk to execute; 1 asks at every step, None executes whole chunks.

        Raises:
            ConfigError: it is less than 1.
        """
        check_horizon(action_horizon)
        self._policy = policy
        self._horizon = action_horizon
        self._forget()

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget the chunk and reset the policy."""
        self._forget()
        self._policy.reset(episode)

    @property
    def asks(self) -> bool:
        """Whether the chunk is used up."""
        return self._next == len(self._actions)

    def next_action(self, observation: Observation) -> PlannedAction:
        """The chunk's next action, out of a new chunk when this one is used up.

        Raises:
            ConfigError: the policy's chunks are shorter than `action_horizon`.
        """
        if self.asks:
            chunk = self._policy.infer(observation)
            self._actions = first_actions(chunk.actions, self._horizon)
            self._prompt = chunk.prompt_used, chunk.prompt_read
            self._next = 0
        action = self._actions[self._next]
        self._next += 1
        return PlannedAction(action, *self._prompt)

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()

    def _forget(self) -> None:
        self._actions = np.empty((0, 0))
        self._next = 0
        self._prompt = None, None


class TemporalEnsemble:
    """Asks at every step and averages all that was ever predicted for the present one.

    From ACT (Zhao et al. 2023, arXiv 2304.13705): prediction i of a step, i = 0 the oldest, weighs
    exp(-m * i). A smaller m lets new observations in faster; 0 weighs all alike.

    The average is kept as running sums over the steps to come, so that memory and time per step grow
    with the chunk's length only, not with its square.

    Attributes:
        stalls: always 0: it waits for the policy by design, never because an answer is late.
        asks: always.
    """

    stalls = 0
    asks = True
    _sums: FloatArray  # (steps to come, D) weighted predictions, summed
    _weights: FloatArray  # (steps to come,) weights, summed
    _counts: FloatArray  # (steps to come,) predictions

    def __init__(self, policy: Policy, m: float = 0.01) -> None:
        """Nothing is asked yet; the default of m is the one in ACT's published code.

        Raises:
            ConfigError: m is negative or not finite.
        """
        check_ensemble_m(m)
        self._policy = policy
        self._m = m
        self._forget()

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget every prediction and reset the policy."""
        self._forget()
        self._policy.reset(episode)

    def next_action(self, observation: Observation) -> PlannedAction:
        """The weighted mean of all predictions for this step, with the newest one's prompt."""
        chunk = self._policy.infer(observation)
        length = len(chunk.actions)
        self._make_room(length, chunk.actions.shape[1])
        weights = np.exp(-self._m * self._counts[:length])
        self._sums[:length] += weights[:, None] * chunk.actions
        self._weights[:length] += weights
        self._counts[:length] += 1
        action = self._sums[0] / self._weights[0]
        self._sums, self._weights, self._counts = self._sums[1:], self._weights[1:], self._counts[1:]
        return PlannedAction(action, chunk.prompt_used, chunk.prompt_read)

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()

    def _make_room(self, length: int, width: int) -> None:
        """Make the sums reach as far ahead as a chunk of this length does."""
        missing = length - len(self._counts)
        if missing > 0:
            self._sums = np.concatenate([self._sums.reshape(-1, width), np.zeros((missing, width))])
            self._weights = np.concatenate([self._weights, np.zeros(missing)])
            self._counts = np.concatenate([self._counts, np.zeros(missing)])

    def _forget(self) -> None:
        self._sums = np.empty((0, 0))
        self._weights = np.empty(0)
        self._counts = np.empty(0)


def check_horizon(action_horizon: int | None) -> None:
    """Raise ConfigError unless it is None or at least 1."""
    if action_horizon is not None and action_horizon < 1:
        raise ConfigError(f"action_horizon must be 1 or more, or none for the whole chunk, not {action_horizon}")


def check_ensemble_m(m: float) -> None:
    """Raise ConfigError unless it is finite and 0 or more."""
    if not (m >= 0 and math.isfinite(m)):
        raise ConfigError(f"ensemble_m must be a finite number, 0 or more, not {m}")


def first_actions(actions: FloatArray, action_horizon: int | None) -> FloatArray:
    """The actions of a chunk that are to be executed.

    Raises:
        ConfigError: there are fewer than that.
    """
    if action_horizon is None:
        return actions
    if action_horizon > len(actions):
        raise ConfigError(
            f"action_horizon is {action_horizon}, but the policy's chunk holds {len(actions)}: "
            f"give at most {len(actions)}, or none for the whole chunk"
        )
    return actions[:action_horizon]
