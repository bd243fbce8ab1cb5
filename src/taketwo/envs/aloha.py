"""The two tasks of `gym_aloha` (ALOHA in MuJoCo, Zhao et al. 2023, arXiv 2304.13705).

`gym_aloha` renders three 480 x 640 views in every step and hands out one. Here its model, its physics,
its reset and its reward are used unchanged, and pictures are made when somebody looks at them. The same
seed and actions give the same state, reward and `top` picture as `gymnasium.make` does, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from taketwo.envs.checking import check_picture_size
from taketwo.envs.lazy_images import LazyImages
from taketwo.envs.mujoco_rendering import MujocoRenderer
from taketwo.errors import ConfigError, EnvironmentFault, MissingExtraError, one_of
from taketwo.gl import choose_backend
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Observation, Pixels, StepResult

MAX_EPISODE_STEPS = 300
"""The limit that `gym_aloha` registers both tasks with."""

SUCCESS_REWARD = 4
"""`gym_aloha` ends an episode at this reward: handed over and lifted, or inserted."""

OBJECTS = {"transfer_cube": ("red_box",), "insertion": ("red_peg", "blue_socket")}
"""Movable objects per task, in the order of the model's free joints."""

PROMPTS = {"transfer_cube": "Transfer cube", "insertion": "Insert the peg into the socket"}
"""The tasks in words; the first is what openpi's ALOHA simulator checkpoint was trained with."""

ROBOT_QPOS = 16
"""Joint positions that belong to the arms; those of the objects' free joints follow."""


@dataclass(frozen=True)
class AlohaConfig:
    """Two ViperX arms over a table, in MuJoCo, controlled by 14 joint positions at 50 Hz.

    Attributes:
        task: hand a cube from the right arm to the left, or insert a peg into a socket.
        cameras: the pictures that observations carry, rendered only when looked at: top, angle,
            front_close, left_pillar, right_pillar, left_wrist, right_wrist.
        width: picture width in pixels.
        height: picture height in pixels.
        quality: exact pixels, or preview without shadows and multisampling (ten times cheaper in software).
    """

    task: Literal["transfer_cube", "insertion"] = "transfer_cube"
    cameras: tuple[str, ...] = ("top",)
    width: int = 640
    height: int = 480
    quality: Literal["exact", "preview"] = "exact"

    def __post_init__(self) -> None:
        check_picture_size(self.width, self.height)
        if len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"cameras names one twice: {', '.join(self.cameras)}")

    def make(self) -> AlohaEnvironment:
        """Load the model; a GL back-end is chosen first, since MuJoCo fixes it when it is imported."""
        return AlohaEnvironment(self)


class AlohaEnvironment:
    """One ALOHA simulator. Can render, be snapshot and restored, and go home."""

    def __init__(self, config: AlohaConfig) -> None:
        self._simulator = _make_simulator(config.task)
        physics = self._simulator.physics
        self._physics = physics
        self._task = config.task
        self._model, self._data = physics.model.ptr, physics.data.ptr
        self._renderer = MujocoRenderer(self._model, config.quality)
        self._camera_names = tuple(self._model.camera(i).name for i in range(self._model.ncam))
        for camera in config.cameras:
            self._check_camera(camera)
        self._finger_geoms = _finger_geoms(self._model)
        self._steps = 0
        self._begun = False
        self.spec = _spec(config)
        self._images = LazyImages(self.render, self.spec.cameras)

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode with the objects where `gym_aloha` puts them for this seed."""
        if options:
            raise EnvironmentFault(f"aloha takes no reset options, got {', '.join(options)}")
        self._place_objects(seed)
        self._simulator.reset()
        self._steps = 0
        self._begun = True
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """Apply 14 target positions for 0.02 s: per arm six joints (rad) and a gripper (0 closed, 1 open)."""
        if action.shape != (self.spec.action_dim,):
            raise EnvironmentFault(f"aloha takes actions of shape (14,), got {action.shape}")
        # gym_aloha's users send float32 or float64; MuJoCo computes in float64 either way.
        timestep = self._simulator.step(action)
        self._steps += 1
        success = bool(timestep.reward == SUCCESS_REWARD)
        return StepResult(
            observation=self._observe(),
            reward=float(timestep.reward),
            terminated=success,
            truncated=False,
            success=success,
            info={"is_success": success},
        )

    def close(self) -> None:
        """Free the GL contexts."""
        self._images.close()
        self._renderer.close()

    def camera_names(self) -> tuple[str, ...]:
        """Every camera of the model."""
        return self._camera_names

    def render(self, camera: str, height: int, width: int) -> Pixels:
        """(height, width, 3) uint8 RGB of the present state."""
        self._check_camera(camera)
        return self._renderer.render(self._data, camera, height, width)

    def home_action(self) -> FloatArray:
        """(14,) the pose in which every episode begins, both grippers as they are then."""
        from gym_aloha.constants import START_ARM_POSE, normalize_puppet_gripper_position

        start = np.asarray(START_ARM_POSE)
        arms = [[*start[i : i + 6], normalize_puppet_gripper_position(start[i + 6])] for i in (0, 8)]
        return np.concatenate(arms)

    def snapshot(self) -> dict[str, Any]:
        """MuJoCo's full integration state, with the number of steps taken."""
        import mujoco

        state = np.empty(mujoco.mj_stateSize(self._model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        return {"task": self._task, "state": state, "steps": self._steps}

    def restore(self, snapshot: Mapping[str, Any]) -> Observation:
        """Go back to a snapshot; what follows is the same, bit for bit."""
        import mujoco

        if snapshot["task"] != self._task:
            raise EnvironmentFault(f"a snapshot of {snapshot['task']} cannot be restored in {self._task}")
        if not self._begun:
            self.reset(seed=0)  # else the first step would reset the simulator and lose what is restored here
        mujoco.mj_setState(self._model, self._data, snapshot["state"], mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self._model, self._data)
        self._steps = snapshot["steps"]
        return self._observe()

    def _place_objects(self, seed: int) -> None:
        from gym_aloha.tasks.sim import BOX_POSE
        from gym_aloha.utils import sample_box_pose, sample_insertion_pose

        # The module-level list is how gym_aloha's own environment tells its task where the objects are.
        BOX_POSE[0] = (
            sample_box_pose(seed) if self._task == "transfer_cube" else np.concatenate(sample_insertion_pose(seed))
        )

    def _observe(self) -> Observation:
        return Observation(
            state=self._simulator.task.get_qpos(self._physics),
            images=self._images.next_instant(),
            prompt=self.spec.prompt,
            extras={"object_poses": self._object_poses(), "touched_by": self._touched_by()},
            time_s=self._steps / self.spec.control_hz,
        )

    def _object_poses(self) -> dict[str, FloatArray]:
        poses = self._data.qpos[ROBOT_QPOS:].reshape(-1, 7).copy()
        return dict(zip(OBJECTS[self._task], poses, strict=True))

    def _touched_by(self) -> dict[str, frozenset[str]]:
        """Per arm, the names of the geoms that its fingers touch, each other left out."""
        pairs = self._data.contact.geom[: self._data.ncon]
        touched = {}
        for arm, fingers in self._finger_geoms.items():
            first, second = np.isin(pairs[:, 0], fingers), np.isin(pairs[:, 1], fingers)
            others = {*pairs[first, 1].tolist(), *pairs[second, 0].tolist()} - set(fingers)
            touched[arm] = frozenset(self._model.geom(geom).name for geom in others)
        return touched

    def _check_camera(self, camera: str) -> None:
        if camera not in self._camera_names:
            raise ConfigError(one_of("camera", camera, self._camera_names))


def _make_simulator(task: str) -> Any:
    choose_backend()
    try:
        from dm_control import mujoco
        from dm_control.rl import control
        from gym_aloha import constants
        from gym_aloha.tasks import sim
    except ModuleNotFoundError as error:
        raise MissingExtraError("gym_aloha", "aloha") from error
    base, xml = {
        "transfer_cube": (sim.TransferCubeTask, "bimanual_viperx_transfer_cube.xml"),
        "insertion": (sim.InsertionTask, "bimanual_viperx_insertion.xml"),
    }[task]
    # dm_control asks its task for an observation in every step; gym_aloha's renders three cameras for it.
    blind = type(f"Blind{base.__name__}", (base,), {"get_observation": lambda self, physics: {}})
    physics = mujoco.Physics.from_xml_path(str(constants.ASSETS_DIR / xml))
    return control.Environment(physics, blind(), time_limit=float("inf"), control_timestep=constants.DT)


def _finger_geoms(model: Any) -> dict[str, list[int]]:
    names = {i: model.geom(i).name for i in range(model.ngeom)}
    return {arm: [i for i, name in names.items() if name.startswith(f"vx300s_{arm}/10_")] for arm in ("left", "right")}


def _spec(config: AlohaConfig) -> EnvironmentSpec:
    from gym_aloha.constants import ACTIONS, FPS, JOINTS

    gripper = np.array(["gripper" in name for name in ACTIONS])
    return EnvironmentSpec(
        name=config.task,
        action_names=tuple(ACTIONS),
        action_units=tuple("normalized" if is_gripper else "rad" for is_gripper in gripper),
        action_low=np.full(len(ACTIONS), -np.inf),
        action_high=np.full(len(ACTIONS), np.inf),
        state_names=tuple(JOINTS),
        control_hz=float(FPS),
        cameras={name: CameraSpec(config.height, config.width) for name in config.cameras},
        max_episode_steps=MAX_EPISODE_STEPS,
        prompt=PROMPTS[config.task],
    )
