"""Kinematics of one ViperX 300 arm of `gym_aloha`: where its tool is, and which joint angles put it somewhere.

A pose is a (4, 4) homogeneous transform, metres, world frame. The tool's frame sits at the finger tips:
x points out of the gripper, y is the direction in which the fingers open, z is up when the gripper is level.
"""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from taketwo.errors import MissingExtraError, PolicyError
from taketwo.types import FloatArray

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")

ARM_JOINTS = 6
FOREARM_ROLL = 3
IK_STEPS = 20
"""Most solver steps for one pose. From waypoint to waypoint the tasks need 2 to 7, as measured; more are only
taken where a pose is out of reach."""

IK_TOLERANCE = 1e-3
"""The solver stops when the next step would move no joint by more than this, in radians."""

_POSITION_COST, _ORIENTATION_COST = 10.0, 0.3
"""A millimetre off the place weighs as much as 2 degrees off the orientation."""

_POSTURE_COSTS = (1e-3, 1e-3, 1e-3, 0.1, 1e-3, 1e-3)
"""The forearm is kept from rolling: where it and the last joint are nearly in line, solutions with the forearm
turned over lie next to the natural one, and the arm would swing across the table to get from one to the other."""

_MAX_STEP = 0.5
"""Radians that one solver step may move a joint: a full step near a singular posture lands in another branch."""


def pose(position: Sequence[float] | FloatArray, rotation: FloatArray | None = None) -> FloatArray:
    """(4, 4) transform of a position (3,) and a rotation matrix (3, 3); no rotation where none is given."""
    transform = np.eye(4)
    transform[:3, 3] = position
    if rotation is not None:
        transform[:3, :3] = rotation
    return transform


def pose_of_quaternion(vector: FloatArray) -> FloatArray:
    """(4, 4) transform of a (7,) position and w-x-y-z quaternion."""
    w, x, y, z = vector[3:] / np.linalg.norm(vector[3:])
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return pose(vector[:3], rotation)


def inverse(transform: FloatArray) -> FloatArray:
    """The transform that undoes a (4, 4) one."""
    back = np.eye(4)
    back[:3, :3] = transform[:3, :3].T
    back[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return back


def rotation(axis: Literal["x", "y", "z"], angle: float) -> FloatArray:
    """(3, 3) right-handed rotation about a coordinate axis, in radians."""
    c, s = np.cos(angle), np.sin(angle)
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    matrix = np.eye(3)
    matrix[j, j] = matrix[k, k] = c
    matrix[k, j], matrix[j, k] = s, -s
    return matrix


def distance(a: FloatArray, b: FloatArray) -> float:
    """Metres between the origins of two poses."""
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]))


def angle_between(a: FloatArray, b: FloatArray) -> float:
    """Radians of the rotation from one pose to the other."""
    cosine = (np.einsum("ij,ij->", a[:3, :3], b[:3, :3]) - 1.0) / 2.0
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def assets_folder() -> Path:
    """Where `gym_aloha` keeps its robot descriptions, found without importing it.

    Raises:
        MissingExtraError: it is not installed.
    """
    found = importlib.util.find_spec("gym_aloha")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("gym_aloha", "aloha")
    return Path(found.submodule_search_locations[0]) / "assets"


class Arm:
    """Forward and inverse kinematics of the left or the right arm."""

    def __init__(self, side: Side) -> None:
        """Read the arm's description.

        Raises:
            MissingExtraError: a library is not installed.
            PolicyError: the description is not the one that this module knows.
        """
        for package in ("mujoco", "mink", "daqp"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "aloha")
        import mink
        import mujoco

        self._mink = mink
        self._mujoco = mujoco
        self._model = mujoco.MjModel.from_xml_string(_arm_description(side))
        if self._model.nq != ARM_JOINTS:
            raise PolicyError(f"the {side} arm of gym_aloha has {self._model.nq} joints, not {ARM_JOINTS}")
        self._configuration = mink.Configuration(self._model)
        self._site = self._model.site("tool").id
        self._frame = mink.FrameTask("tool", "site", position_cost=_POSITION_COST, orientation_cost=_ORIENTATION_COST)
        self._posture = mink.PostureTask(self._model, cost=_POSTURE_COSTS)
        speeds = {self._model.joint(index).name: _MAX_STEP for index in range(ARM_JOINTS)}
        self._limits = [mink.ConfigurationLimit(self._model), mink.VelocityLimit(self._model, speeds)]

    def tool(self, joints: FloatArray) -> FloatArray:
        """The tool's pose for (6,) joint angles in radians."""
        data = self._configuration.data
        data.qpos[:] = joints
        self._mujoco.mj_kinematics(self._model, data)
        return pose(data.site_xpos[self._site], data.site_xmat[self._site].reshape(3, 3))

    def solve(self, target: FloatArray, start: FloatArray) -> FloatArray:
        """Joint angles (6,) that bring the tool to a pose, searched for from `start`.

        Where the pose cannot be reached, the nearest one: position counts more than orientation.
        The method is differential inverse kinematics by quadratic programs, as in `mink`.
        """
        low, high = self._model.jnt_range.T
        self._configuration.update(np.clip(start, low, high))
        natural = self._configuration.q.copy()
        natural[FOREARM_ROLL] = 0.0
        self._posture.set_target(natural)
        self._frame.set_target(self._mink.SE3.from_matrix(target))
        tasks = [self._frame, self._posture]
        for _ in range(IK_STEPS):
            step = self._mink.solve_ik(self._configuration, tasks, 1.0, "daqp", damping=1e-6, limits=self._limits)
            self._configuration.integrate_inplace(step, 1.0)
            if np.abs(step).max() < IK_TOLERANCE:
                break
        return np.array(self._configuration.q)


def _arm_description(side: Side) -> str:
    """MJCF of one arm without fingers and geometry, its tool a site: six joints are quick to solve for."""
    root = ET.parse(assets_folder() / f"vx300s_{side}.xml").getroot()
    for parent in list(root.iter()):
        for child in list(parent):
            finger = child.tag == "body" and child.get("name", "").endswith("finger_link")
            if finger or child.tag in ("geom", "camera"):
                parent.remove(child)
    for site in root.iter("site"):
        if site.get("name") == f"cali_{side}_site1":
            site.set("name", "tool")
    world = ET.tostring(root, encoding="unicode").replace("mujocoinclude", "worldbody")
    return f"<mujoco><compiler angle='radian'/>{world}</mujoco>"
