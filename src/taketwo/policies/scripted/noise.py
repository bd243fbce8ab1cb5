"""What makes the scripted policies fail as learned ones do: random numbers by step, and hesitations."""

from __future__ import annotations

import math
from collections.abc import Callable

from taketwo.seeding import policy_generator
from taketwo.types import FloatArray

PAUSE_S = (0.2, 0.8)
"""A hesitation lasts a time drawn evenly from this range."""

DITHER_HZ = 3.0
"""While it hesitates, an arm swings this often a second."""


class Tape:
    """Random rows, drawn when first asked for, in order, and then kept: row k is the same however one gets there."""

    def __init__(self, draw: Callable[[], FloatArray]) -> None:
        self._draw = draw
        self._rows: list[FloatArray] = []

    def __getitem__(self, index: int) -> FloatArray:
        while len(self._rows) <= index:
            self._rows.extend(self._draw())
        return self._rows[index]


class Noise:
    """An episode's random numbers, by the environment's step, so that chunk size and replanning change none of them.

    Attributes:
        tremor: rows of the shape of a tremor.
        pauses: rows of (2,), for `pause_steps`.
        grasps: rows of the shape of a grasp's error.
        dither: one of the shape of a tremor, for all of the episode.
    """

    def __init__(self, seed: int, tremor_shape: tuple[int, ...], grasp_shape: tuple[int, ...]) -> None:
        block = 512
        tremor, pauses, grasps, dither = policy_generator(seed).spawn(4)
        self.tremor = Tape(lambda: tremor.standard_normal((block, *tremor_shape)))
        self.pauses = Tape(lambda: pauses.random((block, 2)))
        self.grasps = Tape(lambda: grasps.standard_normal((block, *grasp_shape)))
        self.dither = dither.standard_normal(tremor_shape)


def pause_steps(row: FloatArray, probability: float, lasting_s: tuple[float, float], control_hz: float) -> int:
    """Steps of the hesitation that begins now; 0 for none.

    Args:
        row: (2,) evenly from 0 to 1: whether, and how long.
        probability: that one begins.
        lasting_s: the shortest and the longest.
    """
    chance, length = map(float, row)
    if chance >= probability:
        return 0
    shortest, longest = lasting_s
    return max(1, round((shortest + length * (longest - shortest)) * control_hz))


def dither_swing(step: int, control_hz: float) -> float:
    """Where in its swing an arm is that hesitates, -1 to 1."""
    return math.sin(2 * math.pi * DITHER_HZ * step / control_hz)
