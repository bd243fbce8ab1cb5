"""One push world as an environment of this package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from taketwo.envs.lazy_images import LazyImages
from taketwo.envs.mujoco_rendering import MujocoRenderer
from taketwo.envs.push import CAMERAS
from taketwo.envs.push.model import CONTROL_HZ, ROBOT_RADIUS, PushModel
from taketwo.envs.push.shapes import HALF_HEIGHT
from taketwo.envs.push.world import PushWorld, action_limits, action_names, state_names
from taketwo.errors import ConfigError, EnvironmentFault, one_of
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Observation, Pixels, StepResult

if TYPE_CHECKING:
    from taketwo.envs.push import PushConfig

MAX_EPISODE_STEPS = 1000
"""40 s."""

PROMPTS = {
    "cuboid": "Push the box onto the target",
    "cylinder": "Push the cylinder onto the target",
    "t_block": "Push the T-block onto the target and turn it as the target is turned",
}


class PushEnvironment:
    """One push world. Can render, and be snapshot and restored.

    Actions are, for each robot, its velocity forward and to the left (m/s) and its yaw rate (rad/s). The state is the
    pose of each robot, the object and the target. An episode ends when the object is at its target.
    """

    def __init__(self, config: PushConfig, model: PushModel) -> None:
        self._world = PushWorld(model)
        self._renderer = MujocoRenderer(model.mujoco, config.quality)
        self.spec = make_spec(config)
        self._images = LazyImages(self.render, self.spec.cameras)
        self._begun = False

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode: robots, object and target are where the seed says."""
        if options:
            raise EnvironmentFault(f"push takes no reset options, got {', '.join(options)}")
        self._world.reset(seed)
        self._begun = True
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """Hold (3 R,) velocities for 0.04 s; those beyond the limits are cut off there.

        Raises:
            EnvironmentFault: the action has another shape, is not finite, or no episode has begun.
        """
        if not self._begun:
            raise EnvironmentFault("push has begun no episode: reset it first")
        reward = self._world.step(action)
        success = self._world.solved()
        return StepResult(
            observation=self._observe(),
            reward=reward,
            terminated=success,
            truncated=False,
            success=success,
            info={"is_success": success, "metrics": self._world.tally.metrics()},
        )

    def close(self) -> None:
        """Free the GL contexts."""
        self._images.close()
        self._renderer.close()

    def camera_names(self) -> tuple[str, ...]:
        """`overview` and `top`."""
        return CAMERAS

    def render(self, camera: str, height: int, width: int) -> Pixels:
        """(height, width, 3) uint8 RGB of the present state."""
        return draw(self._renderer, self._world, camera, height, width)

    def snapshot(self) -> dict[str, Any]:
        """MuJoCo's full integration state, the target, and the episode's counts."""
        return self._world.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> Observation:
        """Go back to a snapshot; what follows is the same, bit for bit."""
        self._world.restore(snapshot)
        self._begun = True
        return self._observe()

    def _observe(self) -> Observation:
        poses = self._world.poses()
        shape = self._world.model.shape
        return Observation(
            state=poses.ravel(),
            images=self._images.next_instant(),
            prompt=self.spec.prompt,
            extras={
                "object_poses": {"object": _pose(poses[-2], HALF_HEIGHT), "target": _pose(poses[-1], HALF_HEIGHT)},
                "object_outline": shape.outline.copy(),
                "turn_matters": shape.oriented,
                "robot_radius": ROBOT_RADIUS,
            },
            time_s=self._world.tally.steps / CONTROL_HZ,
        )


def draw(renderer: MujocoRenderer, world: PushWorld, camera: str, height: int, width: int) -> Pixels:
    """(height, width, 3) uint8 RGB of a world.

    Raises:
        ConfigError: there is no such camera.
    """
    if camera not in CAMERAS:
        raise ConfigError(one_of("camera", camera, CAMERAS))
    world.place_for_drawing()
    return renderer.render(world.data, camera, height, width)


def make_spec(config: PushConfig) -> EnvironmentSpec:
    """What the environment of these options is."""
    limits = action_limits(config.robots)
    return EnvironmentSpec(
        name=f"push_{config.object}",
        action_names=action_names(config.robots),
        action_units=("m/s", "m/s", "rad/s") * config.robots,
        action_low=-limits,
        action_high=limits,
        state_names=state_names(config.robots),
        control_hz=CONTROL_HZ,
        cameras={name: CameraSpec(config.height, config.width) for name in config.cameras},
        max_episode_steps=MAX_EPISODE_STEPS,
        prompt=PROMPTS[config.object],
    )


def _pose(pose: FloatArray, height: float) -> FloatArray:
    """(7,) position and w-x-y-z quaternion."""
    x, y, yaw = pose.tolist()
    return np.array([x, y, height, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
