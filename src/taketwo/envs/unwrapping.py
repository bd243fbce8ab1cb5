"""Finds what an environment has under any depth of wrappers. Nothing is patched, and no private name is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

LINKS = ("env", "venv", "unwrapped")
"""Public attributes by which wrappers tell what they are around: Gymnasium's, Stable-Baselines3's, most others'."""

_ABSENT = object()


def layers(env: Any) -> Iterator[Any]:
    """The environment as it was given, then what it is around, and so on inwards; each one once.

    A link that leads back, or to something that cannot be stepped, is not followed.
    """
    seen: set[int] = set()
    waiting = [env]
    while waiting:
        layer = waiting.pop(0)
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        inner = (getattr(layer, link, None) for link in LINKS)
        waiting.extend(found for found in inner if hasattr(found, "step"))


def find(env: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path, such as `cfg.sim.dt`, of the outermost layer that has it; else `default`.

    Raises:
        ValueError: a name of the path is private.
    """
    return next(_values(env, path), default)


def find_method(env: Any, path: str) -> Callable[..., Any] | None:
    """The same, of the outermost layer that has something there that can be called.

    Raises:
        ValueError: a name of the path is private.
    """
    return next((value for value in _values(env, path) if callable(value)), None)


def _values(env: Any, path: str) -> Iterator[Any]:
    names = path.split(".")
    if any(name.startswith("_") for name in names):
        raise ValueError(f"{path!r} is private to the environment")
    for layer in layers(env):
        value = layer
        for name in names:
            value = getattr(value, name, _ABSENT)
        if value is not _ABSENT:
            yield value
