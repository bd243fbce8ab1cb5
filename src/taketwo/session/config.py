"""The options of a session."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from taketwo.errors import ConfigError


@dataclass(frozen=True)
class SessionConfig:
    """How long a session is, how fast, and what counts as success.

    Attributes:
        seed: session seed; gives every episode its own.
        seed_offset: how many episode seeds to leave out at the beginning; with resume as many as the dataset has had.
        num_episodes: end after this many episodes; of each environment, where several step together.
        total_seconds: end when the session has shown this many seconds at its control rate.
        max_total_steps: end after this many actions; of several environments, after the step that reaches it.
        max_episode_steps: actions per episode; the environment's own limit where not given.
        max_hz: actions per second in real time; 0 runs as fast as it goes.
        success: `ever` if the task stood solved at any step, `last` if it did at the last step.
        max_faults: faults allowed before the session ends.
        metrics: figures to keep of each episode, by their names in what the environment tells of a step (`info`) at its
            end; those that it calls metrics are kept anyway.
        step_timeout_s: end the session when the environment takes longer than this for a reset, a step or a picture; it
            waits without end where not given.
    """

    seed: int = 0
    seed_offset: int = 0
    num_episodes: int | None = None
    total_seconds: float | None = None
    max_total_steps: int | None = None
    max_episode_steps: int | None = None
    max_hz: float = 0.0
    success: Literal["ever", "last"] = "ever"
    max_faults: int = 0
    metrics: tuple[str, ...] = ()
    step_timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("num_episodes", "total_seconds", "max_total_steps", "max_episode_steps", "step_timeout_s"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be a finite number above 0, not {value}")
        for name in ("seed", "seed_offset", "max_hz", "max_faults"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be a finite number, 0 or more, not {value}")
        if self.num_episodes is self.total_seconds is self.max_total_steps is None:
            raise ConfigError(
                "nothing ends the session: give session.num_episodes, session.total_seconds or session.max_total_steps"
            )
