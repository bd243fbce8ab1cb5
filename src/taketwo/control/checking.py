"""Every chunk is checked once, when it comes from the policy; what follows may rely on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taketwo.errors import ConfigError, PolicyError, one_of
from taketwo.policies.base import Policy
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation


class CheckedPolicy:
    """A policy whose chunks are sure to be (H, D) finite float64, H >= 1, in memory of their own."""

    def __init__(self, policy: Policy, spec: EnvironmentSpec) -> None:
        """Wrap a policy.

        Raises:
            ConfigError: it looks at a camera that the environment does not have.
        """
        for camera in policy.cameras:
            if camera not in spec.cameras:
                raise ConfigError(
                    f"the policy looks at a camera that is missing: {one_of('camera', camera, spec.cameras)}"
                )
        self._policy = policy
        self._spec = spec

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pixels the policy looks at."""
        return self._policy.cameras

    def reset(self, episode: EpisodeInfo) -> None:
        """Reset the policy."""
        self._policy.reset(episode)

    def infer(self, observation: Observation) -> ActionChunk:
        """Ask the policy and check its answer.

        Raises:
            PolicyError: the answer is no chunk of actions for this environment.
        """
        chunk = self._policy.infer(observation)
        return replace(chunk, actions=checked_actions(chunk, self._spec))

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()


def checked_actions(chunk: ActionChunk, spec: EnvironmentSpec) -> FloatArray:
    """A chunk's actions as a new (H, D) float64 array.

    Raises:
        PolicyError: they are not numbers, have another shape, are none, or are not finite.
    """
    try:
        actions = np.array(chunk.actions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"action chunk is no array of numbers: {error}") from error
    shape = f"({', '.join(map(str, actions.shape))}{',' if actions.ndim == 1 else ''})"
    takes = f"the environment {spec.name!r} takes {spec.action_dim} values: {', '.join(spec.action_names)}"
    if actions.ndim != 2:
        raise PolicyError(f"action chunk is {shape} and must be (horizon, {spec.action_dim}); {takes}")
    if actions.shape[1] != spec.action_dim:
        raise PolicyError(f"action chunk is {shape}; {takes}")
    if not len(actions):
        raise PolicyError(f"action chunk is {shape}; it must hold at least one action")
    broken = np.flatnonzero(~np.isfinite(actions).all(axis=0))
    if len(broken):
        names = [spec.action_names[i] for i in broken]
        raise PolicyError(f"action chunk has NaN or infinite values in {', '.join(names)}; they must be finite numbers")
    return actions
