"""Controllers of several environments, and one policy for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Protocol

from taketwo.control.controller import Controller
from taketwo.errors import PolicyError
from taketwo.policies.base import InfersBatches, Policy
from taketwo.types import ActionChunk, Decision, EpisodeInfo, Observation


class AskedTogether(Protocol):
    """What the environments' seats are in: asks about several observations at once."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pixels are looked at."""
        ...

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget the last episode of the environment that `episode` names."""
        ...

    def infer(self, observations: Mapping[int, Observation]) -> Mapping[int, ActionChunk]:
        """The answer to each, by environment.

        Raises:
            PolicyError: there is no answer to one of them.
        """
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        ...


class Batched:
    """One policy that keeps no state, asked about all of them in one forward pass."""

    def __init__(self, policy: Policy) -> None:
        """Take over a policy that can `infer_batch`."""
        assert isinstance(policy, InfersBatches)
        self._policy = policy
        self.cameras = policy.cameras

    def reset(self, episode: EpisodeInfo) -> None:
        """Nothing is kept."""

    def infer(self, observations: Mapping[int, Observation]) -> Mapping[int, ActionChunk]:
        """Ask the policy once."""
        chunks = self._policy.infer_batch(list(observations.values()))
        if len(chunks) != len(observations):
            raise PolicyError(f"the policy gave {len(chunks)} action chunks for {len(observations)} observations")
        return dict(zip(observations, chunks, strict=True))

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()


class Concurrent:
    """A policy for each environment that waits for somebody else's answer, such as a server's, all at the same time."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        """Take them over."""
        self._policies = tuple(policies)
        self.cameras = self._policies[0].cameras
        self._threads = ThreadPoolExecutor(len(self._policies), thread_name_prefix="policy")

    def reset(self, episode: EpisodeInfo) -> None:
        """Reset the policy of its environment."""
        self._policies[episode.env].reset(episode)

    def infer(self, observations: Mapping[int, Observation]) -> Mapping[int, ActionChunk]:
        """Ask all policies, and wait for all answers."""
        for observation in observations.values():
            for camera in self.cameras:
                _ = observation.images[camera].pixels  # which can be made on this thread alone
        asked = {env: self._threads.submit(self._policies[env].infer, seen) for env, seen in observations.items()}
        wait(asked.values())
        return {env: answer.result() for env, answer in asked.items()}

    def close(self) -> None:
        """Close the policies, which ends their waits, and the threads."""
        with ExitStack() as stack:
            stack.callback(self._threads.shutdown)
            for policy in self._policies:
                stack.callback(policy.close)


class Table:
    """Where the environments' seats are: asks ahead for all, and hands out the answers."""

    def __init__(self, together: AskedTogether) -> None:
        self.together = together
        self._asked: Mapping[int, Observation] = {}
        self._answers: Mapping[int, ActionChunk] = {}

    def ask(self, observations: Mapping[int, Observation]) -> None:
        """Get the answers to all of them, by environment."""
        self._asked = observations
        self._answers = self.together.infer(observations) if observations else {}

    def answer(self, env: int, observation: Observation) -> ActionChunk:
        """What was said to an observation, or to the same one with something put beside it on the way."""
        if env not in self._asked or self._asked[env].state is not observation.state:
            return self.together.infer({env: observation})[env]
        return self._answers[env]


class Seat:
    """The policy, as one environment asks it."""

    def __init__(self, table: Table, env: int) -> None:
        self._table = table
        self._env = env

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pixels the policy looks at."""
        return self._table.together.cameras

    def reset(self, episode: EpisodeInfo) -> None:
        """Reset what is this environment's own."""
        self._table.together.reset(episode)

    def infer(self, observation: Observation) -> ActionChunk:
        """The answer to this observation."""
        return self._table.answer(self._env, observation)

    def close(self) -> None:
        """The others still need the policy."""


class Controllers:
    """A controller for each environment, over one policy for all or one each."""

    def __init__(self, controllers: Sequence[Controller], table: Table | None = None) -> None:
        """Take them over: closing this closes them.

        Args:
            table: where their policies are seats, if they are.
        """
        self._controllers = tuple(controllers)
        self._table = table

    @property
    def stalls(self) -> int:
        """How often a step had to wait because no action was ready in time."""
        return sum(controller.stalls for controller in self._controllers)

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        """Forget the last episode of the environment that `episode` names."""
        self._controllers[episode.env].reset(episode, observation)

    def decide(self, observations: Mapping[int, Observation]) -> Mapping[int, Decision]:
        """The actions for this step, by environment; what is asked together is asked ahead."""
        if self._table is not None:
            self._table.ask({env: seen for env, seen in observations.items() if self._controllers[env].asks})
        return {env: self._controllers[env].decide(seen) for env, seen in observations.items()}

    def close(self) -> None:
        """Close all, also where one fails to."""
        with ExitStack() as stack:
            if self._table is not None:
                stack.callback(self._table.together.close)
            for controller in self._controllers:
                stack.callback(controller.close)
