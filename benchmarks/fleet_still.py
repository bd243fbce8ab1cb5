"""Our side: an environment and a policy that do nothing, which `taketwo` finds by the entry points of `install`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fleet_marks import Marks
from taketwo.serving.environments import AlohaSimConfig
from taketwo.types import (
    ActionChunk,
    CameraSpec,
    EnvironmentSpec,
    EpisodeInfo,
    FloatArray,
    Image,
    Observation,
    StepResult,
)

DIM = 14


def install(folder: Path) -> None:
    """Make a folder that has to be on PYTHONPATH, with the one of this file, for the names `still` to be known."""
    package = folder / "still-0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: still\nVersion: 0\n")
    (package / "entry_points.txt").write_text(
        "[taketwo.envs]\nstill = fleet_still:StillEnvironmentConfig\n"
        "[taketwo.policies]\nstill = fleet_still:StillPolicyConfig\n"
    )


@dataclass(frozen=True)
class StillEnvironmentConfig:
    """Shows one picture after the other, whatever the action.

    Attributes:
        frames: `.npy` file of (N, H, W, 3) uint8.
        marks: file for the times of the steps.
    """

    frames: Path
    marks: Path

    def make(self) -> StillEnvironment:
        """Load the pictures."""
        return StillEnvironment(self)


class StillEnvironment:
    """ALOHA's 14 joints, which stay where they are, under a camera `top`."""

    def __init__(self, config: StillEnvironmentConfig) -> None:
        self._frames = np.load(config.frames)
        self._marks = Marks(config.marks)
        self._state = np.zeros(DIM)
        camera = CameraSpec(*self._frames.shape[1:3])
        self.spec = replace(AlohaSimConfig().make().spec, name="still", cameras={"top": camera}, prompt="stand still")

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        self._marks.begin()
        return self._observe(0)

    def step(self, action: FloatArray) -> StepResult:
        return StepResult(self._observe(self._marks.step()), 0.0, terminated=False, truncated=False)

    def close(self) -> None:
        pass

    def _observe(self, number: int) -> Observation:
        picture = Image.of(self._frames[number % len(self._frames)], "top")
        return Observation(self._state, {"top": picture}, time_s=number / self.spec.control_hz, prompt=self.spec.prompt)


@dataclass(frozen=True)
class StillPolicyConfig:
    """Answers at once, always the same."""

    def make(self, spec: EnvironmentSpec) -> StillPolicy:
        """Build it."""
        return StillPolicy()


class StillPolicy:
    """Answers at once, always the same."""

    cameras: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._answer = ActionChunk(np.zeros((1, DIM)))

    def reset(self, episode: EpisodeInfo) -> None:
        pass

    def infer(self, observation: Observation) -> ActionChunk:
        return self._answer

    def close(self) -> None:
        pass
