"""What the checks of single environments and of those that step together share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from taketwo.errors import RenderingError
from taketwo.testing.contract import check_observation, require
from taketwo.types import EnvironmentSpec, FloatArray, Observation, StepResult

STEPS = 5
LONGEST_EPISODE = 1000
SEED = 1234

K = TypeVar("K")


def small_actions(spec: EnvironmentSpec, env: int = 0) -> list[FloatArray]:
    """Small actions inside the limits, the same each time, others for each number."""
    generator = np.random.default_rng(SEED + env)
    return [
        np.clip(generator.normal(0.0, 0.1, spec.action_dim), spec.action_low, spec.action_high) for _ in range(STEPS)
    ]


def longest_episode(spec: EnvironmentSpec) -> int:
    """For how many steps to wait for an end."""
    return min(spec.max_episode_steps or LONGEST_EPISODE, LONGEST_EPISODE)


def rendered(observation: Observation) -> Observation:
    """The observation, with all its pictures made."""
    for image in observation.images.values():
        _ = image.pixels
    return observation


def check_spec(spec: EnvironmentSpec) -> None:
    """Names, units and limits fit together."""
    dim = len(spec.action_names)
    require(spec.name, "spec.name is empty")
    require(dim > 0, "spec.action_names is empty")
    require(len(set(spec.action_names)) == dim, "spec.action_names has one twice")
    require(len(spec.action_units) == dim, f"spec has {dim} action names and {len(spec.action_units)} units")
    for limit in (spec.action_low, spec.action_high):
        require(limit.shape == (dim,), f"an action limit has shape {limit.shape}, not {(dim,)}")
    require((spec.action_low <= spec.action_high).all(), "spec.action_low is above spec.action_high")
    require(spec.control_hz > 0, f"spec.control_hz is {spec.control_hz}")
    steps = spec.max_episode_steps
    require(steps is None or steps > 0, f"spec.max_episode_steps is {steps}")


def check_result(result: StepResult, spec: EnvironmentSpec) -> None:
    """What a step gives has the types that it promises."""
    require(isinstance(result, StepResult), f"step gives {type(result).__name__}, not a StepResult")
    check_observation(result.observation, spec, "after a step")
    check_verdict(result)


def check_verdict(result: StepResult) -> None:
    """The same without the observation, whose pictures take time."""
    require(isinstance(result.reward, float) and np.isfinite(result.reward), f"reward is {result.reward!r}")
    for name in ("terminated", "truncated"):
        require(isinstance(getattr(result, name), bool), f"{name} is {getattr(result, name)!r}, not a bool")
    require(result.success is None or isinstance(result.success, bool), f"success is {result.success!r}")


def check_pictures_of_their_instant(
    reset: Callable[[], Mapping[K, Observation]], step: Callable[[], Mapping[K, Observation]]
) -> None:
    """Pictures that were looked at stay as they are when time goes on; others cannot be had any more.

    Args:
        reset: begins, and gives what it shows.
        step: goes on by a step, and gives what it shows.
    """
    for looked_at in (True, False):
        images = {(key, name): image for key, shown in reset().items() for name, image in shown.images.items()}
        before = {key: image.pixels.copy() for key, image in images.items()} if looked_at else {}
        lazy = {key for key, image in images.items() if not image.rendered}
        for shown in step().values():
            rendered(shown)
        for key, image in images.items():
            name = key[1]
            try:
                pixels = image.pixels
            except RenderingError:
                require(key in lazy, f"camera {name}: pixels that were there are gone after a step")
            else:
                require(key not in lazy, f"camera {name}: a late look gives a picture of another instant")
                kept = before.get(key, pixels)
                require(np.array_equal(pixels, kept), f"camera {name}: pixels change under the one who holds them")
