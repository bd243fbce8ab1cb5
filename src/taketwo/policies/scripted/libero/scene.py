"""What the policy knows of a LIBERO scene: the hand, the thing to take, where to put it; and what it expects next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from taketwo.errors import PolicyError
from taketwo.policies.scripted.extras import extra_of
from taketwo.policies.scripted.kinematics import pose, pose_of_quaternion
from taketwo.types import FloatArray, Observation

FINGERS = ("left", "right")

SHIFT_M, TURN_RAD = 0.05, 0.5
"""What 1 means in an action: robosuite's OSC_POSE moves the hand's goal by so much, from where the hand is."""

FULLY_OPEN_M = 0.078
"""Between the fingers of robosuite's Panda gripper, as seen."""

_FINGERS_PER_STEP_M = 0.0092
"""By which the gripper opens or closes in a control period, as seen."""

_PERIOD_S = 0.05
_STIFFNESS = 150.0
"""robosuite's OSC_POSE pulls the hand like a critically damped spring of this stiffness on a mass of 1 kg."""

_TRACKING = 0.8
"""Share of the ideal spring's motion that is seen: joints have friction, and the arm bends other ways a little."""

_REACH_M = 0.05
"""Between the fingers' middle and the middle of a thing's grasp, within which it can be held."""


@dataclass(frozen=True, eq=False)
class Thing:
    """An object and its bounding box.

    Attributes:
        place: (4, 4) its pose.
        box: (2, 3) smallest and largest coordinates in its frame, in metres.
    """

    place: FloatArray
    box: FloatArray

    @property
    def centre(self) -> FloatArray:
        """(3,) of the box."""
        centre: FloatArray = self.place[:3, :3] @ self.box.mean(axis=0) + self.place[:3, 3]
        return centre

    @property
    def half(self) -> FloatArray:
        """(3,) half the sizes of the box along its own axes."""
        half: FloatArray = (self.box[1] - self.box[0]) / 2
        return half

    @property
    def radius(self) -> float:
        """Half its size seen from above, on average."""
        return float(np.delete(self.half, self.upright).mean())

    @cached_property
    def upright(self) -> int:
        """Which of its axes is nearest to the vertical."""
        return int(np.argmax(np.abs(self.place[2, :3])))

    @property
    def top(self) -> float:
        """Height of its highest point."""
        return float(self.centre[2] + np.abs(self.place[2, :3]) @ self.half)

    @property
    def bottom(self) -> float:
        """Height of its lowest point."""
        return float(self.centre[2] - np.abs(self.place[2, :3]) @ self.half)


@dataclass(frozen=True, eq=False)
class Scene:
    """The scene at one instant.

    Attributes:
        hand: (4, 4) pose of the hand, its origin between the finger tips: z points out of it, y is the direction in
            which the fingers open.
        twist: (2, 3) the speed it should have, in m/s and rad/s.
        opening: metres between the fingers.
        thing: what to take.
        container: where to put it.
        others: what else there is.
        touched: whether both fingers touch the thing.
    """

    hand: FloatArray
    twist: FloatArray
    opening: float
    thing: Thing
    container: Thing
    others: tuple[Thing, ...]
    touched: bool

    @property
    def held(self) -> bool:
        """Whether the gripper has hold of the thing."""
        return self.touched and self.opening > _empty_below(self.thing)

    @property
    def lost(self) -> bool:
        """Whether a thing that had been taken is no longer there. Less strict than not `held`: contacts flicker."""
        away = self.hand[:3, :3].T @ (self.thing.centre - self.hand[:3, 3])
        beside, along = np.linalg.norm(away[:2]), abs(away[2]) - self.thing.half.max()
        return bool(self.opening < _empty_below(self.thing) or beside > _REACH_M or along > _REACH_M)

    def expect(self, action: FloatArray) -> Scene:
        """The scene one control period on, if the arm follows `action`, (7,), as it uses to and no grasp fails."""
        shift, speed = _pulled(action[:3] * SHIFT_M, self.twist[0])
        turn, spin = _pulled(action[3:6] * TURN_RAD, self.twist[1])
        hand = pose(self.hand[:3, 3] + shift, turned_by(turn) @ self.hand[:3, :3])
        closing = action[6] > 0
        thing, opening = self.thing, self.opening - _FINGERS_PER_STEP_M if closing else self.opening
        opening = max(opening, 0.0) if closing else min(opening + _FINGERS_PER_STEP_M, FULLY_OPEN_M)
        width = self._width_between_fingers()
        grasped = closing and width > 0 and opening <= width
        if grasped:
            opening = width
            thing = replace(thing, place=hand @ np.linalg.inv(self.hand) @ thing.place)
        return replace(self, hand=hand, twist=np.stack([speed, spin]), opening=opening, thing=thing, touched=grasped)

    def _width_between_fingers(self) -> float:
        """Of the thing, along the line on which the fingers close; 0 where it is not between them."""
        away = self.hand[:3, :3].T @ (self.thing.centre - self.hand[:3, 3])
        if np.linalg.norm(away[:2]) > _REACH_M or abs(away[2]) > self.thing.half.max():
            return 0.0
        return float(2 * np.abs(self.hand[:3, 1] @ self.thing.place[:3, :3]) @ self.thing.half)


def scene_of(observation: Observation, goal: tuple[str, str], twist: FloatArray) -> Scene:
    """Read a scene from an observation of `libero`.

    Args:
        goal: names of the thing and of what it is to be put into.
        twist: (2, 3) the speed that the hand should have by now.

    Raises:
        PolicyError: the observation does not tell where they are, how large, or what the fingers touch.
    """
    poses = extra_of(observation, "object_poses", goal)
    boxes = extra_of(observation, "object_boxes", goal)
    touched = extra_of(observation, "touched_by", FINGERS)
    things = {name: Thing(pose_of_quaternion(np.asarray(poses[name])), np.asarray(box)) for name, box in boxes.items()}
    state = observation.state
    return Scene(
        hand=pose(state[:3], turned_by(state[3:6])),
        twist=twist,
        opening=float(state[6] - state[7]),
        thing=things[goal[0]],
        container=things[goal[1]],
        others=tuple(thing for name, thing in things.items() if name != goal[0]),
        touched=all(goal[0] in touched[finger] for finger in FINGERS),
    )


def goal_of(observation: Observation) -> tuple[str, str]:
    """Names of the thing to take and of what to put it into.

    Raises:
        PolicyError: the goal is another kind of task.
    """
    goal = observation.extras.get("goal")
    containers = sorted(observation.extras.get("object_poses", {}), key=len, reverse=True)
    match goal:
        case [[str("in"), str(thing), str(region)]]:
            for container in containers:
                if region.startswith(container):
                    return thing, container
    raise PolicyError(
        "the scripted policy puts one thing into another, and needs to be told which in observation.extras['goal'], "
        f"which is {goal!r}: is it a task of libero_object?"
    )


def turned_by(vector: Sequence[float] | FloatArray) -> FloatArray:
    """(3, 3) rotation by a vector (3,), axis times angle in radians (Rodrigues' formula)."""
    vector = np.asarray(vector, dtype=np.float64)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn: FloatArray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turn


def turn_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """(3,) axis times angle, at most pi, of the turn that leads from one (3, 3) rotation to another."""
    between = end @ start.T
    sines = np.array([between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]]) / 2
    sine, cosine = float(np.linalg.norm(sines)), (float(np.trace(between)) - 1) / 2
    if sine > 1e-9:
        vector: FloatArray = sines * (np.arctan2(sine, cosine) / sine)
        return vector
    if cosine > 0:
        return np.zeros(3)
    axis = np.sqrt(np.clip((np.diag(between) + 1) / 2, 0.0, None))  # half a turn: its axis, up to the signs
    strongest = int(np.argmax(axis))
    return np.pi * axis * np.where(between[strongest] < 0, -1.0, 1.0)


def _pulled(goal: FloatArray, speed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How far a critically damped spring pulls a resting goal's follower in a control period, and its speed then."""
    rate = np.sqrt(_STIFFNESS)
    decay = np.exp(-rate * _PERIOD_S)
    way = goal * (1 - (1 + rate * _PERIOD_S) * decay) + speed * _PERIOD_S * decay
    then = speed * (1 - rate * _PERIOD_S) * decay + goal * rate**2 * _PERIOD_S * decay
    return _TRACKING * way, then


def _empty_below(thing: Thing) -> float:
    """Metres between the fingers, less than which they have not closed on the thing."""
    return float(min(0.6 * 2 * np.delete(thing.half, thing.upright).min(), 0.03))
