"""A policy without learning, for both tasks of `gym_aloha`, those of LIBERO's `libero_object`, and push: its options.

`policy` has the one for `gym_aloha`'s two arms, `libero.policy` the one for LIBERO's, and `taketwo.policies.push` the
one for robots that push.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taketwo.errors import ConfigError
from taketwo.types import EnvironmentSpec

if TYPE_CHECKING:
    from taketwo.policies.push import PushPolicy
    from taketwo.policies.scripted.libero.policy import LiberoScriptedPolicy
    from taketwo.policies.scripted.policy import ScriptedPolicy

LIBERO = "libero"
"""What a policy server calls every LIBERO environment; otherwise their names begin with the suite."""

LIBERO_SUITE = "libero_object"

PUSH_PREFIX = "push_"
"""The environments' names go on with the object."""


@dataclass(frozen=True)
class ScriptedConfig:
    """Waypoints for `gym_aloha`, `libero_object` and push; needs no pictures and no training.

    Attributes:
        grasp_noise: standard deviation, in metres, of the grasp point's error along the object's x and y,
            drawn anew for every attempt and each arm; for push of the place where each robot takes hold.
        tremor: standard deviation, in radians, of the noise added to each commanded joint angle in every step; for
            LIBERO to each commanded turn of the hand, and times 0.5 m to each commanded shift; for push to each
            commanded velocity, as a part of the largest.
        hesitation: probability per step, 0 to 1, that the arms stop for 0.2 to 0.8 s and dither on the spot.
        skip_grasp_check: go on though the gripper may be empty, instead of trying the grasp again; for push, though
            the other robot may not be in its place.
        chunk_size: actions per answer; those after the first assume that the arms track and no grasp fails; for push 1.
    """

    grasp_noise: float = 0.0
    tremor: float = 0.0
    hesitation: float = 0.0
    skip_grasp_check: bool = False
    chunk_size: int = 1

    def __post_init__(self) -> None:
        for name in ("grasp_noise", "tremor"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be a finite number, 0 or more, not {value}")
        if not 0 <= self.hesitation <= 1:
            raise ConfigError(f"hesitation is a probability from 0 to 1, not {self.hesitation}")
        if self.chunk_size < 1:
            raise ConfigError(f"chunk_size must be 1 or more, not {self.chunk_size}")

    def make(self, spec: EnvironmentSpec) -> ScriptedPolicy | LiberoScriptedPolicy | PushPolicy:
        """Build the one for the environment's task.

        Raises:
            ConfigError: the environment is another one.
            MissingExtraError: for `gym_aloha`'s tasks, MuJoCo, mink or gym_aloha is not installed.
        """
        if spec.name == LIBERO or spec.name.startswith(f"{LIBERO_SUITE}_"):
            from taketwo.policies.scripted.libero.policy import LiberoScriptedPolicy

            return LiberoScriptedPolicy(self, spec.control_hz)
        if spec.name.startswith(PUSH_PREFIX):
            return self._make_for_push(spec)
        return self._make_for_aloha(spec)

    def _make_for_push(self, spec: EnvironmentSpec) -> PushPolicy:
        from taketwo.policies.push import PushPolicyConfig

        if self.chunk_size != 1:
            raise ConfigError(f"chunk_size must be 1 for push, not {self.chunk_size}")
        return PushPolicyConfig(self.grasp_noise, self.tremor, self.hesitation, self.skip_grasp_check).make(spec)

    def _make_for_aloha(self, spec: EnvironmentSpec) -> ScriptedPolicy:
        from taketwo.policies.scripted.kinematics import SIDES, Arm, Side
        from taketwo.policies.scripted.policy import ScriptedPolicy
        from taketwo.policies.scripted.waypoints import TASKS

        if spec.name not in TASKS:
            tasks = " and ".join(TASKS)
            raise ConfigError(
                f"the scripted policy does {LIBERO_SUITE}, push and aloha's {tasks}, not {spec.name}; "
                "choose another --policy.type"
            )
        arms: dict[Side, Arm] = {side: Arm(side) for side in SIDES}
        return ScriptedPolicy(self, TASKS[spec.name](), arms, spec.control_hz)
