"""`check_policy`."""

from __future__ import annotations

import dataclasses

import numpy as np

from taketwo.envs.base import Environment
from taketwo.policies.base import Policy
from taketwo.testing.contract import require
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Image, Observation, Pixels

STEPS = 5


def check_policy(policy: Policy, environment: Environment, *, deterministic: bool = True) -> None:
    """Whether a policy keeps the contract of `taketwo.policies.base.Policy` in an environment of its own.

    Args:
        deterministic: also require that the same seed gives the same actions.

    Raises:
        ContractError: with what was broken.
    """
    spec = environment.spec
    try:
        unknown = set(policy.cameras) - set(spec.cameras)
        require(not unknown, f"cameras names {sorted(unknown)}, which the environment does not have")
        first = _rollout(policy, environment, seed=7)
        _rollout(policy, environment, seed=8)
        again = _rollout(policy, environment, seed=7)
        if deterministic:
            require(
                len(first) == len(again) and all(map(np.array_equal, first, again)),
                "the same seed gives other actions, or reset does not forget the last episode",
            )
    finally:
        policy.close()
    policy.close()


def _rollout(policy: Policy, environment: Environment, seed: int) -> list[FloatArray]:
    policy.reset(EpisodeInfo(index=0, seed=seed))
    observation = environment.reset(seed)
    chunks = []
    for _ in range(STEPS):
        watched, looked_at = _watched(observation)
        state = observation.state.copy()
        chunk = policy.infer(watched)
        _check_chunk(chunk, environment.spec)
        undeclared = looked_at - set(policy.cameras)
        require(not undeclared, f"looks at {sorted(undeclared)}, which its `cameras` does not name")
        require(np.array_equal(observation.state, state), "infer changes the observation")
        chunks.append(chunk.actions.copy())
        result = environment.step(chunk.actions[0])
        if result.terminated or result.truncated:
            break
        observation = result.observation
    return chunks


def _watched(observation: Observation) -> tuple[Observation, set[str]]:
    """The same observation, and the names of the pictures looked at as they are."""
    looked_at: set[str] = set()

    def watch(name: str, image: Image) -> Image:
        def render() -> Pixels:
            looked_at.add(name)
            return image.pixels

        return Image(render, camera=name, height=image.height, width=image.width)

    images = {name: watch(name, image) for name, image in observation.images.items()}
    return dataclasses.replace(observation, images=images), looked_at


def _check_chunk(chunk: ActionChunk, spec: EnvironmentSpec) -> None:
    actions = chunk.actions
    require(isinstance(actions, np.ndarray) and actions.dtype == np.float64, "actions are not float64")
    require(
        actions.ndim == 2 and actions.shape[0] >= 1 and actions.shape[1] == spec.action_dim,
        f"actions have shape {actions.shape}, not (H, {spec.action_dim})",
    )
    require(np.isfinite(actions).all(), "actions have NaN or infinite values")
