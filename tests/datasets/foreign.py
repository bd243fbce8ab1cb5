"""Datasets that LeRobot itself recorded, each made once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tests.peers import run_in_peer

PROBES = Path(__file__).parent / "probes"
LENGTHS = (20, 7, 13)
FPS = 30


@dataclass(frozen=True)
class Foreign:
    """A dataset of three episodes, the second of which succeeded; not to be changed.

    Attributes:
        truth: by `<episode>/<column>` what was recorded: (T, ...) arrays.
    """

    root: Path
    kind: str
    truth: dict[str, np.ndarray]

    def copy(self, folder):
        """One that may be changed."""
        return Path(shutil.copytree(self.root, folder / "copy"))


@cache
def foreign_dataset(folder, version, kind):
    """Recorded by LeRobot of that version, with `video` or `image` for a kind; skips where LeRobot is not there."""
    folder.mkdir(exist_ok=True)
    root, truth = folder / f"{version}-{kind}", folder / f"{version}-{kind}.npz"
    run_in_peer(version, PROBES / "reader_make.py", root, kind, truth)
    with np.load(truth) as arrays:
        return Foreign(root, kind, dict(arrays))
