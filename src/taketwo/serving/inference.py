"""The thread on which a server's models run.

Whatever touches a model runs there, one thing after the other, so that an event loop never waits for a forward pass,
and libraries that want one thread have it. Each client's requests are answered in their order. Requests of several
clients go into one forward pass where the policy has `infer_batch`: see `taketwo.serving.schedule`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from taketwo.errors import ConfigError, PolicyError, one_line
from taketwo.policies.base import InfersBatches, Policy
from taketwo.serving.schedule import Call, Request, Schedule
from taketwo.types import ActionChunk, Observation

log = logging.getLogger(__name__)

T = TypeVar("T")
Failed = Callable[[Exception], None]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a policy answered, and how long that took.

    Attributes:
        queue_ms: from the request until its forward pass began.
        infer_ms: the forward pass.
        batch_size: requests that were in it.
    """

    chunk: ActionChunk
    queue_ms: float
    infer_ms: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class _Leave:
    client: Hashable


class _Close:
    pass


class InferenceThread:
    """Runs the forward passes of all policies of a server, and whatever else touches them.

    For every request and call exactly one of its two callbacks is called, on this thread; it must return at once.
    After `close` it is `failed`, which may then be called on the caller's thread. Every method may be called from any
    thread.
    """

    def __init__(self, name: str, max_batch_size: int = 16, max_wait_s: float | None = None) -> None:
        """Starts the thread.

        Args:
            name: what the thread and messages call it.
            max_batch_size: most requests in one forward pass; 1 answers each by itself.
            max_wait_s: longest that a pass waits for more requests; None leaves that to the rule, 0 never waits.

        Raises:
            ConfigError: a number is out of its range.
        """
        if max_batch_size < 1:
            raise ConfigError(f"max_batch_size must be 1 or more, not {max_batch_size}")
        if max_wait_s is not None and not max_wait_s >= 0:
            raise ConfigError(f"max_wait_s must be 0 or more, not {max_wait_s}")
        self._name = name
        self._inbox: SimpleQueue[Request | Call | _Leave | _Close] = SimpleQueue()
        self._schedule = Schedule(max_batch_size, max_wait_s)
        self._closing = self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def infer(
        self,
        policy: Policy,
        client: Hashable,
        observation: Observation,
        done: Callable[[Answer], None],
        failed: Failed,
    ) -> None:
        """Ask a policy, after everything that this client has asked before.

        Clients take turns: one that asks again before it is answered comes after those that have asked once.

        Args:
            policy: one that `InfersBatches` may be asked for several clients at once.
            client: tells the clients apart.
            observation: its pictures must be made.
            done: gets the answer.
            failed: gets what the policy raised, or a PolicyError.
        """
        self._put(Request(policy, client, observation, done, failed, time.perf_counter()))

    def call(self, function: Callable[[], T], done: Callable[[T], None], failed: Failed) -> None:
        """Run something that touches a policy, after all that was asked before and before all that is asked later.

        Args:
            function: what to run, such as a policy's `reset` or `close`, or making one.
            done: gets what it returned.
            failed: gets what it raised.
        """
        self._put(Call(function, done, failed))

    def leave(self, client: Hashable) -> None:
        """Expect a client no more. What it has asked and is still queued fails."""
        self._put(_Leave(client))

    def close(self, wait_s: float | None = None) -> None:
        """End after what is under way; what is queued fails with a PolicyError. Policies are not closed.

        Safe to call twice.

        Args:
            wait_s: how long to wait for the thread to end, unless called on it; None waits as long as it takes.
        """
        self._inbox.put(_Close())
        if threading.current_thread() is not self._thread:
            self._thread.join(wait_s)

    def _put(self, item: Request | Call | _Leave) -> None:
        self._inbox.put(item)
        if self._ended:  # the thread may have looked into its inbox for the last time
            self._refuse_inbox()

    def _run(self) -> None:
        while not self._closing:
            pause_s = self._schedule.pause_s(time.perf_counter())
            if pause_s == 0:
                self._do(self._schedule.next())
            self._take_in(pause_s)
        self._fail(self._schedule.clear(), self._closed())
        self._ended = True
        self._refuse_inbox()

    def _take_in(self, pause_s: float | None) -> None:
        """Sort in all that has come; pause for the first of it."""
        try:
            item = self._inbox.get_nowait() if pause_s == 0 else self._inbox.get(timeout=pause_s)
            while True:
                self._sort_in(item)
                item = self._inbox.get_nowait()
        except Empty:
            return

    def _sort_in(self, item: Request | Call | _Leave | _Close) -> None:
        match item:
            case Request():
                self._schedule.ask(item)
            case Call():
                self._schedule.call(item)
            case _Leave():
                gone = PolicyError(f"the client left before {self._name} came to its request")
                self._fail(self._schedule.leave(item.client), gone)
            case _Close():
                self._closing = True

    def _do(self, work: Sequence[Request] | Call) -> None:
        if isinstance(work, Call):
            self._run_call(work)
        else:
            self._infer(work)

    def _run_call(self, call: Call) -> None:
        try:
            value = call.function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller is told and the thread lives
            self._tell(call.failed, _ordinary(error))
        else:
            self._tell(call.done, value)

    def _infer(self, batch: Sequence[Request]) -> None:
        """One pass for all. Where that fails each is asked by itself, so that only the culprit gets the error."""
        began_s = time.perf_counter()
        try:
            chunks = _chunks(batch)
        except BaseException as error:  # noqa: BLE001 - the same
            if len(batch) > 1:
                log.warning("a batch of %d failed, so each is asked by itself: %s", len(batch), one_line(error))
                for request in batch:
                    self._infer([request])
                return
            self._schedule.answered(batch, time.perf_counter())
            self._tell(batch[0].failed, _ordinary(error))
            return
        ended_s = time.perf_counter()
        self._schedule.answered(batch, ended_s, ended_s - began_s)
        infer_ms = (ended_s - began_s) * 1000
        for request, chunk in zip(batch, chunks, strict=True):
            self._tell(request.done, Answer(chunk, (began_s - request.asked_s) * 1000, infer_ms, len(batch)))

    def _refuse_inbox(self) -> None:
        while True:
            try:
                item = self._inbox.get_nowait()
            except Empty:
                return
            if isinstance(item, Request | Call):
                self._fail([item], self._closed())

    def _closed(self) -> PolicyError:
        return PolicyError(f"{self._name} was closed before it came to this")

    def _fail(self, items: Iterable[Request | Call], error: Exception) -> None:
        for item in items:
            self._tell(item.failed, error)

    def _tell(self, callback: Callable[[T], None], value: T) -> None:
        try:
            callback(value)
        except Exception:
            log.exception("%s could not hand over an answer", self._name)


def _chunks(batch: Sequence[Request]) -> Sequence[ActionChunk]:
    """What the policy answers to them."""
    policy = batch[0].policy
    if batch[0].rule is None:
        return [policy.infer(batch[0].observation)]
    chunks = cast(InfersBatches, policy).infer_batch([request.observation for request in batch])
    if len(chunks) != len(batch):
        raise PolicyError(f"the policy gave {len(chunks)} chunks for {len(batch)} observations")
    return chunks


def _ordinary(error: BaseException) -> Exception:
    """The error itself, or a PolicyError for one that means something to Python, such as SystemExit.

    A future cannot be given a StopIteration (PEP 479).
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return PolicyError(f"the policy wanted to end the server: {type(error).__name__}: {one_line(error)}")
