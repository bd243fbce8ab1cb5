"""`check_env`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taketwo.envs.base import Environment, GoesHome, Renders, Snapshots
from taketwo.errors import RenderingError
from taketwo.testing.contract import check_observation, require, require_raises, same
from taketwo.types import EnvironmentSpec, FloatArray, Observation, StepResult

STEPS = 5
LONGEST_EPISODE = 1000
SEED = 1234


def check_env(make: Callable[[], Environment]) -> None:
    """Whether the environment that `make` builds keeps the contract of `taketwo.envs.base.Environment`.

    Takes a few steps in each of a few episodes, goes through one to its end, and renders a few pictures.

    Raises:
        ContractError: with what was broken.
    """
    environment = make()
    try:
        _check_spec(environment.spec)
        _check_episode(environment)
        _check_to_the_end(environment)
        _check_reproducible(environment)
        _check_pictures_of_their_instant(environment)
        if isinstance(environment, Renders):
            _check_renders(environment, environment.spec)
        if isinstance(environment, Snapshots):
            _check_snapshots(environment)
        if isinstance(environment, GoesHome):
            home = environment.home_action()
            require(home.shape == (environment.spec.action_dim,), f"home_action has shape {home.shape}")
    finally:
        environment.close()
    environment.close()


def _actions(spec: EnvironmentSpec) -> list[FloatArray]:
    """Small actions inside the limits, the same each time."""
    generator = np.random.default_rng(SEED)
    return [
        np.clip(generator.normal(0.0, 0.1, spec.action_dim), spec.action_low, spec.action_high) for _ in range(STEPS)
    ]


def _check_spec(spec: EnvironmentSpec) -> None:
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


def _check_result(result: StepResult, spec: EnvironmentSpec) -> None:
    require(isinstance(result, StepResult), f"step gives {type(result).__name__}, not a StepResult")
    check_observation(result.observation, spec, "after a step")
    require(isinstance(result.reward, float) and np.isfinite(result.reward), f"reward is {result.reward!r}")
    for name in ("terminated", "truncated"):
        require(isinstance(getattr(result, name), bool), f"{name} is {getattr(result, name)!r}, not a bool")
    require(result.success is None or isinstance(result.success, bool), f"success is {result.success!r}")


def _check_episode(environment: Environment) -> None:
    spec = environment.spec
    observation = environment.reset(SEED)
    check_observation(observation, spec, "after reset")
    require(observation.time_s == 0.0, f"time_s is {observation.time_s} after reset, not 0")
    for index, action in enumerate(_actions(spec), start=1):
        kept, state = action.copy(), observation.state.copy()
        result = environment.step(action)
        require(np.array_equal(action, kept), "step changes the action it is given")
        require(np.array_equal(observation.state, state), "step changes the observation before it")
        _check_result(result, spec)
        observation = result.observation
        expected = index / spec.control_hz
        require(abs(observation.time_s - expected) < 1e-6, f"time_s is {observation.time_s} after {expected} s")
        if result.terminated or result.truncated:
            return
    require_raises(
        lambda: environment.step(np.zeros(spec.action_dim + 1)), "step takes an action that is one value too long"
    )


def _check_to_the_end(environment: Environment) -> None:
    """Time goes on to the end: an environment that resets itself begins anew there."""
    spec = environment.spec
    environment.reset(SEED)
    action = _actions(spec)[0]
    for index in range(1, min(spec.max_episode_steps or LONGEST_EPISODE, LONGEST_EPISODE) + 1):
        result = environment.step(action)
        told, expected = result.observation.time_s, index / spec.control_hz
        require(
            abs(told - expected) < 1e-6,
            f"time_s is {told} after {expected} s: the environment has reset itself; the last observation of an "
            "episode must be the terminal one",
        )
        if result.terminated or result.truncated:
            return


def _rollout(environment: Environment) -> list[tuple[Observation, float]]:
    trace = [(_rendered(environment.reset(SEED)), 0.0)]
    for action in _actions(environment.spec):
        result = environment.step(action)
        trace.append((_rendered(result.observation), result.reward))
        if result.terminated or result.truncated:
            break
    return trace


def _rendered(observation: Observation) -> Observation:
    for image in observation.images.values():
        _ = image.pixels
    return observation


def _check_reproducible(environment: Environment) -> None:
    first, second = _rollout(environment), _rollout(environment)
    require(same(first[0][0], second[0][0]), "the same seed gives another first observation")
    pairs = zip(first, second, strict=False)
    require(
        len(first) == len(second) and all(same(a, b) and x == y for (a, x), (b, y) in pairs),
        "the same seed and actions give another episode",
    )


def _check_pictures_of_their_instant(environment: Environment) -> None:
    for looked_at in (True, False):
        observation = environment.reset(SEED)
        before = {name: image.pixels.copy() for name, image in observation.images.items()} if looked_at else {}
        lazy = {name for name, image in observation.images.items() if not image.rendered}
        _rendered(environment.step(_actions(environment.spec)[0]).observation)
        for name, image in observation.images.items():
            try:
                pixels = image.pixels
            except RenderingError:
                require(name in lazy, f"camera {name}: pixels that were there are gone after a step")
            else:
                require(name not in lazy, f"camera {name}: a late look gives a picture of another instant")
                kept = before.get(name, pixels)
                require(np.array_equal(pixels, kept), f"camera {name}: pixels change under the one who holds them")


def _check_renders(environment: Renders, spec: EnvironmentSpec) -> None:
    names = environment.camera_names()
    require(set(spec.cameras) <= set(names), f"camera_names {names} lacks some of {sorted(spec.cameras)}")
    for name in names:
        pixels = environment.render(name, 48, 64)
        require(pixels.shape == (48, 64, 3), f"render({name!r}, 48, 64) gives shape {pixels.shape}")
        require(pixels.dtype == np.uint8, f"render({name!r}) gives {pixels.dtype}")
    require_raises(lambda: environment.render("no such camera", 48, 64), "render takes a camera that there is not")


def _check_snapshots(environment: Environment) -> None:
    assert isinstance(environment, Snapshots)
    actions = _actions(environment.spec)
    environment.reset(SEED)
    environment.step(actions[0])
    snapshot = environment.snapshot()
    first = [_rendered(environment.step(action).observation) for action in actions]
    environment.restore(snapshot)
    second = [_rendered(environment.step(action).observation) for action in actions]
    require(all(map(same, first, second)), "a restored snapshot goes on differently")
