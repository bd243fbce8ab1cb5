"""Short episodes of a policy, to be compared with others of the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taketwo.envs.base import Environment
from taketwo.policies.base import NeedsExtras, Policy
from taketwo.testing.contract import ContractError, require
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Image, Observation, Pixels

STEPS = 5


@dataclass(frozen=True)
class Rollout:
    """A few steps of an episode.

    Attributes:
        observations: what the policy was shown, with pictures that do not expire and the extras that it names.
        chunks: (H, D) what it answered to each.
    """

    episode: EpisodeInfo
    observations: Sequence[Observation]
    chunks: Sequence[FloatArray]


def roll_out(policy: Policy, environment: Environment, seed: int) -> Rollout:
    """Let a policy act, one action of each chunk.

    Raises:
        ContractError: it does what a policy must not do.
    """
    episode = EpisodeInfo(index=0, seed=seed)
    policy.reset(episode)
    observation = environment.reset(seed)
    observations, chunks = [], []
    for _ in range(STEPS):
        observations.append(_kept(observation, policy))
        actions = _watched_inference(policy, observation, environment.spec)
        chunks.append(actions)
        result = environment.step(actions[0].copy())
        if result.terminated or result.truncated:
            break
        observation = result.observation
    return Rollout(episode, observations, chunks)


def alike(first: Rollout, second: Rollout) -> bool:
    """Whether the policy answered the same, bit for bit."""
    return len(first.chunks) == len(second.chunks) and all(map(np.array_equal, first.chunks, second.chunks))


def check_chunk(chunk: ActionChunk, spec: EnvironmentSpec) -> None:
    """Raise ContractError unless a chunk is (H, D) finite float64 with one action at least."""
    actions = chunk.actions
    require(isinstance(actions, np.ndarray) and actions.dtype == np.float64, "actions are not float64")
    require(
        actions.ndim == 2 and actions.shape[0] >= 1 and actions.shape[1] == spec.action_dim,
        f"actions have shape {actions.shape}, not (H, {spec.action_dim})",
    )
    require(np.isfinite(actions).all(), "actions have NaN or infinite values")


def _watched_inference(policy: Policy, observation: Observation, spec: EnvironmentSpec) -> FloatArray:
    watched, looked_at = _watched(observation)
    state = observation.state.copy()
    chunk = _inferred(policy, watched)
    check_chunk(chunk, spec)
    undeclared = looked_at - set(policy.cameras)
    require(not undeclared, f"looks at {sorted(undeclared)}, which its `cameras` does not name")
    require(np.array_equal(observation.state, state), "infer changes the observation")
    return chunk.actions.copy()


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


def _kept(observation: Observation, policy: Policy) -> Observation:
    images = {name: Image.of(observation.images[name].pixels.copy(), name) for name in policy.cameras}
    extras = _named_extras(observation, policy)
    return dataclasses.replace(observation, state=observation.state.copy(), images=images, extras=extras)


def _named_extras(observation: Observation, policy: Policy) -> dict[str, object]:
    names = policy.extras if isinstance(policy, NeedsExtras) else ()
    return {name: observation.extras[name] for name in names if name in observation.extras}


def _inferred(policy: Policy, observation: Observation) -> ActionChunk:
    """What the policy answers when it gets the extras that it names, and no others."""
    extras = _named_extras(observation, policy)
    left_out = sorted(observation.extras.keys() - extras.keys())
    try:
        return policy.infer(dataclasses.replace(observation, extras=extras))
    except Exception as error:
        if not left_out:
            raise
        raise ContractError(
            f"infer fails where it does not get {', '.join(left_out)}, which its `extras` does not name: {error!r}"
        ) from error
