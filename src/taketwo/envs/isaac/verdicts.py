"""What the extras of N environments tell beside rewards: success and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.gym_spaces import SUCCESS_KEYS
from taketwo.envs.tensors import to_numpy
from taketwo.envs.unwrapping import find
from taketwo.errors import EnvironmentFault


class Verdicts:
    """Reads success and metrics."""

    def __init__(self, env: Any, num_envs: int, success_key: str | None) -> None:
        """Take the environment, whose termination terms tell success where extras do not."""
        self._env = env
        self._count = num_envs
        self._key = success_key

    def success(self, extras: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """(N,), or None where nothing tells it.

        Raises:
            EnvironmentFault: what was named as its place is not there, or has no N values.
        """
        for key in SUCCESS_KEYS if self._key is None else (self._key,):
            value = self._at(extras, key)
            if value is None:
                continue
            told = to_numpy(value)
            if told.size == self._count:
                return np.asarray(told.reshape(-1) != 0)
            if self._key is not None:
                raise EnvironmentFault(f"success_key {key!r} has shape {told.shape}, not {(self._count,)}")
        if self._key is not None:
            known = ", ".join([*_keys(extras), *self._terms()]) or "none"
            raise EnvironmentFault(f"success_key {self._key!r} is not in extras of every step; there are {known}")
        return None

    def metrics(self, extras: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Name to (N,), of the mapping `metrics` of extras; none where there is none."""
        told = extras.get("metrics", {})
        if not isinstance(told, Mapping):
            return {}
        values = {str(name): to_numpy(value) for name, value in told.items()}
        return {name: value for name, value in values.items() if value.shape == (self._count,)}

    def _at(self, extras: Mapping[str, Any], key: str) -> Any:
        if key in extras:
            return extras[key]
        value: Any = extras
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return self._termination(key) if value is None else value

    def _termination(self, term: str) -> Any:
        """(N,) whether a termination term of Isaac Lab has ended an episode in this step."""
        return find(self._env, "termination_manager").get_term(term) if term in self._terms() else None

    def _terms(self) -> list[str]:
        manager = find(self._env, "termination_manager")
        return [] if manager is None else list(manager.active_terms)


def _keys(extras: Mapping[str, Any]) -> list[str]:
    """Those of mappings inside are dotted."""
    keys = []
    for key, value in extras.items():
        keys += [f"{key}.{inner}" for inner in _keys(value)] if isinstance(value, Mapping) else [str(key)]
    return keys
