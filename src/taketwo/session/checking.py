"""What an environment tells is looked at once, when it comes."""

from __future__ import annotations

import math

import numpy as np

from taketwo.errors import EnvironmentFault
from taketwo.types import EnvironmentSpec, Observation, StepResult


def checked(observation: Observation, spec: EnvironmentSpec) -> Observation:
    """The observation itself.

    Raises:
        EnvironmentFault: its state has NaN, which policies and recordings would take on.
    """
    if np.isnan(observation.state).any():
        names = spec.state_names
        broken = np.flatnonzero(np.isnan(observation.state))
        named = [names[index] if index < len(names) else str(index) for index in broken]
        raise EnvironmentFault(f"the environment gave NaN for {', '.join(named)}")
    return observation


def checked_result(result: StepResult, spec: EnvironmentSpec) -> StepResult:
    """The result itself.

    Raises:
        EnvironmentFault: its reward or its state has NaN.
    """
    if math.isnan(result.reward):
        raise EnvironmentFault("the environment gave NaN as the reward")
    checked(result.observation, spec)
    return result
