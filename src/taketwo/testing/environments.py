"""`check_env`."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from taketwo.envs.base import Environment, GoesHome, Renders, Snapshots, VectorEnvironment
from taketwo.envs.several import Several
from taketwo.errors import RenderingError
from taketwo.testing.contract import ContractError, check_observation, check_state, require, require_raises, same
from taketwo.testing.endings import Ending, check_endings, seen
from taketwo.testing.environment_contract import (
    SEED,
    STEPS,
    check_pictures_of_their_instant,
    check_result,
    check_spec,
    longest_episode,
    rendered,
    small_actions,
)
from taketwo.testing.vector_environments import check_vector
from taketwo.types import EnvironmentSpec, Observation


def check_env(make: Callable[[], Environment | VectorEnvironment], *, seeded: bool = True) -> None:
    """Whether the environment that `make` builds keeps the contract of `taketwo.envs.base.Environment`.

    Or that of `VectorEnvironment`, where it builds several that step together; then build two or more of them, so that
    it shows whether they leave each other alone.

    Takes a few steps in each of a few episodes, goes through one to its end, and renders a few pictures.

    Args:
        seeded: for those that step together, also require that other seeds give other episodes.

    Raises:
        ContractError: with what was broken.
    """
    environment = make()
    try:
        if hasattr(environment, "num_envs"):
            check_vector(cast(VectorEnvironment, environment), seeded=seeded)
        else:
            _check_single(environment)
    except RenderingError as error:
        raise ContractError(f"a picture of the present instant cannot be made: {error}") from error
    finally:
        environment.close()
    environment.close()


def _check_single(environment: Environment) -> None:
    check_spec(environment.spec)
    _check_episode(environment)
    ending = _check_to_the_end(environment)
    _check_reproducible(environment)
    if ending is not None:
        check_endings(Several([environment]), {0: ending})
    check_pictures_of_their_instant(
        lambda: {0: environment.reset(SEED)},
        lambda: {0: environment.step(small_actions(environment.spec)[0]).observation},
    )
    if isinstance(environment, Renders):
        _check_renders(environment, environment.spec)
    if isinstance(environment, Snapshots):
        _check_snapshots(environment)
    if isinstance(environment, GoesHome):
        home = environment.home_action()
        require(home.shape == (environment.spec.action_dim,), f"home_action has shape {home.shape}")


def _check_episode(environment: Environment) -> None:
    spec = environment.spec
    observation = environment.reset(SEED)
    check_observation(observation, spec, "after reset")
    require(observation.time_s == 0.0, f"time_s is {observation.time_s} after reset, not 0")
    for index, action in enumerate(small_actions(spec), start=1):
        kept, state = action.copy(), observation.state.copy()
        result = environment.step(action)
        require(np.array_equal(action, kept), "step changes the action it is given")
        require(np.array_equal(observation.state, state), "step changes the observation before it")
        check_result(result, spec)
        observation = result.observation
        expected = index / spec.control_hz
        require(abs(observation.time_s - expected) < 1e-6, f"time_s is {observation.time_s} after {expected} s")
        if result.terminated or result.truncated:
            return
    require_raises(
        lambda: environment.step(np.zeros(spec.action_dim + 1)), "step takes an action that is one value too long"
    )


def _check_to_the_end(environment: Environment) -> Ending | None:
    """Time goes on to the end, if it comes: an environment that resets itself begins anew there."""
    spec = environment.spec
    last = seen(environment.reset(SEED))
    actions = small_actions(spec)
    for index in range(1, longest_episode(spec) + 1):
        result = environment.step(actions[(index - 1) % STEPS])
        check_state(result.observation, spec, "after a step")
        told, expected = result.observation.time_s, index / spec.control_hz
        require(
            abs(told - expected) < 1e-6,
            f"time_s is {told} after {expected} s: the environment has reset itself; the last observation of an "
            "episode must be the terminal one",
        )
        before, last = last, seen(result.observation)
        if result.terminated or result.truncated:
            return Ending(index, before, last)
    return None


def _rollout(environment: Environment) -> list[tuple[Observation, float]]:
    trace = [(rendered(environment.reset(SEED)), 0.0)]
    for action in small_actions(environment.spec):
        result = environment.step(action)
        trace.append((rendered(result.observation), result.reward))
        if result.terminated or result.truncated:
            break
    return trace


def _check_reproducible(environment: Environment) -> None:
    first, second = _rollout(environment), _rollout(environment)
    require(same(first[0][0], second[0][0]), "the same seed gives another first observation")
    pairs = zip(first, second, strict=False)
    require(
        len(first) == len(second) and all(same(a, b) and x == y for (a, x), (b, y) in pairs),
        "the same seed and actions give another episode",
    )


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
    actions = small_actions(environment.spec)
    environment.reset(SEED)
    environment.step(actions[0])
    snapshot = environment.snapshot()
    first = [rendered(environment.step(action).observation) for action in actions]
    environment.restore(snapshot)
    second = [rendered(environment.step(action).observation) for action in actions]
    require(all(map(same, first, second)), "a restored snapshot goes on differently")
