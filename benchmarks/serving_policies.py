"""The policies that all servers of the benchmark serve. Needs NumPy alone, so that it runs in any environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ACTION_DIM = 14
CHUNK_LENGTH = 50
"""openpi's for ALOHA."""

CONTROL_HZ = 50.0
REFERENCE_RAD, REFERENCE_HZ = 0.3, 0.25
OFFSET_RAD = 0.02


class Policy(Protocol):
    """Looks at some states at once."""

    def chunks(self, states: Sequence[Array], times_s: Sequence[float]) -> list[Array]:
        """A chunk, (CHUNK_LENGTH, ACTION_DIM), for each (ACTION_DIM,) state, `times_s` into its episode."""
        ...


class Noop:
    """Answers at once."""

    def __init__(self, pause_s: float) -> None:
        self._chunk = np.zeros((CHUNK_LENGTH, ACTION_DIM))

    def chunks(self, states: Sequence[Array], times_s: Sequence[float]) -> list[Array]:
        return [self._chunk for _ in states]


class Pause(Noop):
    """Takes the same time for one observation as for many, and no processor: a GPU, as the processor sees it."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self._pause_s = pause_s

    def chunks(self, states: Sequence[Array], times_s: Sequence[float]) -> list[Array]:
        time.sleep(self._pause_s)
        return super().chunks(states, times_s)


class Wavering(Pause):
    """A slow wave, which every chunk sees a little differently: each joint is off by an amount drawn per chunk.

    As learned policies do, it contradicts itself from chunk to chunk, and nowhere within one: what the seams show is
    the executor's doing.
    """

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self._generator = np.random.default_rng(0)

    def chunks(self, states: Sequence[Array], times_s: Sequence[float]) -> list[Array]:
        time.sleep(self._pause_s)
        return [self._wave(time_s) + self._generator.normal(0, OFFSET_RAD, ACTION_DIM) for time_s in times_s]

    def _wave(self, time_s: float) -> Array:
        times = time_s + np.arange(CHUNK_LENGTH)[:, None] / CONTROL_HZ
        wave: Array = REFERENCE_RAD * np.sin(2 * np.pi * REFERENCE_HZ * times + np.arange(ACTION_DIM))
        return wave


POLICIES: Mapping[str, Callable[[float], Policy]] = {"noop": Noop, "pause": Pause, "wavering": Wavering}
