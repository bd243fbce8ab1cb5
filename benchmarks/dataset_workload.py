"""What both sides of the dataset benchmark record, and how they are clocked.

Runs in every environment of the benchmark, so it needs NumPy alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

CAMERAS = ("top", "angle")
HEIGHT, WIDTH = 480, 640
FPS = 50
JOINTS = 14
IMAGE_PREFIX = "observation.images."
TASK = "Transfer cube"
REPO_ID = "benchmark/transfer_cube"


@dataclass(frozen=True)
class Row:
    """What is recorded of one step: arrays that nobody else holds, as a camera's driver gives them.

    Attributes:
        pictures: camera to (480, 640, 3) uint8.
        state: (14,) float32.
        action: (14,) float32.
    """

    pictures: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    action: NDArray[np.float32]


class Rollout:
    """The steps of one episode in the simulator, in memory; recorded again and again."""

    def __init__(self, folder: Path) -> None:
        self.pictures = {camera: np.load(folder / f"{camera}.npy") for camera in CAMERAS}
        self._states = np.load(folder / "state.npy")
        self._actions = np.load(folder / "action.npy")
        self.steps = len(self._states)

    def row(self, step: int) -> Row:
        """A fresh copy; after the last step it begins again."""
        step %= self.steps
        return Row(
            {camera: pictures[step].copy() for camera, pictures in self.pictures.items()},
            self._states[step].copy(),
            self._actions[step].copy(),
        )


class Recorder(Protocol):
    """One side's way to record a dataset, from its creation until `close`."""

    def step(self, row: Row) -> None:
        """Hand over one row."""
        ...

    def end_episode(self) -> None:
        """The episode is over."""
        ...

    def close(self) -> None:
        """Wait until everything is on the disk, as it is meant to stay."""
        ...


class Side(Protocol):
    """What one side can record with."""

    def record(self, root: Path) -> Recorder:
        """Begin a dataset in a folder that is not there."""
        ...


def record_unpaced(side: Side, rollout: Rollout, root: Path, episodes: int, rows: int) -> dict[str, Any]:
    """Episodes as fast as they go, from the dataset's creation until it is whole."""
    began = time.perf_counter()
    recorder = side.record(root)
    for _ in range(episodes):
        for step in range(rows):
            recorder.step(rollout.row(step))
        recorder.end_episode()
    recorder.close()
    wall_s = time.perf_counter() - began
    return {"rows": episodes * rows, "wall_s": wall_s, "rows_per_s": episodes * rows / wall_s}


def record_at_rate(side: Side, rollout: Rollout, root: Path, episodes: int, rows: int) -> dict[str, Any]:
    """Episodes at 50 Hz, then one second more; what the loop's thread pays for them.

    Returns:
        `step_ms` of every step, `end_ms` of every end of an episode, and `after_end_ms`: for each, the dearest step
        of the second that follows.
    """
    recorder = side.record(root)
    step_ms: list[float] = []
    end_ms: list[float] = []
    after_end_ms: list[float] = []
    for length in [rows] * episodes + [FPS]:
        costs = []
        for row in _by_the_clock(rollout, length):
            began = time.perf_counter()
            recorder.step(row)
            costs.append((time.perf_counter() - began) * 1e3)
        if step_ms:
            after_end_ms.append(max(costs[:FPS]))
        step_ms += costs
        began = time.perf_counter()
        recorder.end_episode()
        end_ms.append((time.perf_counter() - began) * 1e3)
    recorder.close()
    return {"step_ms": step_ms, "end_ms": end_ms[:-1], "after_end_ms": after_end_ms}


def _by_the_clock(rollout: Rollout, rows: int) -> Iterator[Row]:
    began = time.perf_counter()
    for step in range(rows):
        row = rollout.row(step)
        time.sleep(max(0.0, began + step / FPS - time.perf_counter()))
        yield row


def random_steps(steps: int, count: int, seed: int) -> list[int]:
    """Steps to be read, in no order."""
    return [int(step) for step in np.random.default_rng(seed).integers(steps, size=count)]


def psnr(shown: NDArray[np.uint8], meant: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of a picture, in dB, over all three channels."""
    difference = np.subtract(shown, meant, dtype=np.int16).ravel().astype(np.float32)
    return float(10 * np.log10(255**2 * difference.size / max(np.dot(difference, difference), 1e-9)))
