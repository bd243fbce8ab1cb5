"""The simulator itself: seeded, reset and stepped, whatever dialect it speaks."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.batches import POLICY
from taketwo.envs.isaac.building import Factory, takes
from taketwo.envs.tensors import as_native, rows
from taketwo.envs.unwrapping import find_method, layers
from taketwo.errors import EnvironmentFault
from taketwo.types import FloatArray

CRITIC = "critic"
"""Isaac Lab's name for the group that only training sees; legged_gym's privileged observations get it too."""

UNDERSTOOD = (
    "(obs, privileged_obs, rewards, dones, extras) and (obs, rewards, dones, extras) of --env.api=legged_gym, and "
    "(obs, rewards, terminated, truncated, extras) of --env.api=isaac_lab"
)
"""What `step` may return, for messages."""


@dataclass(frozen=True, eq=False)
class Told:
    """What a step told of N environments.

    Attributes:
        groups: observations by group, tensors with N rows or mappings of them, after those that are done have begun
            anew.
        rewards: (N,), the mean where each robot has its own.
        terminated: (N,) bool.
        truncated: (N,) bool.
        extras: as it came.
    """

    groups: Mapping[str, Any]
    rewards: FloatArray
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    extras: Mapping[str, Any]


class Simulator:
    """N environments that step together.

    legged_gym's dialect is `reset() -> obs, privileged_obs` and `step(actions) -> obs, privileged_obs, rewards, dones,
    extras` (Rudin et al. 2022); Isaac Gym's own environments, and many wrappers, leave privileged_obs away. Isaac Lab's
    is Gymnasium's: `reset(seed) -> obs, info` and `step(actions) -> obs, rewards, terminated, truncated, extras`.
    """

    def __init__(self, factory: Factory, num_envs: int, api: str) -> None:
        """Build it.

        Raises:
            ConfigError: it cannot be built.
        """
        self.num_envs = num_envs
        self.env = factory.build(0)
        self._factory = factory
        self._api = api
        self._sample: Any = None

    def reset(self, seed: int | None = None) -> Mapping[str, Any]:
        """Begin an episode in all environments; their observations by group."""
        given = {} if seed is None else self._seeded(seed)
        told = self.env.reset(**given)
        several = isinstance(told, tuple) and len(told) == 2
        if self._api == "auto":
            self._api = "isaac_lab" if several and isinstance(told[1], Mapping) else "legged_gym"
        observations, beside = told if several else (told, None)
        groups = _groups(observations, None if self._api == "isaac_lab" else beside)
        self._sample = _first_tensor(groups)
        return groups

    def step(self, actions: NDArray[np.float32]) -> Told:
        """Hold (N, ...) actions for one control period; they go as the kind of tensor that observations are.

        Raises:
            EnvironmentFault: it answers in no dialect that is known.
        """
        told = self.env.step(as_native(actions, self._sample))
        count = len(told) if isinstance(told, tuple) else 0
        try:
            if count == 4:
                observations, rewards, dones, extras = told
                return self._of_legged_gym(observations, None, rewards, dones, extras)
            if count == 5:
                return self._of_isaac_lab(*told) if self._api == "isaac_lab" else self._of_legged_gym(*told)
        except (TypeError, ValueError) as error:
            raise EnvironmentFault(
                f"step returned what {self._api} does not: {error}; understood are {UNDERSTOOD}"
            ) from error
        said = f"{count} values" if count else type(told).__name__
        raise EnvironmentFault(f"step returned {said}; understood are {UNDERSTOOD}")

    def close(self) -> None:
        """Close it, where it can be."""
        close = find_method(self.env, "close")
        if close is not None:
            close()

    def _seeded(self, seed: int) -> dict[str, Any]:
        """Seed it by the way that it has; what its `reset` is to be given.

        The libraries' own generators are seeded in any case: legged_gym, and much that is built on it, draws from them.
        """
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(seed)
        if self._reset_takes_seed():
            return {"seed": seed}
        method = find_method(self.env, "seed")
        if method is not None:
            method(seed)
        elif self._factory.takes_seed and "isaacgym" not in sys.modules:  # which cannot make two in one process
            self.close()
            self.env = self._factory.build(seed)
        return {}

    def _reset_takes_seed(self) -> bool:
        return takes(self.env.reset, "seed") or (
            takes(self.env.reset, "kwargs") and any(takes(layer.reset, "seed") for layer in layers(self.env))
        )

    def _of_legged_gym(self, observations: Any, privileged: Any, rewards: Any, dones: Any, extras: Any) -> Told:
        done = self._flags(dones)
        time_outs = self._flags(extras["time_outs"]) if "time_outs" in extras else np.zeros(self.num_envs, bool)
        truncated = done & time_outs
        return Told(_groups(observations, privileged), self._means(rewards), done & ~truncated, truncated, extras)

    def _of_isaac_lab(self, observations: Any, rewards: Any, terminated: Any, truncated: Any, extras: Any) -> Told:
        ended = self._flags(terminated)
        return Told(_groups(observations), self._means(rewards), ended, self._flags(truncated) & ~ended, extras)

    def _flags(self, values: Any) -> NDArray[np.bool_]:
        flags = rows(values, self.num_envs)
        if not np.isin(flags, (0, 1)).all():
            raise ValueError(f"an end of episodes that is {flags.dtype} and neither 0 nor 1")
        return np.asarray((flags != 0).any(axis=1))

    def _means(self, values: Any) -> FloatArray:
        rewards = rows(values, self.num_envs)
        if rewards.dtype == np.bool_:
            raise ValueError("rewards that are bool")
        return np.asarray(rewards.astype(np.float64).mean(axis=1))


def _groups(observations: Any, privileged: Any = None) -> dict[str, Any]:
    if hasattr(observations, "keys"):  # a mapping, or a TensorDict
        groups = {str(key): observations[key] for key in observations.keys()}  # noqa: SIM118
    else:
        groups = {POLICY: observations}
    return groups if privileged is None else groups | {CRITIC: privileged}


def _first_tensor(groups: Mapping[str, Any]) -> Any:
    for value in groups.values():
        return _first_tensor(value) if hasattr(value, "keys") else value
    raise EnvironmentFault("reset returned no observation")
