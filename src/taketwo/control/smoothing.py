"""Filters that make single actions smooth, each dimension for itself.

Every setting is one number for all dimensions or a (D,) vector; each has a value that leaves its
dimension exactly as it is.
"""

from __future__ import annotations

import numpy as np

from taketwo.errors import ConfigError
from taketwo.types import FloatArray, Observation


class ExponentialMovingAverage:
    """sent = alpha * action + (1 - alpha) * last sent. alpha 1 is off."""

    def __init__(self, alpha: float | FloatArray) -> None:
        """Alpha is more than 0 and at most 1; the smaller, the smoother and later.

        Raises:
            ConfigError: it is not.
        """
        check_ema_alpha(alpha)
        self._alpha = np.asarray(alpha, dtype=np.float64)
        self._last: FloatArray = np.empty(0)

    def reset(self, initial: FloatArray) -> None:
        """Begin at `initial`, (D,)."""
        self._last = initial.copy()

    def __call__(self, action: FloatArray, observation: Observation) -> FloatArray:
        """The average, (D,)."""
        self._last = self._alpha * action + (1.0 - self._alpha) * self._last
        return self._last.copy()


class RateLimit:
    """Moves no further in one step than `max_step_delta` from the last sent action. inf is off."""

    def __init__(self, max_step_delta: float | FloatArray) -> None:
        """The limit is more than 0, in the action's own unit per step.

        Raises:
            ConfigError: it is not.
        """
        check_max_step_delta(max_step_delta)
        self._limit = np.asarray(max_step_delta, dtype=np.float64)
        self._last: FloatArray = np.empty(0)

    def reset(self, initial: FloatArray) -> None:
        """Begin at `initial`, (D,): the first action is limited too."""
        self._last = initial.copy()

    def __call__(self, action: FloatArray, observation: Observation) -> FloatArray:
        """The nearest action within reach, (D,)."""
        self._last = np.clip(action, self._last - self._limit, self._last + self._limit)
        return self._last.copy()


class Deadband:
    """Leaves out changes smaller than `width` from the last sent action. 0 is off.

    Small changes add up against what was last sent, so a slow drift is followed in steps, and what is sent
    is never `width` or more away from what was asked.
    """

    def __init__(self, width: float | FloatArray) -> None:
        """The width is finite and 0 or more, in the action's own unit.

        Raises:
            ConfigError: it is not.
        """
        check_deadband(width)
        self._width = np.asarray(width, dtype=np.float64)
        self._last: FloatArray = np.empty(0)

    def reset(self, initial: FloatArray) -> None:
        """Begin at `initial`, (D,)."""
        self._last = initial.copy()

    def __call__(self, action: FloatArray, observation: Observation) -> FloatArray:
        """The action, or what was last sent where it is that near, (D,)."""
        self._last = np.where(np.abs(action - self._last) < self._width, self._last, action)
        return self._last.copy()


def check_ema_alpha(alpha: float | FloatArray) -> None:
    """Raise ConfigError unless all are more than 0 and at most 1."""
    if not np.all((np.asarray(alpha) > 0) & (np.asarray(alpha) <= 1)):
        raise ConfigError(f"ema_alpha must be more than 0 and at most 1 (off), not {alpha}")


def check_max_step_delta(max_step_delta: float | FloatArray) -> None:
    """Raise ConfigError unless all are more than 0."""
    if not np.all(np.asarray(max_step_delta) > 0):
        raise ConfigError(f"max_step_delta must be more than 0 (inf is off), not {max_step_delta}")


def check_deadband(width: float | FloatArray) -> None:
    """Raise ConfigError unless all are finite and 0 or more."""
    if not np.all((np.asarray(width) >= 0) & np.isfinite(width)):
        raise ConfigError(f"deadband must be a finite number, 0 (off) or more, not {width}")
