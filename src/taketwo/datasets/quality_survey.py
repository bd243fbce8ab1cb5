"""What is usual in a dataset, so that a check can say what is not: a first pass over the rows, without pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import ACTION, NUMPY_DTYPES, STATE, Feature
from taketwo.recording.frame_watch import STATE_MOVED
from taketwo.types import FloatArray

SAMPLED_ROWS = 100_000
"""About how many rows, spread evenly, tell how a column moves; so memory does not grow with the dataset."""

JUMP_LEAST = STATE_MOVED
"""In the column's own unit: a smaller step is never a jump, whatever the column does. What the live watch on pictures
takes for movement."""

JUMP_SPAN = 0.1
"""Part of a column's span (its 1st to 99th percentile) that a jump has at least. An arm that crosses its whole range
in half a second makes steps of 0.04 at 50 Hz."""

JUMP_DEVIATIONS = 10.0
"""Robust standard deviations over the median step. Sensor noise alone would need 6 to be seen once in 10^9 rows, and
the steps of real motion have longer tails than noise."""

MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""

SWITCH_PART = 0.98
"""A dimension with this part of its values near one of two levels is a switch, such as a gripper's command: it
jumps by nature and is not judged."""

SWITCH_LEVEL = 0.05
"""Part of the span that counts as near a level."""

SWITCH_EACH = 0.02
"""Part of the values that each level has at least; a single spike is no level."""


@dataclass(frozen=True)
class Scale:
    """How a column moves through the dataset, per dimension; all (D,) float64.

    Attributes:
        low: smallest finite value.
        high: largest finite value.
        jump: step from row to row over which it is looked at as a jump; infinite where it is not judged.
        switch: whether it has two levels only.
    """

    low: FloatArray
    high: FloatArray
    jump: FloatArray
    switch: NDArray[np.bool_]

    @property
    def span(self) -> FloatArray:
        """(D,) from the smallest value to the largest."""
        return self.high - self.low


@dataclass
class Extremes:
    """Smallest and largest value of a column, per dimension, and its number of rows; NaN spreads into them."""

    low: FloatArray
    high: FloatArray
    rows: int


def flat(values: NDArray[Any]) -> FloatArray:
    """Rows of a column, (T,) or (T, ...), as (T, D) float64; infinity as NaN, so that it spoils no arithmetic."""
    table: FloatArray = values.reshape(len(values), -1).astype(np.float64)
    table[np.isinf(table)] = np.nan
    return table


def motion_columns(features: Mapping[str, Feature]) -> list[str]:
    """The columns that hold what the robot did or was told to: LeRobot takes all with these beginnings for such."""
    return [key for key in numeric_columns(features) if key.startswith((ACTION, STATE))]


def numeric_columns(features: Mapping[str, Feature]) -> list[str]:
    """The columns that hold numbers."""
    return [key for key, feature in features.items() if feature.dtype in NUMPY_DTYPES]


class Survey:
    """Takes the rows of one episode after the other.

    Attributes:
        extremes: by column.
    """

    def __init__(self, features: Mapping[str, Feature], total_rows: int) -> None:
        self.extremes: dict[str, Extremes] = {}
        self._stride = max(1, total_rows // SAMPLED_ROWS)
        self._values: dict[str, list[FloatArray]] = {key: [] for key in motion_columns(features)}
        self._steps: dict[str, list[FloatArray]] = {key: [] for key in self._values}

    def look(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take an episode: column to (T,) or (T, ...)."""
        for key, column in rows.items():
            if len(column) and column.dtype.kind in "fiub":
                values = flat(column)
                self._widen(key, values)
                if key in self._values:
                    self._values[key].append(values[:: self._stride])
                    self._steps[key].append(np.abs(np.diff(values, axis=0))[:: self._stride])

    def scales(self) -> dict[str, Scale]:
        """How each column of motion moves, if a row of it could be read. To be asked once: it forgets their values."""
        scales = {
            key: _scale(np.concatenate(values), np.concatenate(self._steps[key]))
            for key, values in self._values.items()
            if values
        }
        self._values.clear()
        self._steps.clear()
        return scales

    def _widen(self, key: str, values: FloatArray) -> None:
        low, high = values.min(axis=0), values.max(axis=0)
        known = self.extremes.get(key)
        if known is None:
            self.extremes[key] = Extremes(low, high, len(values))
        else:
            known.low, known.high = np.minimum(known.low, low), np.maximum(known.high, high)
            known.rows += len(values)


def _scale(values: FloatArray, steps: FloatArray) -> Scale:
    values, steps = _finite(values), _finite(steps)
    low, high = values.min(axis=0), values.max(axis=0)
    inner = np.subtract(*np.percentile(values, (99, 1), axis=0))
    span = np.where(inner > 0, inner, high - low)
    if len(steps):
        median = np.median(steps, axis=0)
        deviation = MAD_TO_STD * np.median(np.abs(steps - median), axis=0)
    else:
        median = deviation = np.zeros_like(low)
    switch = _is_switch(values, low, high)
    jump = np.maximum(JUMP_LEAST, np.maximum(JUMP_SPAN * span, median + JUMP_DEVIATIONS * deviation))
    return Scale(low, high, np.where(switch | (high == low), np.inf, jump), switch)


def _finite(values: FloatArray) -> FloatArray:
    """The rows without NaN and infinity; one of zeros where there is none."""
    kept = values[np.isfinite(values).all(axis=1)]
    return kept if len(kept) else np.zeros((1, values.shape[1]))


def _is_switch(values: FloatArray, low: FloatArray, high: FloatArray) -> NDArray[np.bool_]:
    near = SWITCH_LEVEL * (high - low)
    below, above = (values <= low + near).mean(axis=0), (values >= high - near).mean(axis=0)
    both: NDArray[np.bool_] = (below + above >= SWITCH_PART) & (np.minimum(below, above) >= SWITCH_EACH) & (high > low)
    return both
