"""The scripted policy, a plan carried on from step to step.

It looks where the objects are, moves the tools through waypoints by inverse kinematics, and tells from the
measured state when to go on. Its knobs make it fail as learned policies do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from taketwo.policies.scripted.kinematics import ARM_JOINTS, SIDES, Arm, Side, angle_between, distance
from taketwo.policies.scripted.motion import JointMotion
from taketwo.policies.scripted.noise import PAUSE_S, Noise, dither_swing, pause_steps
from taketwo.policies.scripted.scene import Scene, arm_slice, scene_of
from taketwo.policies.scripted.waypoints import ArmGoal, Task, View
from taketwo.types import ActionChunk, EpisodeInfo, FloatArray, Observation

if TYPE_CHECKING:
    from taketwo.policies.scripted import ScriptedConfig

DITHER_RAD = 0.01
"""While it hesitates, each joint swings by about this many radians. A choice, not a measurement: the waist alone then
moves finger tips that are half a metre out by 5 mm."""

_GRIPPER_STEP = 0.1
"""Most that a gripper command changes in one control period."""

_SAME_PLACE_M, _SAME_TURN_RAD = 5e-4, 5e-3
"""A goal that moves by less keeps its joint angles: they are not solved for again."""


@dataclass(frozen=True, eq=False)
class ArmPlan:
    """One arm's command as it stands.

    Attributes:
        motion: where its joints are told to be.
        gripper: what its gripper is told: 0 closed, 1 open.
        place: the tool pose that `joints` were solved for; None while it has had no goal.
        joints: (6,) joint angles that it moves to.
    """

    motion: JointMotion
    gripper: float
    place: FloatArray | None
    joints: FloatArray


@dataclass(frozen=True, eq=False)
class Plan:
    """All that the policy carries from one step to the next; never changed, only replaced.

    Attributes:
        step: the environment's step that this plan is for; noise is looked up by it.
        phase: name of the present phase.
        phase_steps: steps spent in it, pauses not counted.
        attempt_step: the step in which the present grasp attempt began.
        pause_steps: steps left of the present hesitation.
        arms: per arm, its command.
        anchors: per arm, the pose its tool was told to have when the phase began.
        grippers: per arm, what its gripper was told when the phase began.
    """

    step: int
    phase: str
    phase_steps: int
    attempt_step: int
    pause_steps: int
    arms: Mapping[Side, ArmPlan]
    anchors: Mapping[Side, FloatArray]
    grippers: Mapping[Side, float]


def _noise(seed: int) -> Noise:
    return Noise(seed, (len(SIDES), ARM_JOINTS), (len(SIDES), 2))


class ScriptedPolicy:
    """Plans one step at a time; a chunk is its own plan carried on over the scene that it expects."""

    cameras: tuple[str, ...] = ()
    extras: tuple[str, ...] = ("object_poses", "touched_by")

    def __init__(self, config: ScriptedConfig, task: Task, arms: Mapping[Side, Arm], control_hz: float) -> None:
        self._config = config
        self._task = task
        self._arms = arms
        self._hz = control_hz
        self._noise = _noise(0)
        self._plans: list[Plan] = []

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget everything; the first observation begins a new plan."""
        self._noise = _noise(episode.seed)
        self._plans = []

    def infer(self, observation: Observation) -> ActionChunk:
        """The next `chunk_size` actions, (H, 14): per arm six joint angles in radians and a gripper, 0 to 1.

        Raises:
            PolicyError: the observation lacks `object_poses` or `touched_by`.
        """
        scene = scene_of(observation, self._arms, self._task.things)
        plan = self._resume(scene, round(observation.time_s * self._hz))
        self._plans = [plan]
        actions = np.empty((self._config.chunk_size, 2 * (ARM_JOINTS + 1)))
        for row in range(self._config.chunk_size):
            if row > 0:
                scene = scene.expect(self._arms, self._command(plan), self._task.things)
            plan = self._advance(plan, scene)
            self._plans.append(plan)
            actions[row] = self._shaken(plan)
        return ActionChunk(actions)

    def close(self) -> None:
        """Nothing is open."""

    def _resume(self, scene: Scene, step: int) -> Plan:
        """The plan as it stood for this step, since an executor uses as much of a chunk as it likes."""
        if not self._plans:
            return self._begin(scene, step)
        used = min(max(step - self._plans[0].step, 0), len(self._plans) - 1)
        return replace(self._plans[used], step=step)

    def _begin(self, scene: Scene, step: int) -> Plan:
        return Plan(
            step=step,
            phase=self._task.first,
            phase_steps=0,
            attempt_step=step,
            pause_steps=0,
            arms={
                side: ArmPlan(
                    JointMotion.at_rest(scene.joints[side]), scene.opening[side], None, np.array(scene.joints[side])
                )
                for side in SIDES
            },
            anchors=scene.tools,
            grippers=scene.opening,
        )

    def _advance(self, plan: Plan, scene: Scene) -> Plan:
        """The plan for the next step, its commands those of this one."""
        plan = self._maybe_pause(plan)
        if plan.pause_steps > 0:
            return self._paused(plan)
        view = self._view(plan, scene)
        phase = self._task.phases[plan.phase]
        name = phase.next(view, phase.goals(view), plan.phase_steps / self._hz, plan.phase)
        if name != plan.phase:
            plan = self._enter(plan, name)
            view = self._view(plan, scene)
            phase = self._task.phases[name]
        goals = phase.goals(view)
        arms = {side: self._steer(side, plan.arms[side], goals[side], phase.speed) for side in SIDES}
        return replace(plan, step=plan.step + 1, phase_steps=plan.phase_steps + 1, arms=arms)

    def _enter(self, plan: Plan, name: str) -> Plan:
        return replace(
            plan,
            phase=name,
            phase_steps=0,
            attempt_step=plan.step if name == self._task.retry else plan.attempt_step,
            anchors={side: self._arms[side].tool(plan.arms[side].motion.position) for side in SIDES},
            grippers={side: plan.arms[side].gripper for side in SIDES},
        )

    def _view(self, plan: Plan, scene: Scene) -> View:
        offsets = self._config.grasp_noise * self._noise.grasps[plan.attempt_step]
        return View(
            scene=scene,
            anchors=plan.anchors,
            grippers=plan.grippers,
            offsets=dict(zip(SIDES, offsets, strict=True)),
            check=not self._config.skip_grasp_check,
        )

    def _steer(self, side: Side, arm: ArmPlan, goal: ArmGoal, speed: float) -> ArmPlan:
        place, joints = arm.place, arm.joints
        if goal.tool is not None and not _same(place, goal.tool):
            place, joints = goal.tool, self._arms[side].solve(goal.tool, arm.motion.position)
        gripper = arm.gripper + float(np.clip(goal.gripper - arm.gripper, -_GRIPPER_STEP, _GRIPPER_STEP))
        return ArmPlan(arm.motion.towards(joints, 1 / self._hz, speed), gripper, place, joints)

    def _maybe_pause(self, plan: Plan) -> Plan:
        if not self._config.hesitation or plan.pause_steps > 0:
            return plan
        row = self._noise.pauses[plan.step]
        return replace(plan, pause_steps=pause_steps(row, self._config.hesitation, PAUSE_S, self._hz))

    def _paused(self, plan: Plan) -> Plan:
        """Brake and stand; the phase's time stands as well."""
        arms = {}
        for side, arm in plan.arms.items():
            motion = arm.motion.towards(arm.motion.position, 1 / self._hz)
            arms[side] = replace(arm, motion=motion)
        return replace(plan, step=plan.step + 1, pause_steps=plan.pause_steps - 1, arms=arms)

    def _command(self, plan: Plan) -> FloatArray:
        """(14,) what the arms are told, without noise."""
        return np.concatenate([[*plan.arms[side].motion.position, plan.arms[side].gripper] for side in SIDES])

    def _shaken(self, plan: Plan) -> FloatArray:
        """(14,) what the arms are told, with tremor and the dither of a hesitation."""
        action = self._command(plan)
        step = plan.step - 1
        shake = self._config.tremor * self._noise.tremor[step]
        if plan.pause_steps > 0:
            shake = shake + DITHER_RAD * dither_swing(step, self._hz) * self._noise.dither
        for row, side in enumerate(SIDES):
            arm_slice(action, side)[:] += shake[row]
        return action


def _same(solved: FloatArray | None, wanted: FloatArray) -> bool:
    return (
        solved is not None
        and distance(solved, wanted) < _SAME_PLACE_M
        and angle_between(solved, wanted) < _SAME_TURN_RAD
    )
