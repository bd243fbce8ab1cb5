"""What makes the scripted policies fail as learned ones do: random numbers by step, and hesitations."""

from __future__ import annotations

import math
from collections.abc import Callable

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
