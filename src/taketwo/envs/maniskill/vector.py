"""N environments of one ManiSkill simulation, and one alone, with the interfaces of this package."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from taketwo.envs.batches import POLICY, Reader, as_pixels
from taketwo.envs.gym_spaces import nameless_actions
from taketwo.envs.lazy_images import LazyImages
from taketwo.envs.maniskill.package import load, make, renders
from taketwo.envs.tensors import as_native, to_numpy
from taketwo.errors import ConfigError, EnvironmentFault
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Observation, Pixels, StepResult, VectorStep

if TYPE_CHECKING:
    from taketwo.envs.maniskill import ManiSkillConfig


class ManiSkillVector:
    """N environments of one simulation: on a GPU, or a single one on the CPU.

    Those that are given no action get zeros and go on.
    """

    resets_itself = False

    def __init__(self, config: ManiSkillConfig, num_envs: int) -> None:
        """Build the scene.

        Raises:
            ConfigError: an option does not fit, or data is missing.
            MissingExtraError: ManiSkill is not installed.
        """
        self.num_envs = num_envs
        self._env = make(config, num_envs)
        try:
            self._look(config)
        except BaseException:
            self._env.close()
            raise

    def _look(self, config: ManiSkillConfig) -> None:
        """See what there is, by a first reset."""
        num_envs, space = self.num_envs, self._env.single_action_space
        if space is None or getattr(space, "shape", None) is None:
            raise ConfigError(f"id {config.id!r} does not take actions of numbers alone: {space}")
        first, _ = self._env.reset(seed=0)
        self._sample = self._env.elapsed_steps
        self._reader = Reader(_groups(first), num_envs, POLICY)
        drawn = self._env.scene.human_render_cameras if renders(config) else {}
        sizes = {name: CameraSpec(camera.config.height, camera.config.width) for name, camera in drawn.items()}
        cameras = {**self._reader.cameras, **sizes}
        self._lazy = [LazyImages(partial(self._render, env), cameras) for env in range(num_envs)]
        self._seen: Mapping[str, Any] = {}
        self._drawn: dict[str, Any] = {}
        self._steps = np.zeros(num_envs, int)
        self.spec = self._make_spec(config, space, cameras)

    def reset(
        self, seeds: Mapping[int, int], options: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Mapping[int, Observation]:
        """Begin an episode in some of them.

        One after the other, since ManiSkill draws the beginnings of all that it resets together out of one seed.
        """
        groups: Mapping[str, Any] = {}
        for env, seed in seeds.items():
            self._check(env)
            chosen = as_native(np.array([env]), self._sample)
            told, _ = self._env.reset(seed=[seed] * self.num_envs, options={"env_idx": chosen})
            self._steps[env] = 0
            groups = _groups(told)
        return self._observe(groups, list(seeds)) if seeds else {}

    def step(self, actions: Mapping[int, FloatArray]) -> VectorStep:
        """Step all of them; results are of those that are given an action.

        Raises:
            EnvironmentFault: an action has another width, or there is no such environment.
        """
        gathered = np.zeros((self.num_envs, self.spec.action_dim), np.float32)
        for env, action in actions.items():
            self._check(env)
            if action.shape != (self.spec.action_dim,):
                raise EnvironmentFault(f"{self.spec.name} takes ({self.spec.action_dim},) actions, got {action.shape}")
            gathered[env] = action
        told, *rest = self._env.step(as_native(gathered, self._sample))
        rewards, terminated, truncated = (to_numpy(values).reshape(-1) for values in rest[:3])
        info = self._info(rest[3])
        self._steps += 1
        everyone = self._observe(_groups(told), range(self.num_envs))
        results = {
            env: StepResult(
                observation=everyone[env],
                reward=float(rewards[env]),
                terminated=bool(terminated[env]),
                truncated=bool(truncated[env]),
                success=bool(info["success"][env]) if "success" in info else None,
                info={name: values[env].item() for name, values in info.items()},
            )
            for env in actions
        }
        return VectorStep(results)

    def close(self) -> None:
        """Take the scene down."""
        for lazy in self._lazy:
            lazy.close()
        self._env.close()

    def _check(self, env: int) -> None:
        if env not in range(self.num_envs):
            raise EnvironmentFault(f"{self.spec.name} has no environment {env}")

    def _info(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of each environment, (N,) each."""
        values = {name: to_numpy(value) for name, value in info.items() if hasattr(value, "shape")}
        return {name: value for name, value in values.items() if value.shape == (self.num_envs,)}

    def _observe(self, groups: Mapping[str, Any], envs: Any) -> dict[int, Observation]:
        self._seen = dict(self._reader.pictures(groups))
        self._drawn.clear()
        states = self._reader.states(groups)
        times = self._steps / self._env.control_freq
        return {env: Observation(states[env], self._lazy[env].next_instant(), time_s=float(times[env])) for env in envs}

    def _render(self, env: int, camera: str, height: int, width: int) -> Pixels:
        if camera in self._seen:
            return as_pixels(to_numpy(self._seen[camera][env]), camera)
        if camera not in self._drawn:
            self._drawn[camera] = self._env.render_rgb_array(camera)
        return as_pixels(to_numpy(self._drawn[camera][env]), camera)

    def _make_spec(self, config: ManiSkillConfig, space: Any, cameras: Mapping[str, CameraSpec]) -> EnvironmentSpec:
        low, high = (np.ravel(side).astype(np.float64) for side in (space.low, space.high))
        names, units = nameless_actions(low.size)
        return EnvironmentSpec(
            name=config.id,
            action_names=names,
            action_units=units,
            action_low=low,
            action_high=high,
            state_names=self._reader.names,
            control_hz=float(self._env.control_freq),
            cameras=cameras,
            max_episode_steps=load().REGISTERED_ENVS[config.id].max_episode_steps,
        )


class ManiSkillEnvironment:
    """One environment."""

    def __init__(self, config: ManiSkillConfig) -> None:
        """Build the scene, on the CPU unless the options say otherwise.

        Raises:
            ConfigError: an option does not fit, or data is missing.
            MissingExtraError: ManiSkill is not installed.
        """
        self._vector = ManiSkillVector(config, 1)
        self.spec = self._vector.spec

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode."""
        return self._vector.reset({0: seed})[0]

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action.

        Raises:
            EnvironmentFault: it has another width.
        """
        return self._vector.step({0: action}).results[0]

    def close(self) -> None:
        """Take the scene down."""
        self._vector.close()


def _groups(observations: Mapping[str, Any]) -> dict[str, Any]:
    """ManiSkill's observations with what cameras see beside the rest."""
    seen = observations.get("sensor_data", {})
    rest = {name: value for name, value in observations.items() if name not in ("sensor_data", "sensor_param")}
    return {POLICY: rest} | {camera: data["rgb"] for camera, data in seen.items() if "rgb" in data}
