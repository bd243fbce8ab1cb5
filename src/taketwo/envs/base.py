"""What an environment is: one protocol, and small ones for what only some can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from taketwo.registry import Registry
from taketwo.types import EnvironmentSpec, FloatArray, Observation, Pixels, StepResult, VectorStep

ENVIRONMENTS = Registry(
    "environment",
    "taketwo.envs",
    {
        "aloha": "taketwo.envs.aloha:AlohaConfig",
        "gym": "taketwo.envs.gym:GymConfig",
        "gym_vector": "taketwo.envs.gym_vector:GymVectorConfig",
        "isaac": "taketwo.envs.isaac:IsaacConfig",
        "libero": "taketwo.envs.libero:LiberoConfig",
        "maniskill": "taketwo.envs.maniskill:ManiSkillConfig",
        "pettingzoo": "taketwo.envs.pettingzoo:PettingZooConfig",
        "push": "taketwo.envs.push:PushConfig",
    },
)


class Environment(Protocol):
    """One robot, or one simulator of it. Used from a single thread."""

    @property
    def spec(self) -> EnvironmentSpec:
        """What it is; constant over its life."""
        ...

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode. The same seed and options give the same first observation.

        Args:
            options: `init_state`, the number of a recorded initial state, where the spec has some; beyond the last it
                begins with the first again.

        Raises:
            EnvironmentFault: it cannot begin.
        """
        ...

    def step(self, action: FloatArray) -> StepResult:
        """Apply one action, (D,), for one control period.

        At the end of an episode the observation is the terminal one: an environment never resets itself.
        """
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        ...


class VectorEnvironment(Protocol):
    """Several environments of one kind that step together, numbered from 0. Used from a single thread."""

    @property
    def spec(self) -> EnvironmentSpec:
        """What each of them is; constant over its life."""
        ...

    @property
    def num_envs(self) -> int:
        """How many there are."""
        ...

    @property
    def resets_itself(self) -> bool:
        """Whether an environment begins the next episode by itself where one ends.

        Then `reset` is called once, for all, and only the first episodes have the seeds that are given: what comes
        after follows from them.
        """
        ...

    def reset(
        self, seeds: Mapping[int, int], options: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Mapping[int, Observation]:
        """Begin an episode in some environments, given with their seeds; the others stay where they are.

        The same seed and options give the same first observation; unless `resets_itself`, whatever the others do.

        Args:
            options: of some of them, as for a single environment.

        Raises:
            EnvironmentFault: they cannot begin.
        """
        ...

    def step(self, actions: Mapping[int, FloatArray]) -> VectorStep:
        """Apply (D,) actions for one control period to those environments that are to go on; the others may wait.

        An environment in which an episode has ended gets no action until the next has begun. Results are of the
        environments that have got one, which may be none; `begun` has every environment that has begun an episode by
        itself, whether or not it had got one.

        Raises:
            EnvironmentFault: none of them can go on.
        """
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        ...


@runtime_checkable
class MakesOne(Protocol):
    """Options that build a single environment."""

    def make(self) -> Environment:
        """Build it.

        Raises:
            ConfigError: an option does not fit.
            MissingExtraError: its library is not installed.
        """
        ...


@runtime_checkable
class MakesVectors(Protocol):
    """Options that build a simulator for several environments at once."""

    def make_vector(self, num_envs: int) -> VectorEnvironment:
        """Build it.

        Raises:
            ConfigError: an option does not fit.
            MissingExtraError: its library is not installed.
        """
        ...


EnvironmentConfig = MakesOne | MakesVectors
"""The options of an environment: they build one, several at once, or either."""


@runtime_checkable
class Renders(Protocol):
    """Can draw any of its cameras at any size, at any time."""

    def camera_names(self) -> tuple[str, ...]:
        """Every camera that it has, whether or not observations carry it."""
        ...

    def render(self, camera: str, height: int, width: int) -> Pixels:
        """(height, width, 3) uint8 RGB of the present state."""
        ...


@runtime_checkable
class Snapshots(Protocol):
    """Can be put back to an earlier instant exactly."""

    def snapshot(self) -> dict[str, Any]:
        """The full simulator state as plain values and arrays."""
        ...

    def restore(self, snapshot: Mapping[str, Any]) -> Observation:
        """Go back to a snapshot of the same model; what follows is the same, bit for bit."""
        ...


@runtime_checkable
class GoesHome(Protocol):
    """Knows a safe pose."""

    def home_action(self) -> FloatArray:
        """(D,) the action that holds the home pose."""
        ...
