"""One LIBERO task in robosuite: its physics, what there is to see of it, and its full state; no pictures.

robosuite's `reset` is used unchanged, and its `step` is done by a `Stepper`, so the same actions lead to the same state
as in LIBERO's own environments, bit for bit. Its observations are not used: they lag behind by one to 25 physics steps,
more with every forced update, and cost as much as the physics. What is told here is read from the state after each
step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.libero.culling import HIDDEN_GROUP
from taketwo.envs.libero.package import import_libero
from taketwo.envs.libero.stepping import Stepper
from taketwo.envs.libero.tasks import LiberoTask
from taketwo.errors import ConfigError, EnvironmentFault
from taketwo.types import FloatArray

CONTROL_HZ = 20

IDLE = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
"""The action with which LIBERO waits: stay, gripper open."""

HAND_BODY, GRIP_SITE = "robot0_right_hand", "gripper0_grip_site"
FINGER_JOINTS = ("gripper0_finger_joint1", "gripper0_finger_joint2")
FINGERS = {"left": "left_finger", "right": "right_finger"}
"""What robosuite calls the geoms of each finger of its gripper models."""

MOST_PLACEMENTS = 100
"""How often robosuite's sampler may fail to place the objects in one reset."""


class LiberoSimulation:
    """A task's model and controller, as LIBERO makes them."""

    def __init__(self, package: Path, task: LiberoTask, assets: Path) -> None:
        """Load the model.

        Raises:
            ConfigError: a file is missing among the assets.
            EnvironmentFault: LIBERO does not load.
        """
        libero = import_libero(package, assets)
        import mujoco

        self._mujoco = mujoco
        try:
            self._domain: Any = _make_domain(libero, task)
        except FileNotFoundError as error:
            raise ConfigError(f"assets lack {error.filename}, which task {task.name} of {task.suite} needs") from error
        for name in self._domain.observation_names:
            self._domain.modify_observable(name, "enabled", False)
        self.model = self._domain.sim.model._model
        self.data = self._domain.sim.data._data
        # Collision shapes are group 0, which robosuite does not draw and MuJoCo does. Physics does not know of groups.
        self.model.geom_group[self.model.geom_group == 0] = HIDDEN_GROUP
        self._bodies: dict[str, int] = {
            name: self._domain.obj_body_id[name]
            for name in (*self._domain.objects_dict, *self._domain.fixtures_dict)
            if name in self._domain.obj_body_id
        }
        self._fixtures = [self._bodies[name] for name in self._domain.fixtures_dict if name in self._bodies]
        self._loaded_fixtures = self._find_loaded_fixtures()
        self._samplers = list(self._domain.object_property_initializers)
        self._fingers = [int(self.model.joint(name).qposadr[0]) for name in FINGER_JOINTS]
        self._finger_of_geom = self._find_finger_geoms()
        self._object_of_geom = self._find_objects_of_geoms()
        self._stepper = Stepper(self._domain)
        self.boxes = {name: self._bounding_box(body) for name, body in self._bodies.items()}

    @property
    def goal(self) -> tuple[tuple[str, ...], ...]:
        """What has to hold in the end, such as `(("in", "milk_1", "basket_1_contain_region"),)`."""
        return tuple(tuple(predicate) for predicate in self._domain.parsed_problem["goal_state"])

    def reset(self, seed: int, init_state: FloatArray, idle_steps: int) -> None:
        """Begin in an initial state.

        Args:
            seed: of what initial states leave open: where fixtures stand, which LIBERO draws anew in every reset.
            init_state: (1 + nq + nv,) time, joint positions and velocities.
            idle_steps: steps until objects have come to rest.

        Raises:
            EnvironmentFault: robosuite cannot place the objects, or the state is another model's.
        """
        size = 1 + self.model.nq + self.model.nv
        if init_state.shape != (size,):
            raise EnvironmentFault(f"an initial state of {init_state.size} numbers does not fit a model of {size}")
        with _seeded(seed):
            self._place()
        gripper = self._gripper
        gripper.current_action = np.zeros_like(gripper.current_action)  # a reset leaves it as it was
        self._domain.sim.set_state_from_flattened(init_state)
        self._domain.sim.forward()
        self._domain._post_process()
        for _ in range(idle_steps):
            self.step(IDLE)

    def step(self, action: FloatArray) -> tuple[float, bool]:
        """Apply one action, (7,), for a control period; the reward, and whether the goal is reached."""
        told = self._stepper.step(action)
        self._refresh()
        return told

    def state(self) -> FloatArray:
        """(8,) position of the grip site, rotation vector of the hand, positions of both fingers: metres, radians."""
        quaternion = self.data.body(HAND_BODY).xquat
        return np.concatenate(
            [self.data.site(GRIP_SITE).xpos, rotation_vector(quaternion), self.data.qpos[self._fingers]]
        )

    def object_poses(self) -> dict[str, FloatArray]:
        """Name to (7,) position and w-x-y-z quaternion, of objects and fixtures."""
        return {
            name: np.concatenate([self.data.xpos[body], self.data.xquat[body]]) for name, body in self._bodies.items()
        }

    def touched_by(self) -> dict[str, frozenset[str]]:
        """Per finger, left and right, the names of the objects and fixtures that it touches."""
        touched: dict[str, set[str]] = {finger: set() for finger in FINGERS}
        for one, other in self.data.contact.geom[: self.data.ncon].tolist():
            for geom, touching in ((one, other), (other, one)):
                if geom in self._finger_of_geom and touching in self._object_of_geom:
                    touched[self._finger_of_geom[geom]].add(self._object_of_geom[touching])
        return {finger: frozenset(names) for finger, names in touched.items()}

    def snapshot(self) -> dict[str, Any]:
        """MuJoCo's full integration state, where fixtures stand, and what robosuite's controller remembers."""
        mujoco = self._mujoco
        state = np.empty(mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        return {
            "state": state,
            "fixtures": np.hstack([self.model.body_pos[self._fixtures], self.model.body_quat[self._fixtures]]),
            "goal_position": np.array(self._controller.goal_pos, dtype=np.float64),
            "goal_rotation": np.array(self._controller.goal_ori, dtype=np.float64),
            "gripper": np.array(self._gripper.current_action, dtype=np.float64),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot of the same task; at least one step must have been taken before."""
        mujoco = self._mujoco
        self.model.body_pos[self._fixtures] = snapshot["fixtures"][:, :3]
        self.model.body_quat[self._fixtures] = snapshot["fixtures"][:, 3:]
        mujoco.mj_setState(self.model, self.data, snapshot["state"], mujoco.mjtState.mjSTATE_INTEGRATION)
        self._controller.goal_pos = np.array(snapshot["goal_position"])
        self._controller.goal_ori = np.array(snapshot["goal_rotation"])
        self._gripper.current_action = np.array(snapshot["gripper"])
        self._refresh()
        self._domain._post_process()

    def close(self) -> None:
        """Free the model. Safe to call twice."""
        if self._domain is not None:
            self._domain.close()
            self._domain = None

    @property
    def _controller(self) -> Any:
        return self._domain.robots[0].controller

    @property
    def _gripper(self) -> Any:
        return self._domain.robots[0].gripper

    def _refresh(self) -> None:
        """Bring poses and contacts up to the joint positions, which a step leaves one physics step ahead of them.

        A whole `mj_forward` would also move what the solver starts from, and so perhaps the last bits of later steps.
        """
        self._mujoco.mj_fwdPosition(self.model, self.data)

    def _place(self) -> None:
        from robosuite.utils.errors import RandomizationError

        # LIBERO loads its model anew in every reset. Where a fixture stood before would count for what is placed in or
        # on it; and the samplers of doors and knobs are added to those of the loads before: there are two of each in
        # the first reset after the model was made, and one more after each failure, and all draw random numbers.
        for loads in range(2, MOST_PLACEMENTS + 2):
            self._domain.object_property_initializers = self._samplers * loads
            self.model.body_pos[self._fixtures], self.model.body_quat[self._fixtures] = self._loaded_fixtures
            try:
                self._domain.reset()
            except RandomizationError:
                continue
            return
        raise EnvironmentFault(f"robosuite failed {MOST_PLACEMENTS} times to place the objects")

    def _find_loaded_fixtures(self) -> tuple[FloatArray, FloatArray]:
        """(N, 3) positions and (N, 4) quaternions of the fixtures in the model's file, before any placement."""
        names = [self.model.body(body).name for body in self._fixtures]
        bodies = {body.get("name"): body for body in self._domain.model.worldbody.iter("body")}
        places = [bodies[name].get("pos", "0 0 0").split() for name in names]
        turns = [bodies[name].get("quat", "1 0 0 0").split() for name in names]
        return np.array(places, dtype=np.float64).reshape(-1, 3), np.array(turns, dtype=np.float64).reshape(-1, 4)

    def _find_finger_geoms(self) -> dict[int, str]:
        geoms = self._gripper.important_geoms
        return {self.model.geom(name).id: finger for finger, theirs in FINGERS.items() for name in geoms[theirs]}

    def _find_objects_of_geoms(self) -> dict[int, str]:
        name_of = {body: name for name, body in self._bodies.items()}
        roots = self.model.body_rootid[self.model.geom_bodyid]
        return {geom: name_of[root] for geom, root in enumerate(roots.tolist()) if root in name_of}

    def _bounding_box(self, body: int) -> FloatArray:
        """(2, 3) smallest and largest coordinates of a body's collision shapes in its frame, joints at rest."""
        model, mujoco = self.model, self._mujoco
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        turn, origin = data.xmat[body].reshape(3, 3), data.xpos[body]
        corners = []
        for geom in np.flatnonzero((model.body_rootid[model.geom_bodyid] == body) & (model.geom_contype != 0)):
            centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
            signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), axis=-1).reshape(-1, 3)
            placed = data.geom_xpos[geom] + (centre + signs * half) @ data.geom_xmat[geom].reshape(3, 3).T
            corners.append((placed - origin) @ turn)
        if not corners:
            return np.zeros((2, 3))
        points = np.concatenate(corners)
        return np.stack([points.min(axis=0), points.max(axis=0)])


def rotation_vector(quaternion: NDArray[Any]) -> FloatArray:
    """(3,) axis times angle, 0 to 2 pi, of a w-x-y-z quaternion, as robosuite and openpi's LIBERO client have it.

    The quaternion's sign is kept: its negative is the same rotation, but another vector, which policies have not seen.
    """
    w = min(max(float(quaternion[0]), -1.0), 1.0)
    sine = math.sqrt(1.0 - w * w)
    if sine == 0.0:
        return np.zeros(3)
    vector: FloatArray = quaternion[1:] * 2.0 * math.acos(w) / sine
    return vector


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which robosuite's samplers draw from, and leave it as it was."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _make_domain(libero: Any, task: LiberoTask) -> Any:
    """LIBERO's environment, as its `ControlEnv` makes it, but without a renderer.

    `ControlEnv` itself is left out: its `reset` tries again for ever, whatever the error.
    """
    from libero.libero.envs.bddl_utils import get_problem_info
    from robosuite import load_controller_config

    problem = libero.TASK_MAPPING[get_problem_info(str(task.bddl_file))["problem_name"]]
    return problem(
        str(task.bddl_file),
        robots=["Panda"],
        controller_configs=load_controller_config(default_controller="OSC_POSE"),
        gripper_types="default",
        initialization_noise=None,
        use_camera_obs=False,
        has_renderer=False,
        has_offscreen_renderer=False,
        control_freq=CONTROL_HZ,
        hard_reset=False,  # the model stays: another one would be the same
    )
