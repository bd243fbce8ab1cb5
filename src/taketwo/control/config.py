"""The options between policy and environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from taketwo.control.asynchronous import Asynchronous, check_blend_steps, check_prefetch
from taketwo.control.base import ActionFilter, Executor
from taketwo.control.checking import CheckedPolicy
from taketwo.control.chunking import OpenLoop, TemporalEnsemble, check_ensemble_m, check_horizon
from taketwo.control.controller import Controller
from taketwo.control.guard import HANDOVERS, HandoverGuard
from taketwo.control.hold import MinimumHold, check_min_hold_steps, check_min_hold_threshold
from taketwo.control.smoothing import (
    Deadband,
    ExponentialMovingAverage,
    RateLimit,
    check_deadband,
    check_ema_alpha,
    check_max_step_delta,
)
from taketwo.errors import ConfigError, one_of
from taketwo.policies.base import Policy
from taketwo.types import EnvironmentSpec, FloatArray

ExecutorName = Literal["open_loop", "temporal_ensemble", "asynchronous"]
PresetName = Literal["none", "aloha"]


@dataclass(frozen=True)
class FilterPreset:
    """Values that go together, for what is left to the preset.

    Attributes:
        guard: guard the hand-over in environments that have one.
    """

    ema_alpha: float | Mapping[str, float] = 1.0
    max_step_delta: float | Mapping[str, float] = math.inf
    deadband: float | Mapping[str, float] = 0.0
    min_hold_steps: int = 0
    guard: bool = False


FILTER_PRESETS: Mapping[PresetName, FilterPreset] = {
    "none": FilterPreset(),
    # For 14 absolute joint positions at 50 Hz: 0.06 rad a step is 3 rad/s, just below what the arms' servos
    # reach unloaded, so it takes off jumps and no motion that the arms could follow. Grippers choose rather
    # than move: they are held, not smoothed.
    "aloha": FilterPreset(
        ema_alpha={"*": 0.6, "*gripper": 1.0},
        max_step_delta={"*": 0.06, "*gripper": math.inf},
        deadband=1e-3,
        min_hold_steps=5,
        guard=True,
    ),
}

EXECUTOR_OPTIONS: Mapping[str, tuple[ExecutorName, ...]] = {
    "action_horizon": ("open_loop", "asynchronous"),
    "ensemble_m": ("temporal_ensemble",),
    "prefetch": ("asynchronous",),
    "blend_steps": ("asynchronous",),
}
"""Which executors an option is for; with another one it would do nothing, so it is refused there."""


@dataclass(frozen=True)
class ControlConfig:
    """How chunks become actions, and how actions are made smooth and safe.

    A filter's value is one number for all dimensions, or a mapping from patterns of action names to
    numbers, such as {"*": 0.6, "*gripper": 1.0}: of several patterns that fit, the last one counts, and
    dimensions that none fits are left as they are. Left out, the preset's value holds.

    Attributes:
        preset: values for what is left out here; aloha smooths its arms and guards the hand-over of the cube.
        executor: execute chunks open_loop, average them in a temporal_ensemble, or ask asynchronously.
        action_horizon: actions of each chunk to execute; 1 asks at every step; the whole chunk where not given.
        ensemble_m: temporal_ensemble: weights are exp(-m * i), i = 0 the oldest; 0 weighs all alike.
        prefetch: asynchronous: ask for the next chunk when this many actions are left; as many as the delays of late
            need where not given.
        blend_steps: asynchronous: actions over which to change from one chunk to the next.
        ema_alpha: moving average: part of the new action, above 0 to 1; 1 is off.
        max_step_delta: largest change in one step, in the action's own unit; inf is off.
        deadband: changes below this are left out, in the action's own unit; 0 is off.
        min_hold_steps: steps to hold min_hold_dims after a large change; 0 is off.
        min_hold_dims: patterns of the action names to hold.
        min_hold_threshold: changes above this are large, in the action's own unit.
        guard: hold the receiving arm until the other has grasped and lifted the object.
        clip: keep actions within the environment's limits; otherwise they are sent as they are.
    """

    preset: PresetName = "none"
    executor: ExecutorName = "open_loop"
    action_horizon: int | None = None
    ensemble_m: float = 0.01
    prefetch: int | None = None
    blend_steps: int = 5
    ema_alpha: float | dict[str, float] | None = None
    max_step_delta: float | dict[str, float] | None = None
    deadband: float | dict[str, float] | None = None
    min_hold_steps: int | None = None
    min_hold_dims: tuple[str, ...] = ("*gripper*",)
    min_hold_threshold: float = 0.2
    guard: bool | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        for name, known in (("preset", get_args(PresetName)), ("executor", get_args(ExecutorName))):
            if getattr(self, name) not in known:
                raise ConfigError(one_of(name, getattr(self, name), known))
        self._check_executor_options()
        self._check_filter_options()

    def make(self, policy: Policy, spec: EnvironmentSpec) -> Controller:
        """Build it around a policy, which it then owns: closing the controller closes the policy.

        Raises:
            ConfigError: an option does not fit this environment or policy.
        """
        preset = FILTER_PRESETS[self.preset]
        guarded = self.guard
        if guarded is None:
            guarded = preset.guard and spec.name in HANDOVERS
        filters = self._make_filters(preset, spec)
        guard = HandoverGuard(spec) if guarded else None
        return Controller(self._make_executor(CheckedPolicy(policy, spec)), spec, filters, guard, clip=self.clip)

    def _make_executor(self, policy: Policy) -> Executor:
        if self.executor == "temporal_ensemble":
            return TemporalEnsemble(policy, self.ensemble_m)
        if self.executor == "asynchronous":
            return Asynchronous(policy, self.action_horizon, self.prefetch, self.blend_steps)
        return OpenLoop(policy, self.action_horizon)

    def _make_filters(self, preset: FilterPreset, spec: EnvironmentSpec) -> list[ActionFilter]:
        """The filters that change anything, in order.

        The hold comes first, since it must see a choice as the policy made it, not smeared by an average.
        The deadband works on what the policy asks, before the average: after it, it would swallow the small
        last steps of the average's approach and never arrive. The rate limit is last, so that it
        bounds what is sent whatever stands before it.
        """
        names = spec.action_names
        hold_steps = self._hold_steps(preset, names)
        deadband = self._vector("deadband", preset, names, off=0.0)
        alpha = self._vector("ema_alpha", preset, names, off=1.0)
        max_step_delta = self._vector("max_step_delta", preset, names, off=math.inf)
        filters: list[ActionFilter] = []
        if hold_steps.any():
            filters.append(MinimumHold(hold_steps, self.min_hold_threshold))
        if deadband.any():
            filters.append(Deadband(deadband))
        if (alpha < 1).any():
            filters.append(ExponentialMovingAverage(alpha))
        if np.isfinite(max_step_delta).any():
            filters.append(RateLimit(max_step_delta))
        return filters

    def _hold_steps(self, preset: FilterPreset, names: tuple[str, ...]) -> NDArray[np.int64]:
        steps = preset.min_hold_steps if self.min_hold_steps is None else self.min_hold_steps
        if not steps:
            return np.zeros(len(names), dtype=np.int64)
        held = per_dimension("min_hold_dims", dict.fromkeys(self.min_hold_dims, 1.0), names, off=0.0)
        return steps * held.astype(np.int64)

    def _vector(self, name: str, preset: FilterPreset, names: tuple[str, ...], off: float) -> FloatArray:
        value = getattr(self, name)
        return per_dimension(name, getattr(preset, name) if value is None else value, names, off)

    def _check_executor_options(self) -> None:
        defaults = {option.name: option.default for option in fields(self)}
        for name, executors in EXECUTOR_OPTIONS.items():
            if self.executor not in executors and getattr(self, name) != defaults[name]:
                raise ConfigError(f"{name} is for executor {' or '.join(executors)}, and this one is {self.executor}")
        check_horizon(self.action_horizon)
        check_ensemble_m(self.ensemble_m)
        check_blend_steps(self.blend_steps)
        if self.executor == "asynchronous":
            check_prefetch(self.prefetch, self.action_horizon)

    def _check_filter_options(self) -> None:
        for numbers, check in (
            (self.ema_alpha, check_ema_alpha),
            (self.max_step_delta, check_max_step_delta),
            (self.deadband, check_deadband),
        ):
            for number in numbers.values() if isinstance(numbers, dict) else [numbers]:
                if number is not None:
                    check(number)
        check_min_hold_steps(self.min_hold_steps or 0)
        check_min_hold_threshold(self.min_hold_threshold)


def per_dimension(option: str, value: float | Mapping[str, float], names: tuple[str, ...], off: float) -> FloatArray:
    """One number per action name, (D,): the last pattern's that fits, and `off` where none does.

    Raises:
        ConfigError: a pattern fits no name.
    """
    numbers = np.full(len(names), off)
    for pattern, number in (value if isinstance(value, Mapping) else {"*": value}).items():
        fits = [fnmatchcase(name, pattern) for name in names]
        if not any(fits):
            raise ConfigError(one_of(f"action name in {option}", pattern, names))
        numbers[fits] = number
    return numbers
