"""The LIBERO environment: episodes, observations and lazy pictures over a `LiberoSimulation`.

Pictures are drawn by MuJoCo itself, each environment with GL contexts of its own that are made current for every
picture. robosuite's renderer is not used: with two environments alive it draws one's pictures into the other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from taketwo.envs.lazy_images import LazyImages
from taketwo.envs.libero import LiberoConfig
from taketwo.envs.libero.culling import Culling
from taketwo.envs.libero.package import assets_folder, package_folder
from taketwo.envs.libero.simulation import CONTROL_HZ, LiberoSimulation
from taketwo.envs.libero.tasks import STEP_LIMITS, LiberoTask, find_task, read_init_states
from taketwo.envs.mujoco_rendering import MujocoRenderer
from taketwo.errors import ConfigError, EnvironmentFault, one_of
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Observation, Pixels, StepResult

POSE = ("x", "y", "z", "rx", "ry", "rz")

INIT_STATE = "init_state"
"""The reset option that tells the number of the initial state."""


class LiberoEnvironment:
    """One LIBERO task. Can render, be snapshot and restored."""

    def __init__(self, config: LiberoConfig) -> None:
        package = package_folder()
        self._task = find_task(package, config.suite, config.task)
        self._init_states = read_init_states(self._task.init_states_file)
        self._config = config
        if config.init_state is not None and not 0 <= config.init_state < len(self._init_states):
            raise ConfigError(f"init_state must be from 0 to {len(self._init_states) - 1}, not {config.init_state}")
        self._simulation = LiberoSimulation(package, self._task, assets_folder(package, config.assets))
        model = self._simulation.model
        self._camera_names = tuple(model.camera(index).name for index in range(model.ncam))
        for camera in config.cameras:
            if camera not in self._camera_names:
                raise ConfigError(f"cameras: {one_of('camera', camera, self._camera_names)}")
        self._renderer = MujocoRenderer(model, config.quality)
        self._culling = Culling(model)
        self._steps = 0
        self._init_state = 0
        self._begun = False
        self.spec = _spec(config, self._task, len(self._init_states))
        self._images = LazyImages(self.render, self.spec.cameras)

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode.

        Args:
            seed: of what the initial state leaves open, such as where a cabinet stands; and, where nothing else says
                which, of the initial state.
            options: `init_state`, the number of the initial state, from 0; beyond the last they begin again.
        """
        unknown = set(options or ()) - {INIT_STATE}
        if unknown:
            raise EnvironmentFault(f"libero takes the reset option {INIT_STATE}, not {', '.join(sorted(unknown))}")
        self._init_state = self._chosen_init_state(seed, options or {})
        state = self._init_states[self._init_state]
        self._simulation.reset(seed, state, self._config.num_steps_wait)
        self._steps = 0
        self._begun = True
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action for 0.05 s, (7,) from -1 to 1.

        Three are the gripper's shift (1 is 0.05 m), three its turn (1 is 0.5 rad), about the axes of the world, the
        last one is the gripper: 1 closes it, -1 opens it.
        """
        if action.shape != (self.spec.action_dim,):
            raise EnvironmentFault(f"libero takes actions of shape (7,), got {action.shape}")
        reward, success = self._simulation.step(np.asarray(action, dtype=np.float64))
        self._steps += 1
        return StepResult(
            observation=self._observe(),
            reward=reward,
            terminated=success,
            truncated=False,
            success=success,
            info={"is_success": success, INIT_STATE: self._init_state},
        )

    def close(self) -> None:
        """Free the GL contexts and the model."""
        self._images.close()
        self._renderer.close()
        self._simulation.close()

    def camera_names(self) -> tuple[str, ...]:
        """Every camera of the model."""
        return self._camera_names

    def render(self, camera: str, height: int, width: int) -> Pixels:
        """(height, width, 3) uint8 RGB of the present state: robosuite's picture turned by 180 degrees.

        robosuite's rows come bottom first, so this is what the camera sees, left and right swapped.
        """
        self._check_camera(camera)
        data = self._simulation.data
        with self._culling.unseen_hidden(data, camera, height, width):
            upright = self._renderer.render(data, camera, height, width)
        return np.ascontiguousarray(upright[:, ::-1])

    def snapshot(self) -> dict[str, Any]:
        """The simulation's full state, with the number of steps taken."""
        return {
            "task": self._task.name,
            INIT_STATE: self._init_state,
            "steps": self._steps,
            **self._simulation.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> Observation:
        """Go back to a snapshot; what follows is the same, bit for bit."""
        if snapshot["task"] != self._task.name:
            raise EnvironmentFault(f"a snapshot of {snapshot['task']} cannot be restored in {self._task.name}")
        if not self._begun:
            self.reset(seed=0)
        self._simulation.restore(snapshot)
        self._steps = snapshot["steps"]
        self._init_state = snapshot[INIT_STATE]
        return self._observe()

    def _chosen_init_state(self, seed: int, options: Mapping[str, Any]) -> int:
        if self._config.init_state is not None:
            return self._config.init_state
        return int(options.get(INIT_STATE, seed)) % len(self._init_states)

    def _observe(self) -> Observation:
        simulation = self._simulation
        return Observation(
            state=simulation.state(),
            images=self._images.next_instant(),
            prompt=self.spec.prompt,
            extras={
                "object_poses": simulation.object_poses(),
                "object_boxes": simulation.boxes,
                "touched_by": simulation.touched_by(),
                "goal": simulation.goal,
            },
            time_s=self._steps / self.spec.control_hz,
        )

    def _check_camera(self, camera: str) -> None:
        if camera not in self._camera_names:
            raise ConfigError(one_of("camera", camera, self._camera_names))


def _spec(config: LiberoConfig, task: LiberoTask, num_init_states: int) -> EnvironmentSpec:
    names = (*POSE, "gripper")
    return EnvironmentSpec(
        name=f"{task.suite}_{task.index}",
        action_names=names,
        action_units=("normalized",) * len(names),
        action_low=np.full(len(names), -1.0),
        action_high=np.full(len(names), 1.0),
        state_names=(*POSE, "gripper_left", "gripper_right"),
        control_hz=float(CONTROL_HZ),
        cameras={name: CameraSpec(config.height, config.width) for name in config.cameras},
        max_episode_steps=STEP_LIMITS[task.suite],
        prompt=task.language,
        num_init_states=num_init_states,
    )
