"""Asking a policy what was asked of a recorded one, and comparing what they answer."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from taketwo.errors import PolicyError, TakeTwoError, blaming
from taketwo.policies.base import Policy
from taketwo.policies.prompting import PromptRule
from taketwo.serving.asking import UNTOLD_EPISODE, EpisodeClock, prompted
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.records_reader import Record, RecordsError, Run, actions_of, message_of
from taketwo.serving.requests import RequestReader
from taketwo.serving.sharing import Loan, Loans
from taketwo.types import ActionChunk, EpisodeInfo, FloatArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where an action is.

    Attributes:
        request: of this client, from 1, as the server's log counts them.
        row: of the chunk, from 0.
    """

    client: int
    request: int
    row: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """How the chunks of two policies differ, over the rows that both have.

    Attributes:
        names: one per action dimension; their number is D.
        requests: how many were answered by both.
        identical: how many of them alike, bit for bit.
        lengths: requests by the recorded number of rows and that of the other policy.
        other_prompts: requests that the other policy acted on another prompt for, of those where both tell theirs.
        mean: (D,) mean of the absolute difference.
        rms: (D,) root of the mean square difference.
        largest: (D,) largest absolute difference; infinite where only one of the two is a number.
        places: where that is, by dimension; None where there is no difference.
    """

    names: tuple[str, ...]
    requests: int
    identical: int
    lengths: dict[tuple[int, int], int]
    other_prompts: int
    mean: FloatArray
    rms: FloatArray
    largest: FloatArray
    places: tuple[Place | None, ...]

    def within(self, tolerance: float) -> bool:
        """Whether all chunks are as long as they were, and no number differs by more than this."""
        return bool((self.largest <= tolerance).all()) and all(before == now for before, now in self.lengths)


def replay(
    run: Run,
    environment: ServedEnvironment,
    make: Callable[[], Policy],
    *,
    client: int | None = None,
    first: int | None = None,
    answered: Callable[[int], None] = lambda number: None,
) -> Comparison:
    """Ask a policy all that a run's clients asked, in their order and with their resets.

    Each client has a policy of its own, as on the server, unless the policy keeps nothing between requests. What
    the server put into observations is put into them again: its default prompt, and the time, where a client did
    not tell it.

    Args:
        environment: what the run's clients are.
        make: makes the policy.
        client: only this client's.
        first: only so many requests, of all these clients together.
        answered: is told how many have been answered, after each.

    Raises:
        RecordsError: a record is damaged.
        PolicyError: the policy cannot answer, or gives actions of another width.
    """
    replaying = _Replaying(run.header.get("default_prompt"), environment, make)
    try:
        for record in run.records:
            if client is not None and record.get("client", client) != client:
                continue
            if replaying.requests == first:
                break
            replaying.take(record)
            if record["kind"] == "inference":
                answered(replaying.requests)
    finally:
        replaying.close()
    return replaying.difference.result(environment.spec.action_names)


@dataclass
class _Client:
    """A client where it stands.

    Attributes:
        policy: what it asks.
        loan: whose that is.
        prompt: which instruction counts.
        clock: of its episode.
        begun: whether it has begun an episode.
        requests: that were answered.
    """

    policy: Policy
    loan: Loan
    prompt: PromptRule
    clock: EpisodeClock
    begun: bool = False
    requests: int = 0


class _Replaying:
    """Takes one record after the other."""

    def __init__(self, default_prompt: str | None, environment: ServedEnvironment, make: Callable[[], Policy]) -> None:
        self.requests = 0
        self.difference = _Difference(environment.spec.action_dim)
        self._default_prompt = default_prompt
        self._environment = environment
        self._policies = _Policies(make)
        self._clients: dict[int, _Client] = {}

    def take(self, record: Record) -> None:
        """Do as the server did at this record."""
        match record["kind"]:
            case "reset":
                self._begin(record["client"], EpisodeInfo(record["index"], record["seed"]))
            case "inference":
                self._infer(record)
            case "disconnected" if record["client"] in self._clients:
                client = self._clients.pop(record["client"])
                self._policies.take_back(client.policy, client.loan)
            case "dropped":
                log.warning("%d records are missing here: the recording could not keep up", record["count"])

    def close(self) -> None:
        """Close the policies."""
        self._policies.close()

    @cached_property
    def _reader(self) -> RequestReader:
        return RequestReader(self._environment, self._policies.first.cameras)

    def _client(self, number: int) -> _Client:
        if number not in self._clients:
            policy, loan = self._policies.lend()
            rule, clock = PromptRule(policy, self._default_prompt), EpisodeClock(self._environment.spec.control_hz)
            self._clients[number] = _Client(policy, loan, rule, clock)
        return self._clients[number]

    def _begin(self, number: int, episode: EpisodeInfo) -> None:
        client = self._client(number)
        client.begun = True
        client.clock.reset()
        if client.loan.is_reset:
            with _at(number, client.requests + 1):
                client.policy.reset(episode)

    def _infer(self, record: Record) -> None:
        number = record["client"]
        client = self._client(number)
        if not client.begun:
            log.warning("client %d: its records begin in mid-episode; a policy with a memory lacks the rest", number)
            self._begin(number, UNTOLD_EPISODE)
        client.requests += 1
        self.requests += 1
        recorded = actions_of(record)
        with _at(number, client.requests):
            chunk = self._answer(client, record)
            self.difference.add(recorded, chunk.actions, number, client.requests)
        self.difference.add_prompts(record.get("prompt_used"), chunk.prompt_used)
        client.clock.answered(len(recorded))

    def _answer(self, client: _Client, record: Record) -> ActionChunk:
        request = self._reader.read(message_of(record, "request"))
        if request.observation is None:
            raise RecordsError("the message holds no observation")
        observation = client.clock.timed(request.observation, request.timed)
        observation, prompt = prompted(client.prompt, observation)
        return prompt.told_in(client.policy.infer(observation))


class _Policies:
    """The policies of a run's clients, lent as the server lends them."""

    def __init__(self, make: Callable[[], Policy]) -> None:
        """Nothing is made until the first client asks."""
        self._make = make
        self._open: list[Policy] = []

    @cached_property
    def first(self) -> Policy:
        """The one that is made first, and tells what all of them are like."""
        first = self._make()
        self._open.append(first)
        return first

    @cached_property
    def _loans(self) -> Loans:
        return Loans(self.first, self._make)

    def lend(self) -> tuple[Policy, Loan]:
        """A policy for one more client."""
        loan = self._loans.take()
        policy = self._loans.policy(loan)
        if loan.is_owned:
            self._open.append(policy)
        return policy, loan

    def take_back(self, policy: Policy, loan: Loan) -> None:
        """Its client has gone."""
        self._loans.give_back(loan)
        if loan.is_owned:
            self._open = [other for other in self._open if other is not policy]
            policy.close()

    def close(self) -> None:
        """Close all of them."""
        for policy in reversed(self._open):
            policy.close()


class _Difference:
    """Adds up how chunks differ."""

    def __init__(self, width: int) -> None:
        self._requests = self._identical = self._rows = self._other_prompts = 0
        self._lengths: Counter[tuple[int, int]] = Counter()
        self._sum, self._square_sum, self._largest = np.zeros((3, width))
        self._places: list[Place | None] = [None] * width

    def add(self, recorded: FloatArray, now: FloatArray, client: int, request: int) -> None:
        """Compare two chunks, (H, D) and (any number, D).

        Raises:
            PolicyError: the second is none, or of another width.
        """
        if np.ndim(now) != 2 or now.shape[1] != recorded.shape[1]:
            raise PolicyError(f"the policy gives actions of shape {np.shape(now)}, recorded are {recorded.shape}")
        self._requests += 1
        self._identical += recorded.shape == now.shape and recorded.tobytes() == now.tobytes()
        self._lengths[len(recorded), len(now)] += 1
        rows = min(len(recorded), len(now))
        if not rows:
            return
        difference = _absolute(recorded[:rows], now[:rows])
        self._rows += rows
        self._sum += difference.sum(axis=0)
        self._square_sum += (difference**2).sum(axis=0)
        at = difference.argmax(axis=0)
        for dimension, row in enumerate(at):
            if difference[row, dimension] > self._largest[dimension]:
                self._largest[dimension] = difference[row, dimension]
                self._places[dimension] = Place(client, request, int(row))

    def add_prompts(self, recorded: str | None, now: str | None) -> None:
        """Compare what the two were told to do."""
        self._other_prompts += recorded is not None and now is not None and recorded != now

    def result(self, names: tuple[str, ...]) -> Comparison:
        """What it comes to."""
        rows = max(self._rows, 1)
        return Comparison(
            names=names,
            requests=self._requests,
            identical=self._identical,
            lengths=dict(self._lengths),
            other_prompts=self._other_prompts,
            mean=self._sum / rows,
            rms=np.sqrt(self._square_sum / rows),
            largest=self._largest,
            places=tuple(self._places),
        )


def _absolute(recorded: FloatArray, now: FloatArray) -> FloatArray:
    """The absolute difference; none where neither is a number, and an infinite one where only one is."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(recorded - now)
    difference[(recorded == now) | (np.isnan(recorded) & np.isnan(now))] = 0.0
    difference[np.isnan(difference)] = np.inf
    return difference


@contextmanager
def _at(client: int, request: int) -> Iterator[None]:
    """Say of an error, whatever it is, where in the recording it came."""
    try:
        with blaming(PolicyError, "the policy failed"):
            yield
    except TakeTwoError as error:
        raise PolicyError(f"client {client}, request {request}: {error}") from error
