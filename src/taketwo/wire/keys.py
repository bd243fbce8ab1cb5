"""The key that a policy server asks for."""

from __future__ import annotations

import os

from taketwo.errors import ConfigError

VARIABLE = "TAKETWO_API_KEY"


def check_api_key(key: str | None) -> None:
    """Raise ConfigError unless it can stand in a header, as `api_key`; it is not shown."""
    if key is not None and not _can_be_sent(key):
        raise ConfigError("api_key must be printable ASCII characters, at least one, and no space around them")


def api_key_of(given: str | None) -> str | None:
    """The key that was given, or the one in the environment variable, or None.

    Raises:
        ConfigError: the environment's cannot stand in a header.
    """
    key = given or os.environ.get(VARIABLE, "").strip() or None
    if key is not None and not _can_be_sent(key):
        raise ConfigError(f"the key in {VARIABLE} must be printable ASCII characters")
    return key


def _can_be_sent(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and key == key.strip()
