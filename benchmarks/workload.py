"""What both sides of the benchmark do: one policy, one fingerprint of what it saw, one way to talk to a worker.

Runs in either virtual environment, so it needs NumPy alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ACTION_DIM = 14
CHUNK_LENGTH = 10
PICTURE_SIZE = 224
CONTROL_HZ = 50
GRIPPERS = [6, 13]


class Sway:
    """Sways both arms about the pose in which the episode begins, the further the brighter the picture.

    Whoever shows it other pixels gets other actions.
    """

    def __init__(self, action_horizon: int) -> None:
        self.pictures = 0
        self._horizon = action_horizon
        self._digest = hashlib.sha256()
        self.begin_episode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every picture and state so far, in order."""
        return self._digest.hexdigest()

    def begin_episode(self) -> None:
        self._start: NDArray[np.float64] | None = None
        self._step = 0

    def chunk(self, picture: NDArray[np.uint8], state: NDArray[np.float64]) -> NDArray[np.float64]:
        """(CHUNK_LENGTH, 14) joint positions for a (3, 224, 224) picture and a (14,) state."""
        if picture.shape != (3, PICTURE_SIZE, PICTURE_SIZE):
            raise ValueError(f"the policy was shown a picture of shape {picture.shape}")
        self.pictures += 1
        self._digest.update(np.ascontiguousarray(picture).data)
        self._digest.update(np.ascontiguousarray(state).data)
        if self._start is None:
            self._start = state.copy()
        times = (self._step + np.arange(CHUNK_LENGTH)[:, None]) / CONTROL_HZ
        amplitude = 0.2 * (0.5 + picture.mean() / 255)
        actions: NDArray[np.float64] = self._start + amplitude * np.sin(2 * np.pi * 0.5 * times + np.arange(ACTION_DIM))
        actions[:, GRIPPERS] = 1.0
        self._step += self._horizon
        return actions


def resident_mb() -> float:
    """The process's resident memory in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth_mb_per_1000(steps: Sequence[int], memory_mb: Sequence[float]) -> float:
    """Slope of the least-squares line through the smallest sample of each tenth of the steps.

    What waits in a queue while the machine is busy is gone again in a moment; what is kept is not.
    """
    tenths = np.array_split(np.arange(len(steps)), 10)
    lows = [min(tenth, key=lambda i: memory_mb[i]) for tenth in tenths]
    return float(np.polyfit([steps[i] for i in lows], [memory_mb[i] for i in lows], 1)[0] * 1000)


def serve(jobs: Mapping[str, Callable[..., Any]]) -> None:
    """Do the jobs that come as JSON lines on stdin; answer each with a JSON line on stdout, until stdin ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the answers
    for line in sys.stdin:
        job = json.loads(line)
        answers.write(json.dumps(jobs[job.pop("job")](**job)) + "\n")
        answers.flush()
    # Simulators may crash on the way out, when all is measured.
    os._exit(0)
