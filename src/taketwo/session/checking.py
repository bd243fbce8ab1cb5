"""What an environment tells is looked at once, when it comes."""

from __future__ import annotations

import math

import numpy as np

from taketwo.errors import EnvironmentFault
from taketwo.types import EnvironmentSpec, Observation, StepResult


def checked(observation: Observation, spec: EnvironmentSpec) -> Observation:
    """The observation itself.

    Raises:
        EnvironmentFault: its state has NaN or infinity, which policies and recordings would take on.
    """
    finite = np.isfinite(observation.state)
    if not finite.all():
        names, broken = spec.state_names, np.flatnonzero(~finite)
        named = [names[index] if index < len(names) else str(index) for index in broken]
        what = "NaN" if np.isnan(observation.state[broken]).any() else "infinity"
        raise EnvironmentFault(f"the environment gave {what} for {', '.join(named)}")
    return observation


def checked_result(result: StepResult, spec: EnvironmentSpec) -> StepResult:
    """The result itself.

    Raises:
        EnvironmentFault: its reward or its state has NaN or infinity.
    """
    if not math.isfinite(result.reward):
        what = "NaN" if math.isnan(result.reward) else "infinity"
        raise EnvironmentFault(f"the environment gave {what} as the reward")
    checked(result.observation, spec)
    return result
