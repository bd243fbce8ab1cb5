"""The guard: the receiving arm waits until the giving arm has grasped the object and lifted it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError, PolicyError
from taketwo.types import EnvironmentSpec, FloatArray, Observation


@dataclass(frozen=True, slots=True)
class Handover:
    """Who gives what to whom; arms by the prefix of their action names."""

    obj: str
    giver: str
    receiver: str


HANDOVERS: Mapping[str, Handover] = {"transfer_cube": Handover(obj="red_box", giver="right", receiver="left")}
"""Hand-over tasks by `EnvironmentSpec.name`. In the `insertion` task both arms grasp an object of their own:
neither receives, so there is nothing to guard."""

LIFTED_M = 0.03
"""Height above rest from which an object counts as lifted."""

DOWN_M = 0.015
"""Height above rest below which it counts as put down or dropped; less than `LIFTED_M`, so that an object
that sways about one height does not open and close the guard."""

LOST_STEPS = 5
"""Steps in a row that an object must be seen lost before the guard closes again: contacts flicker."""

BLOCKED_OPENING = 0.15
"""Normalized opening by which a gripper stays wider than commanded when something is between its fingers.
In gym_aloha, commanded to 0, an empty gripper ends at 0.10 and one around the 4 cm cube at 0.61."""

CLOSED_COMMAND = 0.3
"""Normalized gripper command below which it is meant to be closed."""

SETTLE_S = 0.5
"""How long a gripper gets to follow its command; gym_aloha's closes from fully open in 0.48 s."""

CATCH_UP_RAD_S = 3.0
"""Joint speed at which an arm that was held catches up with the policy; the servos of ALOHA's ViperX arms
reach 3.1 rad/s unloaded."""


class Grasp(enum.Enum):
    """What is known of the object."""

    LIFTED = "lifted"
    LOST = "lost"
    UNCLEAR = "unclear"


class GraspSignal(Protocol):
    """Tells from observations whether the object is in hand."""

    def reset(self, observation: Observation) -> None:
        """Begin an episode."""
        ...

    def __call__(self, observation: Observation, sent: FloatArray | None) -> Grasp:
        """What this step shows; `sent` is the last action sent, (D,), None before the first."""
        ...


class ObjectLifted:
    """Looks at the object itself, in simulators that show it.

    Lifted: `LIFTED_M` above rest and touched by the giving arm's fingers. Lost: below `DOWN_M` again. In
    between, or in the air without that touch, as after the hand-over: unclear. The height at rest is the
    lowest one seen in the episode, since objects may begin in the air and fall on the table first.
    """

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._rest_m = np.inf

    def reset(self, observation: Observation) -> None:
        """Forget the height at rest."""
        self._rest_m = np.inf

    def __call__(self, observation: Observation, sent: FloatArray | None) -> Grasp:
        """What this step shows.

        Raises:
            PolicyError: the observation does not show the object any more.
        """
        if not self.can_see(observation, self._handover):
            raise PolicyError(f"the guard lost sight: the observation's extras lack {self.missing(self._handover)}")
        height_m = float(observation.extras["object_poses"][self._handover.obj][2])
        touched = self._handover.obj in observation.extras["touched_by"][self._handover.giver]
        self._rest_m = min(self._rest_m, height_m)
        if height_m >= self._rest_m + LIFTED_M and touched:
            return Grasp.LIFTED
        return Grasp.LOST if height_m < self._rest_m + DOWN_M else Grasp.UNCLEAR

    @staticmethod
    def can_see(observation: Observation, handover: Handover) -> bool:
        """Whether an observation's extras show the object and what the giving arm touches."""
        poses, touches = observation.extras.get("object_poses", {}), observation.extras.get("touched_by", {})
        return handover.obj in poses and handover.giver in touches

    @staticmethod
    def missing(handover: Handover) -> str:
        """What an observation must have."""
        return f"object_poses[{handover.obj!r}] or touched_by[{handover.giver!r}]"


class GripperBlocked:
    """Looks at gripper openings, for robots that cannot see the object.

    A gripper holds something when, for `SETTLE_S`, it has stayed wider than it was commanded. The giving
    gripper holding something is all that can be known of grasp and lift; the object is lost when it is
    shut with nothing in it, and the receiving one does not hold anything either.
    """

    def __init__(self, spec: EnvironmentSpec, handover: Handover) -> None:
        pairs = [gripper_indices(spec, arm) for arm in (handover.giver, handover.receiver)]
        self._commands = np.array([pair[0] for pair in pairs])
        self._openings = np.array([pair[1] for pair in pairs])
        self._settle_steps = max(1, round(SETTLE_S * spec.control_hz))
        self._blocked = self._shut = np.zeros(2, dtype=np.int64)  # steps in a row: giver, receiver

    def reset(self, observation: Observation) -> None:
        """Forget the episode before."""
        self._blocked = self._shut = np.zeros(2, dtype=np.int64)

    def __call__(self, observation: Observation, sent: FloatArray | None) -> Grasp:
        """What this step shows."""
        if sent is None:
            return Grasp.UNCLEAR
        commands = sent[self._commands]
        blocked = observation.state[self._openings] - commands > BLOCKED_OPENING
        shut = ~blocked & (commands < CLOSED_COMMAND)
        self._blocked = np.where(blocked, self._blocked + 1, 0)
        self._shut = np.where(shut, self._shut + 1, 0)
        holds = self._blocked >= self._settle_steps
        if holds[0]:
            return Grasp.LIFTED
        return Grasp.LOST if self._shut[0] >= self._settle_steps and not holds[1] else Grasp.UNCLEAR


class HandoverGuard:
    """Holds the receiving arm, gripper included, where it is until the giving arm holds the object up.

    It stays open once it has seen that, through the hand-over and after. When the object is lost for
    `LOST_STEPS` steps it closes again, and holds the arm at what was last sent. When it opens, the joints
    catch up with the policy at `CATCH_UP_RAD_S` instead of jumping.
    """

    _open: bool
    _caught_up: bool
    _lost_steps: int
    _held: FloatArray | None  # what was last sent to the receiving arm
    _sent: FloatArray | None  # (D,) what was last sent

    def __init__(self, spec: EnvironmentSpec) -> None:
        """Find the arms.

        Raises:
            ConfigError: no hand-over is known for this environment, or it has no such arms.
        """
        if spec.name not in HANDOVERS:
            raise ConfigError(
                f"guard: environment {spec.name!r} has no arm that receives; there is a guard for "
                f"{', '.join(sorted(HANDOVERS))}. Use guard=false"
            )
        self._spec = spec
        self._handover = HANDOVERS[spec.name]
        self._dims = arm_indices(spec, self._handover.receiver)
        step_rad = CATCH_UP_RAD_S / spec.control_hz
        self._reach = np.array([step_rad if spec.action_units[i] == "rad" else np.inf for i in self._dims])
        self._signal: GraspSignal | None = None
        self._forget(None)

    def reset(self, initial: FloatArray | None, observation: Observation) -> None:
        """Close for a new episode.

        Args:
            initial: (D,) where the robot is, as an action; None where that is unknown, and the first
                action is held instead.

        Raises:
            ConfigError: the observation shows neither the object nor the grippers' openings.
        """
        self._signal = self._choose_signal(observation)
        self._signal.reset(observation)
        self._forget(initial)

    def __call__(self, action: FloatArray, observation: Observation) -> tuple[FloatArray, bool]:
        """The action to send, (D,), a new array, and whether anything was held back."""
        if self._signal is None:
            raise ConfigError("the guard was not reset before its first action")
        self._judge(self._signal(observation, self._sent))
        wanted = action[self._dims]
        held = wanted if self._held is None else self._held
        if not self._open:
            given = held
        elif self._caught_up:
            given = wanted
        else:
            given = np.clip(wanted, held - self._reach, held + self._reach)
        self._caught_up = self._open and np.array_equal(given, wanted)
        self._held = given.copy()
        sent = action.copy()
        sent[self._dims] = given
        self._sent = sent.copy()
        return sent, not np.array_equal(given, wanted)

    def _judge(self, grasp: Grasp) -> None:
        self._lost_steps = self._lost_steps + 1 if grasp is Grasp.LOST else 0
        if grasp is Grasp.LIFTED:
            self._open = True
        elif self._lost_steps >= LOST_STEPS:
            self._open = False

    def _forget(self, initial: FloatArray | None) -> None:
        self._open = self._caught_up = False
        self._lost_steps = 0
        self._held = None if initial is None else initial[self._dims].copy()
        self._sent = None if initial is None else initial.copy()

    def _choose_signal(self, observation: Observation) -> GraspSignal:
        if ObjectLifted.can_see(observation, self._handover):
            return ObjectLifted(self._handover)
        try:
            return GripperBlocked(self._spec, self._handover)
        except ConfigError as error:
            raise ConfigError(
                f"guard: a grasp cannot be seen: the observation's extras lack {ObjectLifted.missing(self._handover)}, "
                f"and {error}. Use guard=false"
            ) from error


def arm_indices(spec: EnvironmentSpec, arm: str) -> NDArray[np.intp]:
    """The action dimensions of an arm, by the prefix of their names.

    Raises:
        ConfigError: there are none.
    """
    found = [i for i, name in enumerate(spec.action_names) if name.startswith(f"{arm}_")]
    if not found:
        raise ConfigError(f"guard: no action name begins with '{arm}_': {', '.join(spec.action_names)}")
    return np.array(found, dtype=np.intp)


def gripper_indices(spec: EnvironmentSpec, arm: str) -> tuple[int, int]:
    """Where an arm's gripper is in action and state.

    Raises:
        ConfigError: it is missing in one of them.
    """
    indices = []
    for where, names in (("action", spec.action_names), ("state", spec.state_names)):
        found = [i for i, name in enumerate(names) if name.startswith(f"{arm}_") and "gripper" in name]
        if len(found) != 1:
            raise ConfigError(f"the {where} has {len(found) or 'no'} values named {arm}_*gripper*, not one")
        indices.append(found[0])
    return indices[0], indices[1]
