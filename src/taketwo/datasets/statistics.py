"""Statistics of columns, as `meta/stats.json` has them, gathered while rows and pictures go by.

Per column: min, max, mean, std (of the population), count, and the quantiles that format v3.0 has. Those of
numbers are exact for an episode. Those of pictures are exact for a regular grid of pixels of every frame: a
histogram over the 256 values tells them all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.metadata import Stats
from taketwo.types import Pixels

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

GRID_PIXELS = 5000
"""Pixels looked at per picture. LeRobot looks at a sample of the frames, shrunk to about 150 pixels a side."""

LEVELS = 256

Statistics = dict[str, NDArray[Any]]


class PixelStatistics:
    """Counts of the pixel values of one camera."""

    def __init__(self, height: int, width: int) -> None:
        self._step = max(1, round(math.sqrt(height * width / GRID_PIXELS)))
        self._counts = np.zeros((3, LEVELS), np.int64)
        self._frames = 0

    def add(self, pixels: Pixels) -> None:
        """Count one picture, (H, W, 3) uint8."""
        grid = pixels[:: self._step, :: self._step]
        for channel in range(3):
            self._counts[channel] += np.bincount(grid[..., channel].ravel(), minlength=LEVELS)
        self._frames += 1

    def result(self) -> Statistics:
        """Each (3, 1, 1), of values from 0 to 1; `count` (1,) is the number of pictures.

        There has to be one at least.
        """
        values = np.arange(LEVELS) / (LEVELS - 1)
        total = self._counts[0].sum()
        # Not by `@`: the linear algebra library behind it takes tens of MB for its first product.
        mean = (self._counts * values).sum(axis=1) / total
        variance = (self._counts * values**2).sum(axis=1) / total - mean**2
        below = np.cumsum(self._counts, axis=1)
        stats = {
            "min": values[np.argmax(self._counts > 0, axis=1)],
            "max": values[LEVELS - 1 - np.argmax(self._counts[:, ::-1] > 0, axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0.0)),
        }
        for name, quantile in QUANTILES.items():
            stats[name] = values[np.argmax(below >= quantile * total, axis=1)]
        shaped = {name: value.reshape(3, 1, 1) for name, value in stats.items()}
        return shaped | {"count": np.array([self._frames])}


def of_column(values: NDArray[Any]) -> Statistics:
    """Statistics of (T,) or (T, n) numbers or truths, each (n,), by column; `count` (1,) is T, 1 or more.

    What is no finite number is left out; a column without any has zeros.
    """
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    if not np.isfinite(rows).all():
        return _of_finite(rows)
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": np.array([len(rows)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def _of_finite(rows: NDArray[np.float64]) -> Statistics:
    columns = [column[np.isfinite(column)] for column in rows.T]
    by_column = [of_column(column if len(column) else np.zeros(1)) for column in columns]
    joined = {name: np.concatenate([stats[name] for stats in by_column]) for name in by_column[0]}
    return joined | {"count": np.array([len(rows)])}


def combined(first: Stats, second: Stats) -> Stats:
    """Statistics of two sets of rows together, for the columns that both have.

    Exact, but for quantiles: these are averaged by count, which is how LeRobot combines those of episodes.
    """
    if not first or not second:
        return first or second
    return {key: _combined_column(first[key], second[key]) for key in first if key in second}


def _combined_column(first: Mapping[str, Any], second: Mapping[str, Any]) -> Statistics:
    a = {name: np.asarray(value, np.float64) for name, value in first.items()}
    b = {name: np.asarray(value, np.float64) for name, value in second.items()}
    count = a["count"] + b["count"]
    share = (b["count"] / count)[0]

    def averaged(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(x + share * (y - x))

    mean = averaged(a["mean"], b["mean"])
    variance = averaged(a["std"] ** 2 + (a["mean"] - mean) ** 2, b["std"] ** 2 + (b["mean"] - mean) ** 2)
    return {
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": count.astype(np.int64),
        **{name: averaged(a[name], b[name]) for name in QUANTILES if name in a and name in b},
    }


def plain_stats(stats: Stats) -> dict[str, dict[str, Any]]:
    """As nested lists, for Parquet and JSON."""
    return {key: {name: np.asarray(value).tolist() for name, value in of.items()} for key, of in stats.items()}
