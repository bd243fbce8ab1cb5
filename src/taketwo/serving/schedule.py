"""What an inference thread does next: which requests go into one forward pass, and when it begins."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from taketwo.policies.base import InfersBatches, Policy
from taketwo.serving.waiting import WaitingRule
from taketwo.types import Observation


@dataclass(slots=True, eq=False)
class Request:
    """A client asks a policy.

    Attributes:
        done: gets the answer.
        failed: gets the error.
        asked_s: when, on the clock that the schedule is told.
        rule: that of its policy, set by the schedule; None where the policy answers requests one by one.
    """

    policy: Policy
    client: Hashable
    observation: Observation
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]
    asked_s: float
    rule: WaitingRule | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function to run between the requests before it and those after it."""

    function: Callable[[], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]


class Schedule:
    """Puts requests and calls in order. Used by one thread; it is told the time and never sleeps."""

    def __init__(self, max_batch_size: int, max_wait_s: float | None) -> None:
        """Nothing is queued."""
        self._max_batch_size = max_batch_size
        self._queue = _FairQueue()
        self._shared = _SharedPolicies(max_wait_s)
        self._batch: list[Request] = []  # what `pause_s` found to be first; none where a call is
        self._ready_s: float | None = None  # since when the next pass could have begun

    def ask(self, request: Request) -> None:
        """Queue a request."""
        request.rule = self._shared.rule(request.policy)
        if request.rule is not None:
            request.rule.asked(request.client, request.asked_s)
        self._queue.put(request)

    def call(self, call: Call) -> None:
        """Queue a call."""
        self._queue.put_call(call)

    def leave(self, client: Hashable) -> list[Request]:
        """Forget a client; returns its requests, which are queued no more."""
        self._shared.left(client)
        return self._queue.left(client)

    def clear(self) -> list[Request | Call]:
        """Take out everything."""
        return self._queue.clear()

    def pause_s(self, now_s: float) -> float | None:
        """How long to wait for more to come; None for as long as it takes, 0 where `next` is to be done now."""
        if not self._queue:
            return None
        self._batch = batch = self._queue.batch(self._max_batch_size)
        rule = batch[0].rule if batch else None
        if rule is None or len(batch) < len(self._queue):  # who waits for something else does not wait for this too
            return 0.0
        if self._ready_s is None:
            self._ready_s = now_s
        return rule.wait_s(len(batch), self._max_batch_size - len(batch), now_s, self._ready_s)

    def next(self) -> list[Request] | Call:
        """Take out what is to be done now, as `pause_s` has just said: the requests of one pass, or a call."""
        self._ready_s = None
        if not self._batch:
            return self._queue.take_call()
        self._queue.remove(self._batch)
        return self._batch

    def answered(self, batch: Sequence[Request], now_s: float, took_s: float | None = None) -> None:
        """Learn that these, of one pass, are about to be answered.

        Args:
            batch: what `next` gave, or a part of it.
            now_s: the time.
            took_s: how long the pass took; None if it failed.
        """
        rule = batch[0].rule
        if rule is None:
            return
        if took_s is not None:
            rule.took(len(batch), took_s)
        ask_ahead = self._queue.clients()
        for request in batch:
            if request.client not in ask_ahead:
                rule.answered(request.client, now_s)


class _FairQueue:
    """Requests in turns of their clients, and calls at their place among them.

    Start-time fair queueing (Goyal, Vin and Cheng 1996) of requests that count alike: a request's turn is that of the
    last one served, or the one after its client's last, whichever is later; the earliest turn is first, and of
    one turn what came first. A call ends the turns that are queued: nothing passes it.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, Request | Call]] = []  # turn, number, what
        self._number = 0
        self._turn = 0  # of the last one served, or before the last call
        self._next_turns: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, request: Request) -> None:
        """Queue a request at its client's turn."""
        turn = max(self._turn, self._next_turns.get(request.client, 0))
        self._next_turns[request.client] = turn + 1
        self._insert(turn, request)

    def put_call(self, call: Call) -> None:
        """Queue a call, last."""
        if self._entries:
            self._turn = max(self._turn, self._entries[-1][0])
        self._insert(self._turn, call)

    def batch(self, limit: int) -> list[Request]:
        """The requests that can go with the first into one pass, itself included, in order; none if a call is first."""
        batch: list[Request] = []
        passed = set()  # clients whose earlier request is for another policy, and comes first
        for _, _, item in self._entries:
            if isinstance(item, Call) or len(batch) == limit:
                break
            if not batch or (item.policy is batch[0].policy and item.client not in passed):
                batch.append(item)
                if item.rule is None:
                    break
            else:
                passed.add(item.client)
        return batch

    def remove(self, batch: Sequence[Request]) -> None:
        """Take out the requests of a batch, which are about to be served."""
        if len(batch) == len(self._entries):
            self._turn = max(self._turn, self._entries[-1][0])
            self._entries = []
            return
        served = set(map(id, batch))
        self._turn = max(self._turn, *(turn for turn, _, item in self._entries if id(item) in served))
        self._entries = [entry for entry in self._entries if id(entry[2]) not in served]

    def take_call(self) -> Call:
        """Take out the call that is first."""
        call = self._entries.pop(0)[2]
        assert isinstance(call, Call)
        return call

    def clients(self) -> set[Hashable]:
        """Those of whom a request is queued."""
        return {item.client for _, _, item in self._entries if isinstance(item, Request)}

    def left(self, client: Hashable) -> list[Request]:
        """Forget a client, and take out its requests."""
        self._next_turns.pop(client, None)
        gone = [item for _, _, item in self._entries if isinstance(item, Request) and item.client == client]
        self._entries = [entry for entry in self._entries if entry[2] not in gone]
        return gone

    def clear(self) -> list[Request | Call]:
        """Take out everything."""
        everything = [item for _, _, item in self._entries]
        self._entries = []
        return everything

    def _insert(self, turn: int, item: Request | Call) -> None:
        self._number += 1
        bisect.insort(self._entries, (turn, self._number, item))


class _SharedPolicies:
    """A waiting rule for each policy that several clients share."""

    def __init__(self, max_wait_s: float | None) -> None:
        self._max_wait_s = max_wait_s
        self._rules: dict[int, tuple[Policy, WaitingRule]] = {}  # by id: policies need not be hashable

    def rule(self, policy: Policy) -> WaitingRule | None:
        """The policy's own; None for one that answers requests one by one."""
        known = self._rules.get(id(policy))
        if known is None:
            if not isinstance(policy, InfersBatches):
                return None
            known = self._rules[id(policy)] = (policy, WaitingRule(self._max_wait_s))
        return known[1]

    def left(self, client: Hashable) -> None:
        """Forget a client, and policies that nobody uses any more."""
        for _, rule in self._rules.values():
            rule.left(client)
        self._rules = {key: known for key, known in self._rules.items() if known[1].clients}
