"""A policy without learning for the push world: go behind the object together, and push it to the target.

Two robots take the places on the object's outline whose pushes together come nearest to the motion that is still
wanted (`push_contacts`). When both stand there they push, and steer by how fast each of them goes. When the wanted
motion has become another than those places can give, they let go and take others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.push_contacts import BACKED_OFF_M, Outline
from taketwo.policies.push_steering import giving_way, way_length, waypoint
from taketwo.seeding import policy_generator
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation

NAME = "push_"
"""What the names of the worlds that it does begin with."""

PAUSE_S = (0.2, 0.8)
"""A hesitation lasts a time drawn evenly from this range."""

ARRIVED_M = 0.05
"""So near to its place a robot has arrived."""

LOST_M = 0.28
"""So far from its place a robot that pushes has lost the object."""

PRESSED_M = 0.02
"""The robots aim for this much beyond the touch, so that they stay in touch."""

PUSH_SPEED, PUSH_TURN = 0.4, 0.7
"""Metres and radians per second of the object."""

SLOWING_S = 0.4
"""The object is to arrive no sooner than in this time, which slows it down near the target."""

GAIN = 4.0
"""Metres per second for each metre between a robot and where it is to be; also radians."""

CLOSE_ENOUGH_M, CLOSE_ENOUGH_RAD = 0.05, math.radians(4)
"""Errors below these are left alone while the other is put right."""

STUCK_S, STUCK_M = 1.2, 0.03
"""An object that has moved no further than this in that time of pushing is stuck (a turn counts by its lever)."""

APPROACH_S = 10.0
"""Robots that have not come to their places by then take others."""

LET_GO, BETTER = 0.85, 0.1
"""Places are given up when they fit the wanted motion less than the first, and others do by the second more."""


@dataclass(frozen=True)
class PushPolicyConfig:
    """Two robots go behind the object and push it to the target; needs no pictures and no training.

    Attributes:
        placement_noise: standard deviation, in metres, of the error of the place where each robot takes hold, along
            x and y, drawn anew for every time that they do.
        tremor: standard deviation of the noise added to each commanded velocity in every step, as a part of the
            largest velocity.
        hesitation: probability per step, 0 to 1, that all robots stop for 0.2 to 0.8 s.
        skip_waiting: push as soon as one robot is in its place, instead of waiting for the other.
    """

    placement_noise: float = 0.0
    tremor: float = 0.0
    hesitation: float = 0.0
    skip_waiting: bool = False

    def __post_init__(self) -> None:
        for name in ("placement_noise", "tremor"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be a finite number, 0 or more, not {value}")
        if not 0 <= self.hesitation <= 1:
            raise ConfigError(f"hesitation is a probability from 0 to 1, not {self.hesitation}")

    def make(self, spec: EnvironmentSpec) -> PushPolicy:
        """Build it for a push world.

        Raises:
            ConfigError: the environment is another one, or has one robot only.
        """
        if not spec.name.startswith(NAME):
            raise ConfigError(f"the push policy does the push worlds, not {spec.name}; choose another --policy.type")
        if spec.action_dim < 6:
            raise ConfigError("the push policy needs two robots: the object is too heavy for one; give --env.robots=2")
        return PushPolicy(self, spec)


@dataclass(frozen=True, eq=False)
class Scene:
    """What it looks at, from above; poses are x, y (m) and yaw (rad).

    Attributes:
        robots: (R, 3) poses.
        object: (3,) pose.
        error: (3,) what is left to go: x, y in the object's frame, and turn.
    """

    robots: FloatArray
    object: FloatArray
    error: FloatArray

    def from_object(self, points: FloatArray) -> FloatArray:
        """(..., 2) points of the object's frame in the world's."""
        return points @ _rotation(self.object[2]).T + self.object[:2]

    def to_object(self, points: FloatArray) -> FloatArray:
        """(..., 2) points of the world's frame in the object's."""
        return (points - self.object[:2]) @ _rotation(self.object[2])


@dataclass(frozen=True, eq=False)
class Hold:
    """Which robots push where, until they take other places.

    Attributes:
        pair: indices of the places.
        robots: which robot goes to which of the two.
        offsets: (2, 2) errors of placement, metres.
        pushing: whether they push already, and are not only on their way.
        pushed_steps: for how many steps they have pushed since the object was at `since`.
        approach_steps: for how many steps they have been on their way.
        since: (3,) pose of the object, turn times its lever.
    """

    pair: tuple[int, int]
    robots: tuple[int, int]
    offsets: FloatArray
    pushing: bool = False
    pushed_steps: int = 0
    approach_steps: int = 0
    since: FloatArray = field(default_factory=lambda: np.zeros(3))


class PushPolicy:
    """Decides anew in each step; what it carries on are the places that the robots have chosen, and a pause."""

    cameras: tuple[str, ...] = ()
    extras: tuple[str, ...] = ("object_outline", "robot_radius", "turn_matters")

    def __init__(self, config: PushPolicyConfig, spec: EnvironmentSpec) -> None:
        self._config = config
        self._limits = spec.action_high
        self._robots = spec.action_dim // 3
        self._hz = spec.control_hz
        self._outline: Outline | None = None
        self._hold: Hold | None = None
        self._pause_steps = 0
        self._random = policy_generator(0)

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget everything."""
        self._outline = None
        self._hold = None
        self._pause_steps = 0
        self._random = policy_generator(episode.seed)

    def infer(self, observation: Observation) -> ActionChunk:
        """One action, (1, 3 R): per robot velocity forward and to the left (m/s), and yaw rate (rad/s).

        Raises:
            PolicyError: the state is not that of a push world with so many robots, or the observation lacks
                `object_outline`, `robot_radius` or `turn_matters`.
        """
        extras = _extras(observation.extras, self.extras)
        if observation.state.shape != (3 * (self._robots + 2),):
            raise PolicyError(
                f"the push policy needs the poses of {self._robots} robots, the object and the target, "
                f"({3 * (self._robots + 2)},), got a state of shape {observation.state.shape}"
            )
        if self._outline is None:
            self._outline = Outline(np.asarray(extras["object_outline"], np.float64), float(extras["robot_radius"]))
        scene = self._look(observation.state, bool(extras["turn_matters"]))
        action = self._act(scene, self._outline) if not self._hesitates() else np.zeros(3 * self._robots)
        action = action + self._config.tremor * self._limits * self._random.standard_normal(action.shape)
        return ActionChunk(np.clip(action, -self._limits, self._limits)[np.newaxis])

    def close(self) -> None:
        """Nothing is open."""

    def _look(self, state: FloatArray, turn_matters: bool) -> Scene:
        poses = state.reshape(-1, 3)
        thing, target = poses[-2:]
        way = (target[:2] - thing[:2]) @ _rotation(thing[2])
        turn = math.remainder(target[2] - thing[2], 2 * math.pi) if turn_matters else 0.0
        return Scene(poses[:-2], thing, np.array([*way, turn]))

    def _hesitates(self) -> bool:
        chance, length = self._random.random(2)
        if self._pause_steps == 0 and chance < self._config.hesitation:
            shortest, longest = PAUSE_S
            self._pause_steps = max(1, round((shortest + length * (longest - shortest)) * self._hz))
        hesitates = self._pause_steps > 0
        self._pause_steps = max(self._pause_steps - 1, 0)
        return hesitates

    def _act(self, scene: Scene, outline: Outline) -> FloatArray:
        hold = self._hold = self._take_hold(scene, outline)
        move = self._push if hold.pushing else self._approach
        velocities = move(scene, outline, hold)
        headings = scene.robots[:, 2]
        facing = np.arctan2(*(scene.object[:2] - scene.robots[:, :2]).T[::-1])
        for robot, place in zip(hold.robots, hold.pair, strict=True):
            inward = -outline.places.normals[place] @ _rotation(scene.object[2]).T
            facing[robot] = math.atan2(inward[1], inward[0])
        turns = GAIN * np.array([math.remainder(turn, 2 * math.pi) for turn in facing - headings])
        own = np.array([velocity @ _rotation(yaw) for velocity, yaw in zip(velocities, headings, strict=True)])
        return np.column_stack([own, turns]).ravel()

    def _take_hold(self, scene: Scene, outline: Outline) -> Hold:
        """The present places, or others, and whether it is time to push."""
        scale = np.array([1.0, 1.0, outline.lever])
        motion = _worth(scene.error) * scale
        hold = self._hold
        if hold is None:
            return self._assign(scene, outline, outline.choose(motion))
        hold = self._count(hold, scene.object * scale)
        if hold.pushed_steps > STUCK_S * self._hz or hold.approach_steps > APPROACH_S * self._hz:
            return self._assign(scene, outline, outline.choose(motion, avoid=hold.pair))
        fit = outline.fit(hold.pair, motion)
        if fit < LET_GO:
            pair = outline.choose(motion)
            if outline.fit(pair, motion) > fit + BETTER:
                return self._assign(scene, outline, pair)
        return replace(hold, pushing=self._is_time(hold, scene, outline))

    def _count(self, hold: Hold, pose: FloatArray) -> Hold:
        hold = replace(hold, approach_steps=0 if hold.pushing else hold.approach_steps + 1)
        if float(np.linalg.norm(pose - hold.since)) > STUCK_M:
            return replace(hold, pushed_steps=0, since=pose)
        return replace(hold, pushed_steps=hold.pushed_steps + hold.pushing)

    def _is_time(self, hold: Hold, scene: Scene, outline: Outline) -> bool:
        """Whether to push: from when all are in their places until one has lost its place."""
        stands = self._stands(scene, outline, hold, 0.0 if hold.pushing else BACKED_OFF_M)
        away = np.linalg.norm(scene.robots[list(hold.robots), :2] - stands, axis=1)
        counts = away.min() if self._config.skip_waiting else away.max()
        return bool(counts < (LOST_M if hold.pushing else ARRIVED_M))

    def _assign(self, scene: Scene, outline: Outline, pair: tuple[int, int]) -> Hold:
        """The two robots whose ways to the two places are shortest together."""
        here = scene.to_object(scene.robots[:, :2])
        goals = outline.places.centres[list(pair)] + BACKED_OFF_M * outline.places.normals[list(pair)]
        ways = np.array([[way_length(outline, place, goal) for goal in goals] for place in here])
        robots = min(itertools.permutations(range(self._robots), 2), key=lambda two: ways[two[0], 0] + ways[two[1], 1])
        offsets = self._config.placement_noise * self._random.standard_normal((2, 2))
        return Hold(pair, (robots[0], robots[1]), offsets)

    def _stands(self, scene: Scene, outline: Outline, hold: Hold, room: float) -> FloatArray:
        """(2, 2) where the two robots are to stand, in the world's frame, with `room` to the object."""
        pair = list(hold.pair)
        return scene.from_object(outline.places.centres[pair] + room * outline.places.normals[pair] + hold.offsets)

    def _push(self, scene: Scene, outline: Outline, hold: Hold) -> FloatArray:
        """(R, 2) velocities that move the places as the object is to move, and keep the two robots in them."""
        way, turn = _worth(scene.error)[:2] @ _rotation(scene.object[2]).T, _worth(scene.error)[2]
        seconds = max(float(np.linalg.norm(way)) / PUSH_SPEED, abs(turn) / PUSH_TURN, SLOWING_S)
        velocities = self._approach(scene, outline, hold)
        stands = self._stands(scene, outline, hold, -PRESSED_M)
        for robot, stand in zip(hold.robots, stands, strict=True):
            if np.linalg.norm(stand - scene.robots[robot, :2]) > LOST_M:
                continue  # without waiting, one of them may still be on its way
            arm = stand - scene.object[:2]
            carried = (way + turn * np.array([-arm[1], arm[0]])) / seconds
            velocities[robot] = carried + GAIN * (stand - scene.robots[robot, :2])
        return velocities

    def _approach(self, scene: Scene, outline: Outline, hold: Hold) -> FloatArray:
        """(R, 2) velocities towards the places, around the object and past each other; the others make room."""
        here = scene.to_object(scene.robots[:, :2])
        goals = np.array(here)
        for robot in range(self._robots):
            away = float(np.linalg.norm(here[robot]))
            goals[robot] *= max(1.0, (outline.ring + 3 * outline.radius) / max(away, 1e-6))
        stands = scene.to_object(self._stands(scene, outline, hold, BACKED_OFF_M))
        for robot, stand in zip(hold.robots, stands, strict=True):
            goals[robot] = waypoint(outline, here[robot], stand, np.delete(here, robot, axis=0))
        wanted = [
            _limited(GAIN * (scene.from_object(goal) - place), self._limits[0])
            for goal, place in zip(goals, scene.robots[:, :2], strict=True)
        ]
        return np.array(
            [giving_way(robot, wanted, scene.robots[:, :2], outline.radius) for robot in range(self._robots)]
        )


def _worth(error: FloatArray) -> FloatArray:
    """(3,) the error without what is small enough already, unless all of it is."""
    small = np.linalg.norm(error[:2]) < CLOSE_ENOUGH_M, abs(error[2]) < CLOSE_ENOUGH_RAD
    if all(small):
        return error
    return np.where([small[0], small[0], small[1]], 0.0, error)


def _limited(velocity: FloatArray, most: float) -> FloatArray:
    """The same direction, no longer than `most`."""
    return velocity * min(1.0, most / max(float(np.linalg.norm(velocity)), 1e-9))


def _rotation(angle: float) -> FloatArray:
    """(2, 2) from the turned frame to the other."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _extras(extras: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    missing = [name for name in names if name not in extras]
    if missing:
        raise PolicyError(
            f"the push policy needs {', '.join(missing)} in the observation's extras; use --env.type=push"
        )
    return extras
