"""One push world: its state, its steps, and whether it is solved. It knows of no pictures and no interface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from taketwo.envs.push.model import AXES, MAX_SPEED, MAX_YAW_RATE, SUBSTEPS, PushModel
from taketwo.envs.push.shapes import HALF_HEIGHT
from taketwo.envs.push.starts import draw_start
from taketwo.envs.push.tally import Tally
from taketwo.errors import EnvironmentFault
from taketwo.types import FloatArray

POSITION_TOLERANCE_M = 0.10

YAW_TOLERANCE_RAD = math.radians(10)

LEVER_M = 0.3
"""What a radian counts in metres, where the object is to be turned; about the objects' radius of gyration."""

SUCCESS_REWARD = 1.0

COLLISION_COST = 0.1

TALLY_PREFIX = "tally."
"""Of the counts in a snapshot."""


def action_names(robots: int) -> tuple[str, ...]:
    """`robot_0.forward`, `robot_0.left`, `robot_0.yaw_rate`, and so on."""
    return tuple(f"robot_{robot}.{axis}" for robot in range(robots) for axis in AXES)


def action_limits(robots: int) -> FloatArray:
    """(3 R,) the greatest action; the smallest is its negative."""
    return np.tile([MAX_SPEED, MAX_SPEED, MAX_YAW_RATE], robots)


def state_names(robots: int) -> tuple[str, ...]:
    """Names of `PushWorld.state`."""
    things = (*(f"robot_{robot}" for robot in range(robots)), "object", "target")
    return tuple(f"{thing}.{axis}" for thing in things for axis in ("x", "y", "yaw"))


class PushWorld:
    """A world in progress over a shared model."""

    def __init__(self, model: PushModel) -> None:
        import mujoco

        self._mujoco = mujoco
        self.model = model
        self.data = mujoco.MjData(model.mujoco)
        self.tally = Tally()
        self._limits = action_limits(model.robots)

    def reset(self, seed: int) -> None:
        """Begin an episode; everything in it follows from the seed and the actions."""
        start = draw_start(seed, self.model.robots)
        self._mujoco.mj_resetData(self.model.mujoco, self.data)
        x, y, yaw = start.object
        joints = 3 * self.model.robots
        self.data.qpos[:joints] = start.robots.ravel()
        self.data.qpos[joints:] = [x, y, HALF_HEIGHT, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
        x, y, yaw = start.target
        self.data.mocap_pos[0] = [x, y, 0.0]
        self.data.mocap_quat[0] = [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
        self.tally = Tally()

    def step(self, action: FloatArray) -> float:
        """Hold (3 R,) velocities for one control period, and return the reward.

        The reward is how many metres closer the object has come to its target (with `LEVER_M` for each radian where
        it is to be turned), and `SUCCESS_REWARD` when it first gets there, less `COLLISION_COST` for every time that
        two robots begin to touch.

        Raises:
            EnvironmentFault: the action has another shape, or is not finite.
        """
        self._check(action)
        before, distance, was = self.poses(), self.distance(), self.tally
        self.data.ctrl[:] = np.clip(action, -self._limits, self._limits)
        self._mujoco.mj_step(self.model.mujoco, self.data, SUBSTEPS)
        moved = np.linalg.norm((self.poses() - before)[:, :2], axis=1)
        touching = self.model.owner[self.data.contact.geom[: self.data.ncon]]
        self.tally = was.after(touching, float(moved[-2]), moved[:-2], solved=self.solved())
        solved_now = self.tally.solved_step is not None and was.solved_step is None
        progress = distance - self.distance()
        return progress + SUCCESS_REWARD * solved_now - COLLISION_COST * (self.tally.collisions - was.collisions)

    def poses(self) -> FloatArray:
        """(R + 2, 3) x, y and yaw in (-pi, pi] of each robot, the object and the target; metres and radians."""
        joints = 3 * self.model.robots
        poses = np.empty((self.model.robots + 2, 3))
        poses[:-2] = self.data.qpos[:joints].reshape(-1, 3)
        x, y, _, *turn = self.data.qpos[joints:].tolist()
        poses[-2] = x, y, _yaw(turn)
        x, y, _ = self.data.mocap_pos[0].tolist()
        poses[-1] = x, y, _yaw(self.data.mocap_quat[0].tolist())
        poses[:-2, 2] = np.pi - (np.pi - poses[:-2, 2]) % (2 * np.pi)
        return poses

    def state(self) -> FloatArray:
        """(3 (R + 2),) the poses, flat."""
        return self.poses().ravel()

    def velocities(self) -> FloatArray:
        """(3 (R + 1),) x, y (m/s) and yaw rate (rad/s) of each robot and the object, in the world's frame."""
        joints = 3 * self.model.robots
        velocity = self.data.qvel
        # A free joint's turning is told in the body's own frame; the object stays upright, so its third axis is up.
        return np.concatenate([velocity[:joints], velocity[[joints, joints + 1, joints + 5]]])

    def error(self) -> tuple[float, float]:
        """Metres from the object to the target, and radians, from 0 to pi; 0 where any turn will do."""
        thing, target = self.poses()[-2:]
        turn = abs(math.remainder(target[2] - thing[2], 2 * math.pi)) if self.model.shape.oriented else 0.0
        return math.dist(thing[:2], target[:2]), turn

    def distance(self) -> float:
        """Metres to the target, with `LEVER_M` for each radian."""
        metres, radians = self.error()
        return metres + LEVER_M * radians

    def solved(self) -> bool:
        """Whether the object is at its target now."""
        metres, radians = self.error()
        return metres <= POSITION_TOLERANCE_M and radians <= YAW_TOLERANCE_RAD

    def place_for_drawing(self) -> None:
        """Bring bodies, cameras and lights to where the positions are. The next step does so anyway."""
        self._mujoco.mj_kinematics(self.model.mujoco, self.data)
        self._mujoco.mj_camlight(self.model.mujoco, self.data)

    def snapshot(self) -> dict[str, Any]:
        """MuJoCo's full integration state, the target, and the counts."""
        kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(self._mujoco.mj_stateSize(self.model.mujoco, kind))
        self._mujoco.mj_getState(self.model.mujoco, self.data, state, kind)
        tally = {f"{TALLY_PREFIX}{name}": value for name, value in self.tally.plain(self.model.robots).items()}
        return {"object": self.model.name, "robots": self.model.robots, "state": state, **tally}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot of the same world; what follows is the same, bit for bit.

        Raises:
            EnvironmentFault: it is of another object, or another number of robots.
        """
        theirs, ours = (snapshot["robots"], snapshot["object"]), (self.model.robots, self.model.name)
        if theirs != ours:
            raise EnvironmentFault(
                "a snapshot of {} robots and a {} cannot be restored with {} and a {}".format(*theirs, *ours)
            )
        kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        self._mujoco.mj_setState(self.model.mujoco, self.data, np.asarray(snapshot["state"]), kind)
        counts = {name.removeprefix(TALLY_PREFIX): snapshot[name] for name in snapshot if name.startswith(TALLY_PREFIX)}
        self.tally = Tally.of_plain(counts)

    def _check(self, action: FloatArray) -> None:
        names = action_names(self.model.robots)
        if np.shape(action) != (len(names),):
            raise EnvironmentFault(
                f"push takes actions of shape ({len(names)},), three velocities for each of its "
                f"{self.model.robots} robots, got {np.shape(action)}"
            )
        broken = [name for name, value in zip(names, action, strict=True) if not math.isfinite(value)]
        if broken:
            raise EnvironmentFault(f"push takes finite velocities, got NaN or infinity for {', '.join(broken)}")


def _yaw(quaternion: list[float]) -> float:
    """Of a w-x-y-z quaternion."""
    w, x, y, z = quaternion
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
