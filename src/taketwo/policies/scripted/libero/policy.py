"""The scripted policy for `libero_object`: a plan carried on from step to step.

It looks where the objects are, moves the hand through places by changes of its pose, and tells from the measured state
when to go on. Its knobs make it fail as learned policies do, and mean what they mean for `gym_aloha`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from taketwo.policies.scripted.libero.phases import FIRST, PHASES, RETRY, HandGoal, View
from taketwo.policies.scripted.libero.scene import SHIFT_M, TURN_RAD, Scene, goal_of, scene_of, turn_between
from taketwo.policies.scripted.noise import PAUSE_S, Noise, dither_swing, pause_steps
from taketwo.types import ActionChunk, EpisodeInfo, FloatArray, Observation

if TYPE_CHECKING:
    from taketwo.policies.scripted import ScriptedConfig

ACTION_DIM = 7

LEVER_M = 0.5
"""Metres that the hand moves per radian of a joint, about. Tremor is given for joints, and LIBERO's actions are shifts
and turns of the hand: a turn is shaken as a joint would be, a shift as by a joint half a metre away."""

DITHER_RAD = 0.01
"""While the arm hesitates, the place it holds swings by about this many radians, and by as much times `LEVER_M`."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All that the policy carries from one step to the next; never changed, only replaced.

    Attributes:
        step: the environment's step that this plan is for; noise is looked up by it.
        phase: name of the present phase.
        phase_steps: steps spent in it, pauses not counted.
        attempt_step: the step in which the present grasp attempt began.
        attempt_height: of the thing's bottom then.
        pause_steps: steps left of the present hesitation.
        anchor: (4, 4) pose of the hand when the phase began.
        goal: where the hand was sent last.
        held_at: (4, 4) pose of the hand when the present hesitation began.
        scene: what the plan was made by, with the speed that the hand should have.
        action: (7,) what was sent last, without noise.
    """

    step: int
    phase: str
    phase_steps: int
    attempt_step: int
    attempt_height: float
    pause_steps: int
    anchor: FloatArray
    goal: HandGoal
    held_at: FloatArray
    scene: Scene
    action: FloatArray


def _noise(seed: int) -> Noise:
    return Noise(seed, (6,), (2,))


class LiberoScriptedPolicy:
    """Plans one step at a time; a chunk is its own plan carried on over the scene that it expects."""

    cameras: tuple[str, ...] = ()
    extras: tuple[str, ...] = ("goal", "object_poses", "object_boxes", "touched_by")

    def __init__(self, config: ScriptedConfig, control_hz: float) -> None:
        self._config = config
        self._hz = control_hz
        self._noise = _noise(0)
        self._plans: list[Plan] = []

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget everything; the first observation begins a new plan."""
        self._noise = _noise(episode.seed)
        self._plans = []

    def infer(self, observation: Observation) -> ActionChunk:
        """The next `chunk_size` actions, (H, 7): shift and turn of the hand and its gripper, each from -1 to 1.

        Raises:
            PolicyError: the observation lacks what this policy looks at, or the task is of another kind.
        """
        plan = self._resume(observation)
        self._plans = [plan]
        actions = np.empty((self._config.chunk_size, ACTION_DIM))
        for row in range(self._config.chunk_size):
            if row > 0:
                plan = replace(plan, scene=plan.scene.expect(plan.action))
            plan = self._advance(plan)
            self._plans.append(plan)
            actions[row] = self._shaken(plan)
        return ActionChunk(actions)

    def close(self) -> None:
        """Nothing is open."""

    def _resume(self, observation: Observation) -> Plan:
        """The plan as it stood for this step, since an executor uses as much of a chunk as it likes."""
        step, goal = round(observation.time_s * self._hz), goal_of(observation)
        if not self._plans:
            return self._begin(scene_of(observation, goal, np.zeros((2, 3))), step)
        used = min(max(step - self._plans[0].step, 0), len(self._plans) - 1)
        plan = self._plans[used]
        twist = plan.scene.expect(plan.action).twist if used else plan.scene.twist
        return replace(plan, step=step, scene=scene_of(observation, goal, twist))

    def _begin(self, scene: Scene, step: int) -> Plan:
        return Plan(
            step=step,
            phase=FIRST,
            phase_steps=0,
            attempt_step=step,
            attempt_height=scene.thing.bottom,
            pause_steps=0,
            anchor=scene.hand,
            goal=HandGoal(scene.hand, -1.0),
            held_at=scene.hand,
            scene=scene,
            action=np.zeros(ACTION_DIM),
        )

    def _advance(self, plan: Plan) -> Plan:
        """The plan for the next step, its action that of this one."""
        plan = self._maybe_pause(plan)
        if plan.pause_steps > 0:
            return self._paused(plan)
        name = PHASES[plan.phase].next(self._view(plan), plan.phase_steps / self._hz, plan.phase)
        if name != plan.phase:
            plan = self._enter(plan, name)
        goal = PHASES[name].goal(self._view(plan))
        action = _towards(goal, plan.scene.hand, PHASES[name].speed)
        return replace(plan, step=plan.step + 1, phase_steps=plan.phase_steps + 1, goal=goal, action=action)

    def _enter(self, plan: Plan, name: str) -> Plan:
        anew = name in (FIRST, RETRY)
        return replace(
            plan,
            phase=name,
            phase_steps=0,
            attempt_step=plan.step if name == RETRY else plan.attempt_step,
            attempt_height=plan.scene.thing.bottom if anew else plan.attempt_height,
            anchor=plan.scene.hand,
        )

    def _view(self, plan: Plan) -> View:
        return View(
            scene=plan.scene,
            anchor=plan.anchor,
            height=plan.attempt_height,
            offset=self._config.grasp_noise * self._noise.grasps[plan.attempt_step],
            check=not self._config.skip_grasp_check,
        )

    def _maybe_pause(self, plan: Plan) -> Plan:
        if not self._config.hesitation or plan.pause_steps > 0:
            return plan
        steps = pause_steps(self._noise.pauses[plan.step], self._config.hesitation, PAUSE_S, self._hz)
        return replace(plan, pause_steps=steps, held_at=plan.scene.hand)

    def _paused(self, plan: Plan) -> Plan:
        """Stand still; the phase's time stands as well."""
        action = _towards(replace(plan.goal, place=plan.held_at), plan.scene.hand, 1.0)
        return replace(plan, step=plan.step + 1, pause_steps=plan.pause_steps - 1, action=action)

    def _shaken(self, plan: Plan) -> FloatArray:
        """(7,) what the arm is told, with tremor and the dither of a hesitation."""
        step = plan.step - 1
        shake = self._config.tremor * self._noise.tremor[step]
        if plan.pause_steps > 0:
            shake = shake + DITHER_RAD * dither_swing(step, self._hz) * self._noise.dither
        action = plan.action.copy()
        action[:3] += shake[:3] * LEVER_M / SHIFT_M
        action[3:6] += shake[3:] / TURN_RAD
        return np.clip(action, -1.0, 1.0)


def _towards(goal: HandGoal, hand: FloatArray, speed: float) -> FloatArray:
    """(7,) the action that leads to a goal, sideways and up or down no faster than `speed` times the top speed each.

    The goal itself is what the controller is given once it is near: its spring then takes the hand there without
    overshoot, halving what is left in every step.
    """
    shift = (goal.place[:3, 3] - hand[:3, 3]) / SHIFT_M
    turn = turn_between(hand[:3, :3], goal.place[:3, :3]) / TURN_RAD
    return np.concatenate(
        [_at_most(shift[:2], speed), _at_most(shift[2:], speed), _at_most(turn, speed), [goal.gripper]]
    )


def _at_most(vector: FloatArray, length: float) -> FloatArray:
    longest = float(np.linalg.norm(vector))
    return vector if longest <= length else vector * (length / longest)
