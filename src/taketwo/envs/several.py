"""Several environments that know nothing of each other, stepped one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from taketwo.envs.base import Environment
from taketwo.errors import EnvironmentFault, TakeTwoError, blaming
from taketwo.types import FloatArray, Observation, StepResult, VectorStep

E = TypeVar("E", bound=Environment)


class Several(Generic[E]):
    """Environments of one kind as a `VectorEnvironment`: each episode begins by its own seed.

    One that fails leaves the others alone, and can be reset.
    """

    resets_itself = False

    def __init__(self, environments: Sequence[E]) -> None:
        """Take them over: closing this closes them."""
        self.environments = tuple(environments)
        self.num_envs = len(self.environments)
        self.spec = self.environments[0].spec

    @classmethod
    def made_by(cls, make: Callable[[], E], num_envs: int) -> Several[E]:
        """Make so many; where one cannot be made, those before it are closed."""
        with ExitStack() as stack:
            environments = []
            for _ in range(num_envs):
                environments.append(make())
                stack.callback(environments[-1].close)
            stack.pop_all()
        return cls(environments)

    def reset(
        self, seeds: Mapping[int, int], options: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Mapping[int, Observation]:
        """Begin an episode in some of them."""
        options = options or {}
        return {env: self.environments[env].reset(seed, options.get(env)) for env, seed in seeds.items()}

    def step(self, actions: Mapping[int, FloatArray]) -> VectorStep:
        """Step those that are given an action."""
        results: dict[int, StepResult] = {}
        faults: dict[int, EnvironmentFault] = {}
        for env, action in actions.items():
            try:
                with blaming(EnvironmentFault, "the environment failed"):
                    results[env] = self.environments[env].step(action)
            except TakeTwoError as error:
                faults[env] = error if isinstance(error, EnvironmentFault) else EnvironmentFault(str(error))
        return VectorStep(results, faults=faults)

    def close(self) -> None:
        """Close them all, also where one fails to."""
        with ExitStack() as stack:
            for environment in self.environments:
                stack.callback(environment.close)
