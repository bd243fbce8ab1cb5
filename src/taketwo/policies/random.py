"""A policy that acts at random: the lower bound that any other has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from taketwo.errors import ConfigError
from taketwo.seeding import policy_generator
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation


@dataclass(frozen=True)
class RandomConfig:
    """Random actions, the same for the same episode seed.

    Attributes:
        scale: 0 draws evenly between an action's limits, and from the standard normal distribution where it has
            none; more draws around the present state, with this standard deviation in the action's own units.
        chunk_size: actions per answer.
    """

    scale: float = 0.0
    chunk_size: int = 1

    def __post_init__(self) -> None:
        if not (self.scale >= 0 and math.isfinite(self.scale)):
            raise ConfigError(f"scale must be a finite number, 0 or more, not {self.scale}")
        if self.chunk_size < 1:
            raise ConfigError(f"chunk_size must be 1 or more, not {self.chunk_size}")

    def make(self, spec: EnvironmentSpec) -> RandomPolicy:
        """Build it.

        Raises:
            ConfigError: `scale` is given, but the environment's actions are not what its state measures.
        """
        if self.scale and spec.state_names != spec.action_names:
            raise ConfigError(
                f"scale moves around the present state, which {spec.name} does not give in the layout of its actions: "
                "leave it at 0"
            )
        return RandomPolicy(self, spec)


class RandomPolicy:
    """Draws every action anew."""

    cameras: tuple[str, ...] = ()

    def __init__(self, config: RandomConfig, spec: EnvironmentSpec) -> None:
        self._config = config
        self._low, self._high = spec.action_low, spec.action_high
        self._bounded = np.isfinite(self._low) & np.isfinite(self._high)
        self._generator = policy_generator(0)

    def reset(self, episode: EpisodeInfo) -> None:
        """Begin the episode's own sequence."""
        self._generator = policy_generator(episode.seed)

    def infer(self, observation: Observation) -> ActionChunk:
        """Random actions, (H, D), within the limits."""
        shape = (self._config.chunk_size, self._low.size)
        normal = self._generator.standard_normal(shape)
        if self._config.scale:
            drawn = observation.state + self._config.scale * normal
        else:
            drawn = np.where(self._bounded, self._evenly(shape), normal)
        return ActionChunk(np.clip(drawn, self._low, self._high))

    def close(self) -> None:
        """Nothing is open."""

    def _evenly(self, shape: tuple[int, int]) -> FloatArray:
        low, high = np.where(self._bounded, self._low, 0.0), np.where(self._bounded, self._high, 1.0)
        return low + (high - low) * self._generator.random(shape)
