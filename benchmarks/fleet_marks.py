"""When the dummy environments of the fleet's benchmark were told to do something. Needs the standard library alone."""

from __future__ import annotations

import math
import struct
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

RECORD = struct.Struct("<d")
"""Seconds of a step; not a number where an episode begins."""

Episodes = list[list[float]]


class Marks:
    """Writes the time of every step to a file, two microseconds each; nothing is lost when the process is ended."""

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).open("ab", buffering=0)  # noqa: SIM115 - until the process ends
        self._steps = 0

    def begin(self) -> None:
        """An episode begins."""
        self._file.write(RECORD.pack(math.nan))
        self._steps = 0

    def step(self) -> int:
        """A step begins; returns which one of the episode it is, from 1."""
        self._file.write(RECORD.pack(time.perf_counter()))
        self._steps += 1
        return self._steps


def read(path: Path) -> Episodes:
    """The times of the steps, episode by episode, in seconds."""
    episodes: Episodes = []
    for (value,) in RECORD.iter_unpack(path.read_bytes()):
        if math.isnan(value):
            episodes.append([])
        else:
            episodes[-1].append(value)
    return episodes


def step_s(episodes: Episodes) -> float:
    """From a step to the next one within an episode: the median episode's mean, in seconds."""
    return median((steps[-1] - steps[0]) / (len(steps) - 1) for steps in episodes)


def between_s(episodes: Episodes) -> float:
    """From an episode's last step to the first step of the next one: the median, in seconds."""
    return median(after[0] - before[-1] for before, after in pairwise(episodes))
