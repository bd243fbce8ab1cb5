"""Batches of Gymnasium's vector environments, taken apart (https://gymnasium.farama.org/api/vector)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What `VectorEnv.step` returns: N of each, and `infos` of N each with masks that say of whom they are."""

    observations: Any
    rewards: Any
    terminated: Any
    truncated: Any
    infos: Mapping[str, Any]

    def ended(self) -> set[int]:
        """The environments whose episodes are over."""
        return {int(env) for env in np.flatnonzero(np.logical_or(self.terminated, self.truncated))}


def rows_of(env: Any, batch: Any) -> Sequence[Any]:
    """The observations of a batch of `env`'s, one by one."""
    from gymnasium.vector.utils import iterate

    return list(iterate(env.observation_space, batch))


def final_row(env: Any, infos: Mapping[str, Any], number: int) -> Any | None:
    """The last observation of an episode, where `env` tells it of the environment of this number."""
    given, told = infos.get("final_obs"), infos.get("_final_obs")
    if given is None or (told is not None and not told[number]):
        return None
    one_each = isinstance(given, list) or (isinstance(given, np.ndarray) and given.dtype.kind == "O")
    return given[number] if one_each else rows_of(env, given)[number]


def info_of(infos: Mapping[str, Any], number: int, num_envs: int) -> dict[str, Any]:
    """What batched information says of one environment; what has no mask, and not a row for each, is of all."""
    info: dict[str, Any] = {}
    for key, value in infos.items():
        told: Any = infos.get(f"_{key}")
        if (key.startswith("_") and key[1:] in infos) or (_has_rows(told, num_envs) and not told[number]):
            continue
        if isinstance(value, Mapping):
            info[key] = info_of(value, number, num_envs)
        elif _has_rows(value, num_envs):
            own = value[number]
            info[key] = own.copy() if isinstance(own, np.ndarray) else own
        else:
            info[key] = value
    return info


def _has_rows(value: Any, count: int) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0 and len(value) == count
    return isinstance(value, list | tuple) and len(value) == count
