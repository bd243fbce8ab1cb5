"""How the two tasks of `gym_aloha` are done: phases, each with a place for either tool and a way to tell it is over.

Places are given relative to the objects as they lie now, so a phase follows an object that moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from taketwo.policies.scripted.kinematics import SIDES, Side, angle_between, distance, inverse, pose, rotation
from taketwo.policies.scripted.scene import BLUE_SOCKET, RED_BOX, RED_PEG, Graspable, Scene
from taketwo.types import FloatArray

OPEN, CLOSED = 1.0, 0.0

_FACING: dict[Side, FloatArray] = {"left": np.eye(3), "right": rotation("z", np.pi)}
"""A level tool's orientation: the arms stand at either end of the table and face each other."""

_PICK_PITCH = np.radians(70.0)
_PICK: dict[Side, FloatArray] = {side: _FACING[side] @ rotation("y", _PICK_PITCH) for side in SIDES}
_RECEIVE = _FACING["left"] @ rotation("x", np.pi / 2)
"""The receiving gripper is level and turned on its side: its fingers close above and below the cube, where the
giving gripper's fingers, at its flanks, are not in the way."""

_TIP_PAST_CENTRE_M = 0.008
"""Metres by which the receiving finger tips go past the cube's centre, so that the pads cover it. A choice,
not a measurement: with 0 they would hold it by its near half, and its far face is at 0.02."""

_HOVER_M = 0.10
"""Metres above the grasp point where the open gripper waits: well clear of the cube, 0.04 m high."""

_LIFT_M, _BACK_OFF_M = 0.08, 0.06
"""Metres straight up with an object in hand, and without one before a new attempt."""

_LIFTED_M = 0.03
"""Metres of height from which an object counts as lifted. On the table the centre of cube and socket is at
about 0.02, that of the peg at 0.01."""

_TURN_TOLERANCE = 0.15
"""Radians by which a tool, or the peg before the socket, may be turned away from its goal."""

_MEET = np.array([0.0, 0.5, 0.25])
_RECEIVE_STANDOFF_M = 0.11
_BESIDE_MEET_M = np.array([0.12, 0.0, 0.06])

_JOIN = np.array([0.0, 0.5, 0.20])
_ALIGN_GAP_M = 0.17
"""Between the centres of peg and socket, each 0.12 m long: 0.05 m of air."""
_MOUTH_GAP_M, _INSIDE_GAP_M = 0.13, 0.115
"""Before the mouth, where the peg waits until it is in line, and past it, where the walls guide it."""
_FITS_M = 0.006
"""The socket's mouth is 0.036 m wide and the peg 0.02 m thick, which leaves 0.008 m on either side."""
_INSERTED_GAP_M = 0.085
"""Peg and pin touch at 0.10 m; the goal lies behind, so that the peg is pushed until they do."""


@dataclass(frozen=True, eq=False)
class ArmGoal:
    """What one arm is to do.

    Attributes:
        tool: (4, 4) pose for its tool, or None to stay where it is.
        gripper: 0 closed, 1 open.
        awaited: whether the phase lasts until the tool is there.
    """

    tool: FloatArray | None
    gripper: float
    awaited: bool = True


Goals = Mapping[Side, ArmGoal]


@dataclass(frozen=True, eq=False)
class View:
    """All that a phase decides by.

    Attributes:
        scene: the table now.
        anchors: per arm, the pose its tool was told to have when the phase began.
        grippers: per arm, what its gripper was told when the phase began.
        offsets: per arm, (2,) error of the grasp point in metres, along the object's own x and y.
        check: whether grasps are checked.
    """

    scene: Scene
    anchors: Mapping[Side, FloatArray]
    grippers: Mapping[Side, float]
    offsets: Mapping[Side, FloatArray]
    check: bool

    def stay(self, side: Side) -> ArmGoal:
        """Keep pose and gripper of the phase's beginning."""
        return ArmGoal(None, self.grippers[side])

    def raised(self, side: Side, height: float, gripper: float) -> ArmGoal:
        """Straight up from where the phase began."""
        return ArmGoal(_up(self.anchors[side], height), gripper)


def _always(_: View) -> bool:
    return True


def _never(_: View) -> bool:
    return False


@dataclass(frozen=True)
class Phase:
    """One stretch of the task.

    Attributes:
        goals: where the tools go.
        then: the next phase, asked for when this one is over.
        tolerance_m: how near the measured tools must be to their goals.
        timeout_s: after this long it is over in any case.
        at_least_s: it is never over before.
        settled: further condition for its end.
        lost: an object has slipped away, and the phase ends at once with `fallback`.
        fallback: where it goes on then.
        speed: share of the arms' top speed.
    """

    goals: Callable[[View], Goals]
    then: Callable[[View], str]
    tolerance_m: float
    timeout_s: float
    at_least_s: float = 0.0
    settled: Callable[[View], bool] = _always
    lost: Callable[[View], bool] = _never
    fallback: str = ""
    speed: float = 1.0

    def next(self, view: View, goals: Goals, elapsed_s: float, name: str) -> str:
        """The phase to be in now, `name` being this one."""
        if self.lost(view):
            return self.fallback
        if elapsed_s >= self.timeout_s:
            return self.then(view)
        if elapsed_s >= self.at_least_s and self._arrived(view.scene, goals) and self.settled(view):
            return self.then(view)
        return name

    def _arrived(self, scene: Scene, goals: Goals) -> bool:
        places = ((scene.tools[side], goal.tool) for side, goal in goals.items() if goal.awaited)
        return all(
            place is None or (distance(tool, place) < self.tolerance_m and angle_between(tool, place) < _TURN_TOLERANCE)
            for tool, place in places
        )


@dataclass(frozen=True)
class Task:
    """A task: what there is to take, and the phases by name; `first` begins, `retry` counts as a new attempt."""

    things: tuple[Graspable, ...]
    phases: Mapping[str, Phase]
    first: str
    retry: str


def transfer_cube() -> Task:
    """The right arm takes the cube from the table, the left arm takes it from the right one in mid-air."""
    return Task(
        things=(RED_BOX,),
        phases={
            "approach": Phase(_cube_hover, _to("descend"), 0.02, 2.0, settled=_right_open),
            "descend": Phase(_cube_grasp, _to("close"), 0.006, 0.8, speed=0.6),
            "close": Phase(_cube_close, _if_cube("lift"), 0.02, 0.5, at_least_s=0.3, settled=_cube_touched),
            "lift": Phase(_cube_lift, _if_cube("meet", lifted=True), 0.015, 0.8, speed=0.8),
            "meet": Phase(_cube_meet, _to("reach"), 0.008, 1.5, lost=_cube_lost, fallback="back_off"),
            "reach": Phase(_cube_reach, _to("receive"), 0.008, 1.0, lost=_cube_lost, fallback="back_off", speed=0.7),
            "receive": Phase(_cube_receive, _received, 0.02, 0.8, at_least_s=0.3, settled=_cube_received),
            "release": Phase(_cube_release, _to("part"), 0.02, 0.5, settled=_right_open),
            "part": Phase(_cube_part, _to("rest"), 0.01, 1.5),
            "rest": Phase(_rest, _to("rest"), 0.0, 3600.0),
            "back_off": Phase(_cube_back_off, _to("approach"), 0.02, 0.8),
        },
        first="approach",
        retry="back_off",
    )


def insertion() -> Task:
    """Either arm takes its object from the table; in mid-air the peg is pushed into the socket."""
    return Task(
        things=(RED_PEG, BLUE_SOCKET),
        phases={
            "approach": Phase(_pair_hover, _to("descend"), 0.02, 2.0, settled=_free_open),
            "descend": Phase(_pair_grasp, _to("close"), 0.006, 0.8, speed=0.6),
            "close": Phase(_pair_close, _if_pair("lift"), 0.02, 0.5, at_least_s=0.3, settled=_pair_held),
            "lift": Phase(_pair_lift, _if_pair("align", lifted=True), 0.015, 0.8, speed=0.8),
            "align": Phase(_pair_align, _to("insert"), 0.004, 1.5, lost=_pair_lost, fallback="back_off"),
            "insert": Phase(_pair_insert, _to("align"), 0.0, 1.5, lost=_pair_lost, fallback="back_off", speed=0.5),
            "back_off": Phase(_pair_back_off, _to("approach"), 0.02, 0.8),
        },
        first="approach",
        retry="back_off",
    )


TASKS: dict[str, Callable[[], Task]] = {"transfer_cube": transfer_cube, "insertion": insertion}


def _to(name: str) -> Callable[[View], str]:
    return lambda _: name


def _up(place: FloatArray, height: float) -> FloatArray:
    return pose(place[:3, 3] + [0.0, 0.0, height], place[:3, :3])


def _rest(view: View) -> Goals:
    return {side: view.stay(side) for side in SIDES}


# Taking an object from the table.


def _grasp_place(view: View, side: Side, thing: Graspable) -> FloatArray:
    """Tool pose to close the gripper at, wrong by the attempt's grasp offset."""
    there = view.scene.objects[thing.name]
    turn = rotation("z", _yaw(there, thing.symmetry))
    offset = turn @ [*view.offsets[side], thing.tip_height]
    return pose(there[:3, 3] + offset, turn @ _PICK[side])


def _yaw(place: FloatArray, symmetry: float) -> float:
    """How far the object is turned about the vertical, as the smallest turn that makes the gripper fit."""
    column = int(np.argmin(np.abs(place[2, :3]))) if symmetry < np.pi else 0
    yaw = np.arctan2(place[1, column], place[0, column])
    return float((yaw + symmetry / 2) % symmetry - symmetry / 2)


def _above(view: View, side: Side, thing: Graspable) -> ArmGoal:
    return ArmGoal(_up(_grasp_place(view, side, thing), _HOVER_M), OPEN)


def _lifted(scene: Scene, thing: Graspable) -> bool:
    return bool(scene.objects[thing.name][2, 3] > _LIFTED_M)


def _in_hand(view: View, side: Side, thing: Graspable) -> FloatArray:
    """The object's pose in the tool's frame: as seen where the object is held, as hoped for where it is not."""
    if view.scene.holds(side, thing):
        return inverse(view.scene.tools[side]) @ view.scene.objects[thing.name]
    hoped = pose([0.0, 0.0, thing.tip_height], _PICK[side])
    return inverse(hoped)


def _held_out(view: View, side: Side, thing: Graspable) -> FloatArray:
    """Where the object is that a resting hand holds out, or would be if the hand were not empty.

    An empty hand counts as where it was told to be: followed as measured, it would be pushed ahead by the other.
    """
    tool = view.scene.tools[side] if view.scene.holds(side, thing) else view.anchors[side]
    return tool @ _in_hand(view, side, thing)


def _carried_to(view: View, side: Side, thing: Graspable, place: FloatArray) -> ArmGoal:
    """Bring a held object to a pose."""
    return ArmGoal(place @ inverse(_in_hand(view, side, thing)), CLOSED)


def _is_open(view: View, side: Side) -> bool:
    return view.scene.opening[side] > 0.8


# The cube.


def _right_open(view: View) -> bool:
    return _is_open(view, "right")


def _cube_touched(view: View) -> bool:
    return view.scene.holds("right", RED_BOX)


def _cube_received(view: View) -> bool:
    return view.scene.holds("left", RED_BOX)


def _cube_lost(view: View) -> bool:
    return view.check and view.scene.lost("right", RED_BOX)


def _if_cube(name: str, lifted: bool = False) -> Callable[[View], str]:
    def choose(view: View) -> str:
        held = view.scene.holds("right", RED_BOX) and (not lifted or _lifted(view.scene, RED_BOX))
        return name if held or not view.check else "back_off"

    return choose


def _received(view: View) -> str:
    return "release" if _cube_received(view) or not view.check else "meet"


def _cube_hover(view: View) -> Goals:
    return {"left": view.stay("left"), "right": _above(view, "right", RED_BOX)}


def _cube_grasp(view: View) -> Goals:
    return {"left": _waiting(), "right": ArmGoal(_grasp_place(view, "right", RED_BOX), OPEN)}


def _cube_close(view: View) -> Goals:
    return {"left": _waiting(), "right": ArmGoal(None, CLOSED)}


def _waiting(awaited: bool = False) -> ArmGoal:
    return ArmGoal(pose(_MEET - [_RECEIVE_STANDOFF_M, 0.0, 0.0], _RECEIVE), OPEN, awaited)


def _cube_lift(view: View) -> Goals:
    return {"left": _waiting(), "right": view.raised("right", _LIFT_M, CLOSED)}


def _cube_meet(view: View) -> Goals:
    in_hand = _in_hand(view, "right", RED_BOX)
    tool = pose(_MEET - _PICK["right"] @ in_hand[:3, 3], _PICK["right"])
    return {"left": _waiting(awaited=True), "right": ArmGoal(tool, CLOSED)}


def _cube_reach(view: View) -> Goals:
    cube = _held_out(view, "right", RED_BOX)
    tip = pose(cube[:3, 3] + [_TIP_PAST_CENTRE_M, 0.0, 0.0], _RECEIVE)
    return {"left": ArmGoal(tip, OPEN), "right": ArmGoal(None, CLOSED)}


def _cube_receive(view: View) -> Goals:
    return {"left": ArmGoal(None, CLOSED), "right": ArmGoal(None, CLOSED)}


def _cube_release(view: View) -> Goals:
    return {"left": ArmGoal(None, CLOSED), "right": ArmGoal(None, OPEN)}


def _cube_part(view: View) -> Goals:
    away = pose(_MEET + _BESIDE_MEET_M, _PICK["right"])
    return {"left": ArmGoal(None, CLOSED), "right": ArmGoal(away, OPEN)}


def _cube_back_off(view: View) -> Goals:
    return {"left": _waiting(), "right": view.raised("right", _BACK_OFF_M, OPEN)}


# Peg and socket.

_TAKES: dict[Side, Graspable] = {"left": BLUE_SOCKET, "right": RED_PEG}


def _held(view: View, side: Side) -> bool:
    return view.scene.holds(side, _TAKES[side])


def _free(view: View, goal: Callable[[Side], ArmGoal]) -> Goals:
    """A goal for each arm that is empty; one that has its object in hand waits for the other."""
    return {side: ArmGoal(None, CLOSED) if _held(view, side) else goal(side) for side in SIDES}


def _free_open(view: View) -> bool:
    return all(_held(view, side) or _is_open(view, side) for side in SIDES)


def _pair_held(view: View) -> bool:
    return all(_held(view, side) for side in SIDES)


def _pair_lost(view: View) -> bool:
    return view.check and any(view.scene.lost(side, thing) for side, thing in _TAKES.items())


def _if_pair(name: str, lifted: bool = False) -> Callable[[View], str]:
    def choose(view: View) -> str:
        held = _pair_held(view) and (not lifted or all(_lifted(view.scene, thing) for thing in _TAKES.values()))
        return name if held or not view.check else "back_off"

    return choose


def _pair_hover(view: View) -> Goals:
    return _free(view, lambda side: _above(view, side, _TAKES[side]))


def _pair_grasp(view: View) -> Goals:
    return _free(view, lambda side: ArmGoal(_grasp_place(view, side, _TAKES[side]), OPEN))


def _pair_close(view: View) -> Goals:
    return {side: ArmGoal(None, CLOSED) for side in SIDES}


def _pair_lift(view: View) -> Goals:
    return {side: view.raised(side, _LIFT_M, CLOSED) for side in SIDES}


def _pair_back_off(view: View) -> Goals:
    return _free(view, lambda side: view.raised(side, _BACK_OFF_M, OPEN))


def _pair_align(view: View) -> Goals:
    apart = np.array([_ALIGN_GAP_M / 2, 0.0, 0.0])
    return {
        "left": _carried_to(view, "left", BLUE_SOCKET, pose(_JOIN - apart)),
        "right": _carried_to(view, "right", RED_PEG, pose(_JOIN + apart)),
    }


def _pair_insert(view: View) -> Goals:
    socket = _held_out(view, "left", BLUE_SOCKET)
    peg = inverse(socket) @ view.scene.tools["right"] @ _in_hand(view, "right", RED_PEG)
    fits = float(np.linalg.norm(peg[1:3, 3])) < _FITS_M and angle_between(peg, np.eye(4)) < _TURN_TOLERANCE
    gap = _INSERTED_GAP_M if fits or peg[0, 3] < _INSIDE_GAP_M else _MOUTH_GAP_M
    return {
        "left": ArmGoal(None, CLOSED),
        "right": _carried_to(view, "right", RED_PEG, socket @ pose([gap, 0.0, 0.0])),
    }
