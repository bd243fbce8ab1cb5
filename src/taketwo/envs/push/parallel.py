"""One push world with PettingZoo's parallel interface, an agent a robot (https://pettingzoo.farama.org/api/parallel)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.mujoco_rendering import MujocoRenderer
from taketwo.envs.push import PushConfig
from taketwo.envs.push.environment import MAX_EPISODE_STEPS, draw
from taketwo.envs.push.model import CONTROL_HZ
from taketwo.envs.push.world import PushWorld, action_limits
from taketwo.errors import ConfigError, EnvironmentFault, MissingExtraError
from taketwo.types import FloatArray, Pixels

try:
    from gymnasium.spaces import Box
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    raise MissingExtraError("pettingzoo", "pettingzoo") from error

Float32 = NDArray[np.float32]


class PushParallel(ParallelEnv):  # type: ignore[misc]
    """Agents `robot_0`, `robot_1`, ... that share one reward.

    An action is (3,) velocities forward and to the left (m/s) and a yaw rate (rad/s). An observation is (3 (R + 2),)
    poses (m, rad): the agent's own, then the other robots' in order, the object's and the target's.
    """

    metadata: ClassVar = {
        "name": "push_v0",
        "render_modes": ["rgb_array"],
        "is_parallelizable": True,
        "render_fps": CONTROL_HZ,
    }

    def __init__(
        self,
        config: PushConfig | None = None,
        *,
        max_episode_steps: int = MAX_EPISODE_STEPS,
        render_mode: str | None = None,
    ) -> None:
        """Compile the world.

        Args:
            max_episode_steps: steps after which an episode is truncated.
            render_mode: `rgb_array`, or None to draw nothing. It is the configuration's first camera that draws.

        Raises:
            ConfigError: there is no such render mode, or no camera for it.
        """
        self.config = config or PushConfig()
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode must be rgb_array or None, not {render_mode!r}")
        if render_mode is not None and not self.config.cameras:
            raise ConfigError("render_mode 'rgb_array' needs a camera; the configuration has none")
        model = self.config.build()
        self._world = PushWorld(model)
        self._renderer = MujocoRenderer(model.mujoco, self.config.quality)
        self.render_mode = render_mode
        self.max_episode_steps = max_episode_steps
        self.possible_agents = [f"robot_{robot}" for robot in range(self.config.robots)]
        self.agents: list[str] = []
        self._seeds = np.random.default_rng()
        limits = action_limits(1).astype(np.float32)
        width = 3 * (self.config.robots + 2)
        self.observation_spaces = {name: Box(-np.inf, np.inf, (width,), np.float32) for name in self.possible_agents}
        self.action_spaces = {name: Box(-limits, limits, dtype=np.float32) for name in self.possible_agents}
        self.state_space = Box(-np.inf, np.inf, (width,), np.float32)

    def observation_space(self, agent: str) -> Any:
        """The agent's space; the same object each time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The agent's space; the same object each time."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Float32], dict[str, dict[str, Any]]]:
        """Begin an episode. Without a seed it is drawn from the last one that was given, or at random.

        There are no options; any that are given have no effect, which PettingZoo's own test expects.
        """
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._world.reset(int(self._seeds.integers(2**32)) if seed is None else seed)
        self.agents = list(self.possible_agents)
        return self._observations(), {name: {} for name in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Float32], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Hold every agent's velocities for one control period; infos carry `is_success` and `metrics`.

        Raises:
            EnvironmentFault: an agent's action is missing, has another shape or is not finite, or nothing has begun.
        """
        if not self.agents:
            raise EnvironmentFault("push has no episode under way: reset it first")
        reward = self._world.step(self._joined(actions))
        success = self._world.solved()
        truncated = not success and self._world.tally.steps >= self.max_episode_steps
        told = self.agents
        if success or truncated:
            self.agents = []
        info = {"is_success": success, "metrics": self._world.tally.metrics()}
        return (
            self._observations(),
            dict.fromkeys(told, reward),
            dict.fromkeys(told, success),
            dict.fromkeys(told, truncated),
            {name: dict(info) for name in told},
        )

    def state(self) -> Float32:
        """(3 (R + 2),) the poses of all robots, the object and the target."""
        return self._world.state().astype(np.float32)

    def render(self) -> Pixels | None:
        """(height, width, 3) uint8 RGB; None where there is no render mode."""
        if self.render_mode is None:
            return None
        return draw(self._renderer, self._world, self.config.cameras[0], self.config.height, self.config.width)

    def close(self) -> None:
        """Free the GL contexts."""
        self._renderer.close()

    def _joined(self, actions: Mapping[str, Any]) -> FloatArray:
        """(3 R,) the actions of all."""
        for name in self.agents:
            if name not in actions:
                raise EnvironmentFault(f"push takes an action for every robot, got none for {name}")
            if np.shape(actions[name]) != (3,):
                raise EnvironmentFault(f"push takes an action of shape (3,) for {name}, got {np.shape(actions[name])}")
        return np.concatenate([actions[name] for name in self.agents]).astype(np.float64)

    def _observations(self) -> dict[str, Float32]:
        poses = self._world.poses().astype(np.float32)
        robots = len(self.possible_agents)
        orders = ([own, *(other for other in range(robots + 2) if other != own)] for own in range(robots))
        return {name: poses[order].ravel() for name, order in zip(self.possible_agents, orders, strict=True)}
