"""Checks that the options of several environments have in common. A message begins with the option's name."""

from __future__ import annotations

from taketwo.errors import ConfigError

LEAST_PIXELS, MOST_PIXELS = 16, 4096


def check_positive(**options: float | None) -> None:
    """Raise ConfigError unless each is more than 0, or None."""
    for name, value in options.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{name} must be more than 0, not {value}")


def check_picture_size(width: int | None, height: int | None) -> None:
    """Raise ConfigError unless both are sizes of pictures, or None."""
    for name, value in (("width", width), ("height", height)):
        if value is not None and not LEAST_PIXELS <= value <= MOST_PIXELS:
            raise ConfigError(f"{name} must be from {LEAST_PIXELS} to {MOST_PIXELS} pixels, not {value}")


def check_num_envs(num_envs: int) -> None:
    """Raise ConfigError unless there is at least one; for who makes them without a `VectorConfig`."""
    if num_envs < 1:
        raise ConfigError(f"num_envs must be 1 or more, not {num_envs}")
