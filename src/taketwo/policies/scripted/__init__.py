"""A bimanual policy without learning, for both tasks of `gym_aloha`: its options. `policy` has the policy itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taketwo.errors import ConfigError
from taketwo.types import EnvironmentSpec

if TYPE_CHECKING:
    from taketwo.policies.scripted.policy import ScriptedPolicy


@dataclass(frozen=True)
class ScriptedConfig:
    """Waypoints and inverse kinematics for `gym_aloha`'s tasks; needs no pictures and no training.

    Attributes:
        grasp_noise: standard deviation, in metres, of the grasp point's error along the object's x and y,
            drawn anew for every attempt and each arm.
        tremor: standard deviation, in radians, of the noise added to each commanded joint angle in every step.
        hesitation: probability per step, 0 to 1, that the arms stop for 0.2 to 0.8 s and dither on the spot.
        skip_grasp_check: go on to the hand-over though the gripper may be empty, instead of trying the grasp again.
        chunk_size: actions per answer; those after the first assume that the arms track and no grasp fails.
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

    def make(self, spec: EnvironmentSpec) -> ScriptedPolicy:
        """Build it for one of `gym_aloha`'s tasks.

        Raises:
            ConfigError: the environment is another one.
            MissingExtraError: MuJoCo, mink or gym_aloha is not installed.
        """
        from taketwo.policies.scripted.kinematics import SIDES, Arm, Side
        from taketwo.policies.scripted.policy import ScriptedPolicy
        from taketwo.policies.scripted.waypoints import TASKS

        if spec.name not in TASKS:
            tasks = " and ".join(TASKS)
            raise ConfigError(
                f"the scripted policy does aloha's {tasks}, not {spec.name}; choose another --policy.type"
            )
        arms: dict[Side, Arm] = {side: Arm(side) for side in SIDES}
        return ScriptedPolicy(self, TASKS[spec.name](), arms, spec.control_hz)
