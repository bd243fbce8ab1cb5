"""Many push worlds that step together, with the interface that environments for Isaac Gym have.

That interface is legged_gym's (Rudin et al. 2022, "Learning to walk in minutes using massively parallel deep
reinforcement learning"; `rsl_rl` and multi-robot code bases such as MQE take it on): arrays with a row for each world,
`step` with five results, and worlds that have begin anew before `step` returns where it says `done`. The last
observation of an episode is therefore never seen, and a camera shows a world as it is after that.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.checking import check_num_envs
from taketwo.envs.mujoco_rendering import MujocoRenderer
from taketwo.envs.push import PushConfig
from taketwo.envs.push.environment import MAX_EPISODE_STEPS, draw
from taketwo.envs.push.model import CONTROL_HZ
from taketwo.envs.push.world import PushWorld, action_names, state_names
from taketwo.errors import ConfigError, EnvironmentFault, MissingExtraError
from taketwo.types import FloatArray, Pixels

Library = Literal["numpy", "torch"]

Tensor = Any
"""A `torch.Tensor` or a NumPy array; floats are of 32 bits."""


class BatchedPush:
    """N push worlds over one model.

    Attributes:
        num_envs: N.
        num_obs: width of an observation: the poses of each robot, the object and the target (m, rad).
        num_privileged_obs: width of a privileged one: the same, with all velocities (m/s, rad/s).
        num_actions: width of an action: three velocities for each robot, in their own units.
        num_agents: how many robots there are.
        max_episode_length: steps after which an episode is cut off.
        dt: seconds a step.
        device: where tensors are; `cpu` with NumPy.
        episode_length_buf: (N,) steps since the world began anew.
        extras: what `step` returned last.
    """

    def __init__(
        self,
        num_envs: int,
        config: PushConfig | None = None,
        *,
        seed: int = 0,
        max_episode_length: int = MAX_EPISODE_STEPS,
        library: Library = "numpy",
        device: str = "cpu",
    ) -> None:
        """Compile the world once; nothing has begun until `reset`.

        Raises:
            ConfigError: there is no world, or no step, or a device was given for NumPy.
            MissingExtraError: MuJoCo, or PyTorch where it is asked for, is not installed.
        """
        check_num_envs(num_envs)
        if max_episode_length < 1:
            raise ConfigError(f"max_episode_length must be 1 or more, not {max_episode_length}")
        self.config = config or PushConfig()
        self.num_envs = num_envs
        self.num_agents = self.config.robots
        self.num_obs = len(state_names(self.config.robots))
        self.num_privileged_obs = self.num_obs + 3 * (self.config.robots + 1)
        self.num_actions = len(action_names(self.config.robots))
        self.max_episode_length = max_episode_length
        self.dt = 1 / CONTROL_HZ
        self.device = device
        self.extras: dict[str, Any] = {}
        self._arrays = _Arrays(library, device)
        model = self.config.build()
        self._worlds = [PushWorld(model) for _ in range(num_envs)]
        self._renderer = MujocoRenderer(model.mujoco, self.config.quality)
        self._seed = seed
        self._episodes = [0] * num_envs
        self._begun = False

    @property
    def episode_length_buf(self) -> Tensor:
        """(N,) int64."""
        return self._arrays.give(np.array([world.tally.steps for world in self._worlds], np.int64))

    def seed_of(self, env: int, episode: int) -> int:
        """The seed of a world's n-th episode, from 0: what a single push world is to be reset with for the same one."""
        return int(np.random.SeedSequence(self._seed, spawn_key=(env, episode)).generate_state(1)[0])

    def seed(self, seed: int) -> None:
        """Count episodes from 0 again, under another seed; it counts from the next `reset`."""
        self._seed = seed
        self._episodes = [0] * self.num_envs

    def reset(self) -> tuple[Tensor, Tensor]:
        """Begin an episode in every world, and return what `get_observations` and `get_privileged_observations` do."""
        self.reset_idx(range(self.num_envs))
        self._begun = True
        return self.get_observations(), self.get_privileged_observations()

    def reset_idx(self, env_ids: Any) -> None:
        """Begin an episode in some worlds, given by number."""
        for env in (int(index) for index in env_ids):
            self._worlds[env].reset(self.seed_of(env, self._episodes[env]))
            self._episodes[env] += 1

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Hold (N, 3 R) velocities for one control period in every world.

        Returns:
            (N, num_obs) observations, (N, num_privileged_obs) privileged ones, both after worlds that are done have
            begun anew; (N,) rewards and (N,) bool dones of the step; and extras: `time_outs` (N,) bool, done without
            success; `success` (N,) bool; `metrics`, a mapping of names to (N,) figures of the episodes as they stood
            after the step, NaN where there is none yet; and, when episodes ended, `episode`, the means over those.

        Raises:
            EnvironmentFault: the actions have another shape or are not finite, or nothing has begun.
        """
        given = self._arrays.take(actions)
        self._check(given)
        rewards = np.array([world.step(action) for world, action in zip(self._worlds, given, strict=True)])
        success = np.array([world.solved() for world in self._worlds])
        time_outs = ~success & np.array([world.tally.steps >= self.max_episode_length for world in self._worlds])
        dones = success | time_outs
        self._tell(success, time_outs)
        self.reset_idx(np.flatnonzero(dones))
        give = self._arrays.give
        observed = self.get_observations(), self.get_privileged_observations()
        return *observed, give(rewards.astype(np.float32)), give(dones), self.extras

    def get_observations(self) -> Tensor:
        """(N, num_obs) float32."""
        return self._arrays.give(np.array([world.state() for world in self._worlds], np.float32))

    def get_privileged_observations(self) -> Tensor:
        """(N, num_privileged_obs) float32."""
        rows = [np.concatenate([world.state(), world.velocities()]) for world in self._worlds]
        return self._arrays.give(np.array(rows, np.float32))

    def capture(self, env: int, camera: str = "overview", height: int = 480, width: int = 640) -> Pixels:
        """(height, width, 4) uint8 RGBA of one world as it is now, as Isaac Gym's cameras give it."""
        pixels = np.full((height, width, 4), 255, np.uint8)
        pixels[..., :3] = draw(self._renderer, self._worlds[env], camera, height, width)
        return pixels

    def close(self) -> None:
        """Free the GL contexts."""
        self._renderer.close()

    def _tell(self, success: NDArray[np.bool_], time_outs: NDArray[np.bool_]) -> None:
        """Put together the extras of a step."""
        give = self._arrays.give
        told = [world.tally.metrics() for world in self._worlds]
        metrics = {name: np.array([row[name] for row in told], np.float32) for name in told[0]}
        self.extras = {
            "time_outs": give(time_outs),
            "success": give(success),
            "metrics": {name: give(values) for name, values in metrics.items()},
        }
        done = success | time_outs
        if done.any():
            self.extras["episode"] = {name: _mean(values[done]) for name, values in metrics.items()}

    def _check(self, actions: FloatArray) -> None:
        if not self._begun:
            raise EnvironmentFault("the push worlds have begun no episode: call reset first")
        if actions.shape != (self.num_envs, self.num_actions):
            raise EnvironmentFault(
                f"push takes actions of shape ({self.num_envs}, {self.num_actions}), got {actions.shape}"
            )
        broken = np.flatnonzero(~np.isfinite(actions).all(axis=1))
        if len(broken):
            # Before any world has moved, so that all are still at the same step.
            raise EnvironmentFault(f"push takes finite velocities, got NaN or infinity for environment {broken[0]}")


class _Arrays:
    """Between NumPy, in which the worlds compute, and what the caller wants."""

    def __init__(self, library: Library, device: str) -> None:
        self._torch = _import_torch() if library == "torch" else None
        self._device = device
        if self._torch is None and device != "cpu":
            raise ConfigError(f"device {device!r} needs library='torch'; NumPy's arrays are on the cpu")

    def take(self, values: Tensor) -> FloatArray:
        """float64, whatever the caller has."""
        if self._torch is not None and isinstance(values, self._torch.Tensor):
            values = values.detach().cpu().numpy()
        return np.asarray(values, np.float64)

    def give(self, values: NDArray[Any]) -> Tensor:
        """The caller's kind."""
        return values if self._torch is None else self._torch.from_numpy(values).to(self._device)


def _import_torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "torch") from error
    return torch


def _mean(values: NDArray[np.float32]) -> float:
    """Of the values that there are; NaN where there is none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
