"""A real, tiny environment without any simulator: a point that is steered onto a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taketwo.envs.lazy_images import LazyImages
from taketwo.errors import ConfigError, EnvironmentFault, one_of
from taketwo.types import (
    CameraSpec,
    Decision,
    EnvironmentSpec,
    EpisodeInfo,
    FloatArray,
    Observation,
    Pixels,
    StepResult,
)

REACH_M = 0.02


class PointEnvironment:
    """A point in the unit square, moved by an action (2,) in metres a step, solved within 2 cm of its target.

    State is (x, y, target x, target y). One camera, `top`. Its own limit is 100 steps at 50 Hz.
    """

    def __init__(self, height: int = 48, width: int = 64) -> None:
        self._position = self._target = np.zeros(2)
        self._steps = 0
        self.pictures_made = 0
        self.spec = EnvironmentSpec(
            name="point",
            action_names=("x", "y"),
            action_units=("m", "m"),
            action_low=np.full(2, -0.1),
            action_high=np.full(2, 0.1),
            state_names=("x", "y", "target_x", "target_y"),
            control_hz=50.0,
            cameras={"top": CameraSpec(height, width)},
            max_episode_steps=100,
            prompt="Move the point onto the target",
        )
        self._images = LazyImages(self.render, self.spec.cameras)

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Put point and target somewhere."""
        self._position, self._target = np.random.default_rng(seed).uniform(0.1, 0.9, (2, 2))
        self._steps = 0
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """Move the point."""
        if action.shape != (2,):
            raise EnvironmentFault(f"the point takes actions of shape (2,), got {action.shape}")
        self._position = np.clip(self._position + np.clip(action, -0.1, 0.1), 0.0, 1.0)
        self._steps += 1
        distance = float(np.linalg.norm(self._position - self._target))
        solved = distance < REACH_M
        return StepResult(self._observe(), -distance, terminated=solved, truncated=False, success=solved)

    def close(self) -> None:
        """Nothing is open."""

    def camera_names(self) -> tuple[str, ...]:
        """`top`."""
        return ("top",)

    def render(self, camera: str, height: int, width: int) -> Pixels:
        """(height, width, 3): the target green, the point red."""
        if camera != "top":
            raise ConfigError(one_of("camera", camera, self.camera_names()))
        self.pictures_made += 1
        pixels = np.full((height, width, 3), 32, np.uint8)
        for (x, y), colour in ((self._target, (0, 200, 0)), (self._position, (220, 0, 0))):
            row, column = int(y * (height - 4)), int(x * (width - 4))
            pixels[row : row + 4, column : column + 4] = colour
        return pixels

    def _observe(self) -> Observation:
        return Observation(
            state=np.concatenate([self._position, self._target]),
            images=self._images.next_instant(),
            prompt=self.spec.prompt,
            time_s=self._steps / self.spec.control_hz,
        )


class SteeringController:
    """Steers the point towards its target by at most `speed` metres a step."""

    stalls = 0

    def __init__(self, speed: float = 0.05) -> None:
        self._speed = speed

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        """Nothing is kept between steps."""

    def decide(self, observation: Observation) -> Decision:
        """A step straight towards the target."""
        offset = observation.state[2:] - observation.state[:2]
        action = offset * min(1.0, self._speed / max(float(np.linalg.norm(offset)), 1e-9))
        return Decision(asked=action, sent=action)
