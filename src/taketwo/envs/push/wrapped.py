"""Three wrappers around batched worlds, one in the other, as code bases for Isaac Gym have them.

Each forwards what it does not know to the environment inside, `env`, but keeps names with a leading underscore to
itself, as Gymnasium's wrappers do. Adapters are tested on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taketwo.envs.push.batched import BatchedPush, Tensor
from taketwo.envs.push.world import action_limits


class Wrapper:
    """Forwards everything."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{name!r} is private to what {type(self).__name__} wraps")
        return getattr(self.env, name)

    def reset(self) -> tuple[Tensor, Tensor]:
        """Begin an episode in every world."""
        return self.env.reset()  # type: ignore[no-any-return]

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Step every world."""
        return self.env.step(actions)  # type: ignore[no-any-return]


class NormalizedActions(Wrapper):
    """Takes actions from -1 to 1, of the greatest velocity each."""

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Step every world with (N, 3 R) actions."""
        limits = action_limits(self.env.num_agents)
        if not isinstance(actions, np.ndarray):
            limits = actions.new_tensor(limits)
        return self.env.step(actions * limits)  # type: ignore[no-any-return]


class ClippedObservations(Wrapper):
    """Observations and privileged ones, cut off at `limit` in either direction."""

    def __init__(self, env: Any, limit: float = 100.0) -> None:
        super().__init__(env)
        self.limit = limit

    def reset(self) -> tuple[Tensor, Tensor]:
        """Begin an episode in every world."""
        obs, privileged_obs = self.env.reset()
        return self._clipped(obs), self._clipped(privileged_obs)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Step every world."""
        obs, privileged_obs, rewards, dones, extras = self.env.step(actions)
        return self._clipped(obs), self._clipped(privileged_obs), rewards, dones, extras

    def _clipped(self, obs: Tensor) -> Tensor:
        return obs.clip(-self.limit, self.limit)


class SummedRewards(Wrapper):
    """Adds `return`, the mean sum of rewards of the episodes that ended, to `extras["episode"]`."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.returns: Tensor = 0.0

    def reset(self) -> tuple[Tensor, Tensor]:
        """Begin an episode in every world."""
        self.returns = 0.0
        return super().reset()

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Step every world."""
        obs, privileged_obs, rewards, dones, extras = self.env.step(actions)
        self.returns = self.returns + rewards
        if dones.any():
            ended = {**extras.get("episode", {}), "return": float(self.returns[dones].mean())}
            extras = {**extras, "episode": ended}
            self.returns = self.returns * ~dones
        return obs, privileged_obs, rewards, dones, extras


def wrap(env: BatchedPush) -> SummedRewards:
    """All three; `wrap(env).env.env.env` is `env`."""
    return SummedRewards(ClippedObservations(NormalizedActions(env)))
