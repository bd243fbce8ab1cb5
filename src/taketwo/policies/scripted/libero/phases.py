"""How a thing gets into the basket: phases, each with a place for the hand and a way to tell that it is over.

Places are given relative to the objects as they lie now, so a phase follows an object that moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from taketwo.policies.scripted.kinematics import angle_between, distance, pose
from taketwo.policies.scripted.libero.scene import Scene, Thing, turn_between
from taketwo.types import FloatArray

OPEN, CLOSED = -1.0, 1.0

_HOVER_M = 0.06
"""Between the top of the thing and the finger tips' middle, before the hand goes down."""

_TIPS_M = 0.012
"""By which the fingers reach beyond their middle: so far it stays above the table."""

_PALM_M = 0.035
"""From the fingers' middle to where the palm would touch the thing's top, with some room."""

_HAND_HALF_M = np.array([0.035, 0.105])
"""Half the size of the hand above the fingers, across and along the line on which they open."""

_WIDEST_M = 0.07
"""Thickness of a thing that the gripper, open 0.078 m, goes around."""

_CLEARLY_THINNER_M = 0.01
"""From which difference of a thing's sides the hand rather turns than takes it by the thicker one."""

_OVER_RIM_M = 0.03
"""Between the rim and the bottom of the thing while it is carried."""

_INTO_M = 0.10
"""By which the thing is lowered from there; where it is in the basket, the task is solved before."""

_LIFTED_M = 0.02
"""By which a thing has risen that has been lifted."""

_BACK_OFF_M = 0.10
"""Straight up, without a thing in hand, before a new attempt."""

_TURN_TOLERANCE = 0.12


@dataclass(frozen=True, eq=False)
class HandGoal:
    """Where the hand is to be, (4, 4), and what the gripper is told: -1 open, 1 closed."""

    place: FloatArray
    gripper: float


@dataclass(frozen=True, eq=False)
class View:
    """All that a phase decides by.

    Attributes:
        scene: now.
        anchor: (4, 4) pose that the hand had when the phase began.
        height: of the thing's bottom when the attempt began.
        offset: (2,) error of the grasp point in metres, across the gripper and along its opening.
        check: whether grasps are checked.
    """

    scene: Scene
    anchor: FloatArray
    height: float
    offset: FloatArray
    check: bool

    @property
    def lifted(self) -> bool:
        """Whether the thing is in hand and off the ground."""
        return self.scene.held and self.scene.thing.bottom > self.height + _LIFTED_M

    def rising(self, height: float, gripper: float) -> HandGoal:
        """Straight up from where the phase began."""
        return HandGoal(_up(self.anchor, height), gripper)


def _always(_: View) -> bool:
    return True


def _never(_: View) -> bool:
    return False


@dataclass(frozen=True)
class Phase:
    """One stretch of the task.

    Attributes:
        goal: where the hand goes.
        then: the next phase, asked for when this one is over.
        tolerance_m: how near the hand must be.
        timeout_s: after this long it is over in any case.
        at_least_s: it is never over before.
        settled: further condition for its end.
        lost: the thing has slipped away, and the phase ends at once with a new attempt.
        speed: share of the top speed.
    """

    goal: Callable[[View], HandGoal]
    then: Callable[[View], str]
    tolerance_m: float
    timeout_s: float
    at_least_s: float = 0.0
    settled: Callable[[View], bool] = _always
    lost: Callable[[View], bool] = _never
    speed: float = 1.0

    def next(self, view: View, elapsed_s: float, name: str) -> str:
        """The phase to be in now, `name` being this one."""
        if self.lost(view):
            return RETRY
        if elapsed_s >= self.timeout_s:
            return self.then(view)
        if elapsed_s >= self.at_least_s and self._arrived(view) and self.settled(view):
            return self.then(view)
        return name

    def _arrived(self, view: View) -> bool:
        place, hand = self.goal(view).place, view.scene.hand
        return distance(hand, place) < self.tolerance_m and angle_between(hand, place) < _TURN_TOLERANCE


def grasp_of(scene: Scene) -> FloatArray:
    """(4, 4) pose of a hand that comes from above, its fingers on either side of the thing.

    Of the ways in which the thing fits between them, one where the hand meets nothing else; then the one where the
    thing is clearly thinner; then the one for which the hand turns less.
    """
    thing = scene.thing
    thin, thick = sorted({0, 1, 2} - {thing.upright}, key=lambda axis: thing.half[axis])
    height = max(thing.centre[2], thing.top - _PALM_M, thing.bottom + _TIPS_M)
    place = pose([*thing.centre[:2], height])
    ways = [thin] if 2 * thing.half[thick] > _WIDEST_M else [thin, thick]
    place[:3, :3] = min(
        (_from_above(sign * thing.place[:3, axis]) for axis in ways for sign in (1, -1)),
        key=lambda turn: (
            _is_blocked(scene, place[:3, 3], turn),
            _thickness(thing, turn) > 2 * thing.half[thin] + _CLEARLY_THINNER_M,
            float(np.linalg.norm(turn_between(scene.hand[:3, :3], turn))),
        ),
    )
    return place


def _from_above(opening: FloatArray) -> FloatArray:
    """(3, 3) rotation of a hand that points down, its fingers opening along a line, (3,), as far as that is level."""
    line, down = _level(opening), np.array([0.0, 0.0, -1.0])
    return np.stack([np.cross(line, down), line, down], axis=1)


def _thickness(thing: Thing, turn: FloatArray) -> float:
    return float(2 * np.abs(turn[:, 1] @ thing.place[:3, :3]) @ thing.half)


def _is_blocked(scene: Scene, position: FloatArray, turn: FloatArray) -> bool:
    """Whether the hand would run into something that stands by the thing and is taller."""
    return any(
        other.top > position[2] + _PALM_M
        and (np.abs((other.centre - position) @ turn)[:2] < _HAND_HALF_M + other.radius).all()
        for other in scene.others
    )


def _level(line: FloatArray) -> FloatArray:
    flat: FloatArray = np.array([line[0], line[1], 0.0])
    return flat / float(np.linalg.norm(flat))


def _up(place: FloatArray, height: float) -> FloatArray:
    return pose(place[:3, 3] + [0.0, 0.0, height], place[:3, :3])


def _grasp(view: View) -> FloatArray:
    """The grasp, wrong by the attempt's offset."""
    place = grasp_of(view.scene)
    return pose(place[:3, 3] + place[:3, :2] @ view.offset, place[:3, :3])


def _hover(view: View) -> HandGoal:
    place = _grasp(view)
    place[2, 3] = max(place[2, 3], view.scene.thing.top) + _HOVER_M
    return HandGoal(place, OPEN)


def _descend(view: View) -> HandGoal:
    return HandGoal(_grasp(view), OPEN)


def _close(view: View) -> HandGoal:
    return HandGoal(view.anchor, CLOSED)


def _carrying_height(view: View) -> float:
    """Of the hand, at which the thing in it passes over the rim."""
    scene = view.scene
    hanging = scene.hand[2, 3] - scene.thing.bottom if scene.held else _PALM_M
    return float(scene.container.top + _OVER_RIM_M + hanging)


def _lift(view: View) -> HandGoal:
    place = np.array(view.anchor)
    place[2, 3] = max(_carrying_height(view), place[2, 3])
    return HandGoal(place, CLOSED)


def _over_container(view: View) -> FloatArray:
    """Where the hand is when the thing in it is above the middle of the container."""
    scene = view.scene
    place = np.array(scene.hand)
    place[:3, :3] = view.anchor[:3, :3]
    aside = scene.thing.centre[:2] - scene.hand[:2, 3] if scene.held else 0.0
    place[:2, 3] = scene.container.centre[:2] - aside
    place[2, 3] = _carrying_height(view)
    return place


def _carry(view: View) -> HandGoal:
    return HandGoal(_over_container(view), CLOSED)


def _lower(view: View) -> HandGoal:
    place = _over_container(view)
    place[2, 3] = max(view.anchor[2, 3] - _INTO_M, view.scene.container.top - _PALM_M)
    return HandGoal(place, CLOSED)


def _release(view: View) -> HandGoal:
    return HandGoal(view.anchor, OPEN)


def _leave(view: View) -> HandGoal:
    return view.rising(_BACK_OFF_M, OPEN)


def _lost(view: View) -> bool:
    return view.check and view.scene.lost


def _to(name: str) -> Callable[[View], str]:
    return lambda _: name


def _if_held(name: str) -> Callable[[View], str]:
    return lambda view: name if view.scene.held or not view.check else RETRY


def _if_lifted(name: str) -> Callable[[View], str]:
    return lambda view: name if view.lifted or not view.check else RETRY


def _again_or_rest(view: View) -> str:
    """The task ends where the thing is in the basket; whoever still acts has missed it."""
    return "approach" if view.check else "rest"


FIRST, RETRY = "approach", "back_off"

PHASES: Mapping[str, Phase] = {
    "approach": Phase(_hover, _to("descend"), 0.012, 4.0, settled=lambda view: view.scene.opening > 0.07),
    "descend": Phase(_descend, _to("close"), 0.008, 1.5, speed=0.6),
    "close": Phase(_close, _if_held("lift"), 0.03, 0.9, at_least_s=0.5, settled=lambda view: view.scene.held),
    "lift": Phase(_lift, _if_lifted("carry"), 0.02, 2.5, speed=0.8),
    "carry": Phase(_carry, _to("lower"), 0.015, 4.0, lost=_lost),
    "lower": Phase(_lower, _to("release"), 0.01, 1.5, speed=0.6),
    "release": Phase(_release, _to("leave"), 0.05, 0.8, at_least_s=0.5),
    "leave": Phase(_leave, _again_or_rest, 0.02, 1.5),
    "rest": Phase(_release, _to("rest"), 0.0, 3600.0),
    "back_off": Phase(_leave, _to("approach"), 0.02, 1.5),
}
