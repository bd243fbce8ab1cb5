"""Options of several environments that step together."""

from __future__ import annotations

from dataclasses import dataclass

from taketwo.envs.base import EnvironmentConfig, MakesOne
from taketwo.errors import ConfigError

MAX_ENVS = 65_536


@dataclass(frozen=True)
class VectorConfig:
    """Several environments in one session.

    Attributes:
        num_envs: how many step together; --env.num_envs is the same.
        shown_env: the one that is filmed and shown live, counted from 0; its camera `grid` shows the first 16.
    """

    num_envs: int = 1
    shown_env: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.num_envs <= MAX_ENVS:
            raise ConfigError(f"num_envs must be from 1 to {MAX_ENVS}, not {self.num_envs}")
        if not 0 <= self.shown_env < self.num_envs:
            raise ConfigError(f"shown_env must be from 0 to {self.num_envs - 1}, not {self.shown_env}")

    def wanted_for(self, options: EnvironmentConfig) -> bool:
        """Whether the environments are to step together: there are several, or there is no way to have one alone."""
        return self.num_envs > 1 or not isinstance(options, MakesOne)
