"""A policy that stays where it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taketwo.errors import PolicyError
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation


@dataclass(frozen=True)
class NoopConfig:
    """Do nothing: hold the pose in which the episode begins, or send zeros where actions are no poses."""

    def make(self, spec: EnvironmentSpec) -> NoopPolicy:
        """Build it; actions are poses where the environment gives actions and state the same names."""
        if spec.state_names == spec.action_names:
            return NoopPolicy(None, spec)
        return NoopPolicy(np.clip(np.zeros(spec.action_dim), spec.action_low, spec.action_high), spec)


class NoopPolicy:
    """Always the same action, within an episode."""

    cameras: tuple[str, ...] = ()

    def __init__(self, action: FloatArray | None, spec: EnvironmentSpec) -> None:
        """With `action` None, each episode's first state, (D,), is the action."""
        self._fixed = action
        self._spec = spec
        self._action = action

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget the pose of the last episode."""
        self._action = self._fixed

    def infer(self, observation: Observation) -> ActionChunk:
        """One action, (1, D).

        Raises:
            PolicyError: the state is not as long as the specification says.
        """
        if self._action is None:
            # The first state and not each step's: an arm that sags a little would be told to stay there, and sink.
            if observation.state.shape != (self._spec.action_dim,):
                raise PolicyError(
                    f"noop needs a state of shape ({self._spec.action_dim},), got {observation.state.shape}"
                )
            self._action = np.clip(observation.state, self._spec.action_low, self._spec.action_high)
        return ActionChunk(self._action[np.newaxis].copy())

    def close(self) -> None:
        """Nothing is open."""
