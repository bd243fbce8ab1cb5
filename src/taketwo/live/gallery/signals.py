"""The rows of an episode for plots."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import ACTION, REWARD, STATE
from taketwo.datasets.reader import Dataset

MOST_NUMBERS = 400_000
"""Numbers in one answer; of a longer episode every n-th row is sent, since a screen has no more pixels."""

DECIMALS = 6


def signals_of_episode(dataset: Dataset, index: int) -> dict[str, Any]:
    """Time, action, state and reward, row by row. What is not finite is None.

    Returns:
        `time`: (N,) seconds since the episode's first row; `action`: (N, D), `state`: (N, S); each row empty where the
        dataset has no such column; `reward`: (N,), and `p_fail`: (N,); None where there is none.

    Raises:
        ConfigError, DatasetError: as `Dataset.rows`.
    """
    length = dataset.episode(index).length
    columns = [column for column in (ACTION, STATE, REWARD) if column in dataset.numeric_columns]
    rows = dataset.rows(index, columns)
    widths = sum(values.size // max(1, length) for values in rows.values())
    every = max(1, -(-length * (widths + 1) // MOST_NUMBERS))
    chosen = np.arange(0, length, every)
    matrices = {
        column: _plain(rows[column].reshape(length, -1)[chosen]) if column in rows else [[] for _ in chosen]
        for column in (ACTION, STATE)
    }
    return {
        "time": np.round(chosen / dataset.fps, DECIMALS).tolist(),
        "action": matrices[ACTION],
        "state": matrices[STATE],
        "reward": _plain(rows[REWARD].reshape(length, -1)[chosen, 0]) if REWARD in rows else None,
        "p_fail": None,
    }


def _plain(values: NDArray[Any]) -> list[Any]:
    rounded: NDArray[Any] = np.round(values.astype(np.float64), DECIMALS)
    finite = np.isfinite(rounded)
    if not finite.all():
        rounded = rounded.astype(object)
        rounded[~finite] = None
    plain: list[Any] = rounded.tolist()
    return plain
