"""A filter for dimensions that stand for a choice, such as a gripper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError
from taketwo.types import FloatArray, Observation


class MinimumHold:
    """A change larger than `threshold` is sent at once, and then held for `steps` further steps.

    After that the action is followed again, and the next large change starts the next hold, so that a
    dimension toggles at most every `steps` + 1 steps and yet always can. Smaller changes start no hold.
    Changes are measured from the last sent action.
    """

    def __init__(self, steps: int | NDArray[np.int64], threshold: float | FloatArray = 0.2) -> None:
        """Nothing is held yet.

        Args:
            steps: how long to hold, one number for all dimensions or (D,); 0 is off.
            threshold: finite and 0 or more, in the action's own unit.

        Raises:
            ConfigError: a number is out of its range.
        """
        check_min_hold_steps(steps)
        check_min_hold_threshold(threshold)
        self._steps = np.asarray(steps, dtype=np.int64)
        self._threshold = np.asarray(threshold, dtype=np.float64)
        self._last: FloatArray = np.empty(0)
        self._left: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def reset(self, initial: FloatArray) -> None:
        """Begin at `initial`, (D,), with nothing held."""
        self._last = initial.copy()
        self._left = np.zeros(initial.shape, dtype=np.int64)

    def __call__(self, action: FloatArray, observation: Observation) -> FloatArray:
        """The action, or what is held, (D,)."""
        held = self._left > 0
        changed = np.abs(action - self._last) > self._threshold
        self._left = np.where(held, self._left - 1, np.where(changed, self._steps, 0))
        self._last = np.where(held, self._last, action)
        return self._last.copy()


def check_min_hold_steps(steps: int | NDArray[np.int64]) -> None:
    """Raise ConfigError unless all are 0 or more."""
    if not np.all(np.asarray(steps) >= 0):
        raise ConfigError(f"min_hold_steps must be 0 (off) or more, not {steps}")


def check_min_hold_threshold(threshold: float | FloatArray) -> None:
    """Raise ConfigError unless all are finite and 0 or more."""
    if not np.all((np.asarray(threshold) >= 0) & np.isfinite(threshold)):
        raise ConfigError(f"min_hold_threshold must be a finite number, 0 or more, not {threshold}")
