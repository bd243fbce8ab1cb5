"""What the scripted policy knows of the table: arms, grippers, objects, and what it expects of them next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from taketwo.policies.scripted.extras import extra_of
from taketwo.policies.scripted.kinematics import (
    ARM_JOINTS,
    SIDES,
    Arm,
    Side,
    distance,
    inverse,
    pose_of_quaternion,
)
from taketwo.types import FloatArray, Observation

_ARM_DIM = ARM_JOINTS + 1

_GRASP_REACH_M = 0.05
"""Metres from finger tips to an object's centre within which the gripper can have hold of it. Measured in good
grasps: at most 0.008. The rest is for grasps off the centre, as `grasp_noise` makes them."""

_OPENING_SLACK = 0.15
"""Normalized gripper opening by which a grasp may differ from `Graspable.opening`. Measured in good grasps: at
most 0.03. It also tells an empty gripper, at 0.10 when shut, from one around the peg, the thinnest, at 0.35."""

_JOINT_TRACKING, _GRIPPER_TRACKING = 0.5, 0.12
"""Share of the way to their target that joints and grippers cover in one control period, as seen in the simulator."""


@dataclass(frozen=True)
class Graspable:
    """An object that the arms can take.

    Attributes:
        name: key in `object_poses`.
        geoms: names of its collision geoms in `touched_by`.
        opening: gripper opening (0 closed, 1 open) around it.
        tip_height: where the finger tips go, in metres above its centre; low, yet clear of the table.
        symmetry: rotation about the vertical after which it looks the same to a gripper, in radians.
    """

    name: str
    geoms: frozenset[str]
    opening: float
    tip_height: float
    symmetry: float


RED_BOX = Graspable("red_box", frozenset({"red_box"}), opening=0.60, tip_height=-0.005, symmetry=np.pi / 2)
RED_PEG = Graspable("red_peg", frozenset({"red_peg"}), opening=0.35, tip_height=0.004, symmetry=np.pi)
BLUE_SOCKET = Graspable(
    "blue_socket",
    frozenset({"socket-1", "socket-2", "socket-3", "socket-4"}),
    opening=0.66,
    tip_height=-0.005,
    symmetry=np.pi,
)


@dataclass(frozen=True, eq=False)
class Scene:
    """The table at one instant.

    Attributes:
        joints: per arm, (6,) joint angles in radians.
        opening: per arm, the gripper: 0 closed, 1 open.
        tools: per arm, the (4, 4) pose of its tool.
        objects: object name to (4, 4) pose.
        touched: per arm, the geoms that its fingers touch.
    """

    joints: Mapping[Side, FloatArray]
    opening: Mapping[Side, float]
    tools: Mapping[Side, FloatArray]
    objects: Mapping[str, FloatArray]
    touched: Mapping[Side, frozenset[str]]

    def holds(self, side: Side, thing: Graspable) -> bool:
        """Whether an arm has the object between its fingers."""
        return (
            not thing.geoms.isdisjoint(self.touched[side])
            and abs(self.opening[side] - thing.opening) < _OPENING_SLACK
            and distance(self.tools[side], self.objects[thing.name]) < _GRASP_REACH_M
        )

    def lost(self, side: Side, thing: Graspable) -> bool:
        """Whether an object that an arm had taken is no longer between its fingers.

        Less strict than the opposite of `holds`, for contacts flicker while a held object is moved.
        """
        return (
            self.opening[side] < thing.opening - _OPENING_SLACK
            or distance(self.tools[side], self.objects[thing.name]) > _GRASP_REACH_M
        )

    def expect(self, arms: Mapping[Side, Arm], action: FloatArray, things: tuple[Graspable, ...]) -> Scene:
        """The scene one control period on, if the arms follow `action`, (14,), as they use to and no grasp fails."""
        joints = {
            side: self.joints[side] + _JOINT_TRACKING * (arm_slice(action, side) - self.joints[side]) for side in SIDES
        }
        tools = {side: arms[side].tool(joints[side]) for side in SIDES}
        objects = dict(self.objects)
        opening, touched = {}, {}
        for side in SIDES:
            command = gripper_of(action, side)
            near = [t for t in things if distance(self.tools[side], self.objects[t.name]) < _GRASP_REACH_M]
            for thing in near:
                if self.holds(side, thing) and command < thing.opening:
                    objects[thing.name] = tools[side] @ inverse(self.tools[side]) @ self.objects[thing.name]
            width = max((thing.opening for thing in near), default=0.0)
            moved = self.opening[side] + _GRIPPER_TRACKING * (command - self.opening[side])
            opening[side] = max(moved, width) if command < width else moved
            closed_on = [thing.geoms for thing in near if opening[side] <= thing.opening]
            touched[side] = frozenset().union(*closed_on)
        return Scene(joints, opening, tools, objects, touched)


def scene_of(observation: Observation, arms: Mapping[Side, Arm], things: tuple[Graspable, ...]) -> Scene:
    """Read a scene from an observation of `gym_aloha`.

    Raises:
        PolicyError: the observation does not tell where the objects are or what the fingers touch.
    """
    poses = extra_of(observation, "object_poses", [thing.name for thing in things])
    touched = extra_of(observation, "touched_by", SIDES)
    joints = {side: arm_slice(observation.state, side) for side in SIDES}
    return Scene(
        joints=joints,
        opening={side: gripper_of(observation.state, side) for side in SIDES},
        tools={side: arms[side].tool(joints[side]) for side in SIDES},
        objects={thing.name: pose_of_quaternion(poses[thing.name]) for thing in things},
        touched={side: frozenset(touched[side]) for side in SIDES},
    )


def arm_slice(vector: FloatArray, side: Side) -> FloatArray:
    """The (6,) joints of one arm in a (14,) state or action."""
    start = SIDES.index(side) * _ARM_DIM
    return vector[start : start + ARM_JOINTS]


def gripper_of(vector: FloatArray, side: Side) -> float:
    """The gripper of one arm in a (14,) state or action."""
    return float(vector[SIDES.index(side) * _ARM_DIM + ARM_JOINTS])
