"""The policy of a server: one for all clients where they can share it, and one each where it remembers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from taketwo.policies.base import NeedsExtras, Policy
from taketwo.serving.inference import Answer, InferenceThread
from taketwo.serving.sharing import Loan, Loans
from taketwo.types import EpisodeInfo, Observation

log = logging.getLogger("taketwo.serve")

T = TypeVar("T")

GOODBYE_S = 2.0
"""How long a server that ends waits for its policy."""


class PolicyHost:
    """Makes policies and lends them to clients.

    A policy that `InfersBatches` is shared by all. One that `SharesWeights` gives each client its own state, on one
    thread for all. Any other is made once for each client, with a thread of its own, when that client first asks: so a
    client that says nothing costs nothing.

    Attributes:
        policy: the one that was made first; tells what all of them are like.
    """

    def __init__(self, make: Callable[[], Policy], *, max_batch_size: int, max_wait_s: float | None) -> None:
        """Make the first policy, on the thread that will ask it.

        Raises:
            TakeTwoError: what `make` raises.
        """
        self._new_thread = partial(InferenceThread, max_batch_size=max_batch_size, max_wait_s=max_wait_s)
        self._thread = self._new_thread("policy")
        try:
            self.policy = _wait(self._thread, make)
        except BaseException:
            self._thread.close(wait_s=0)  # it may be loading for minutes yet
            raise
        self._loans = Loans(self.policy, make)

    @property
    def extras(self) -> tuple[str, ...]:
        """The entries of an observation's extras that the policy looks at."""
        return self.policy.extras if isinstance(self.policy, NeedsExtras) else ()

    async def for_client(self, client: int) -> ClientPolicy:
        """A policy for a client, which the client then owns.

        Raises:
            TakeTwoError: it cannot be made.
        """
        loan = self._loans.take()
        if not loan.is_owned:
            return ClientPolicy(self.policy, self._thread, client, loan, self._loans)
        thread = self._new_thread(f"policy of client {client}") if loan is Loan.OWN else self._thread
        try:
            policy = await _call(thread, partial(self._loans.policy, loan))
        except BaseException:
            if loan is Loan.OWN:
                thread.close(wait_s=0)  # it may be making the policy yet, and the event loop waits for nobody
            raise
        return ClientPolicy(policy, thread, client, loan, self._loans)

    def close(self) -> None:
        """Close the policy that was made first; those of clients are closed by them.

        A policy that is at work for longer than `GOODBYE_S` is left to the end of the process.
        """
        try:
            _wait(self._thread, self.policy.close, GOODBYE_S)
        except TimeoutError:
            log.warning("the policy is still at work, and is left so")
        finally:
            self._thread.close(wait_s=0)


class ClientPolicy:
    """What one client asks: its own policy, or its share of one, from the event loop."""

    def __init__(self, policy: Policy, thread: InferenceThread, client: int, loan: Loan, loans: Loans) -> None:
        self.policy = policy
        self._thread = thread
        self._client = client
        self._loan = loan
        self._loans = loans

    async def reset(self, episode: EpisodeInfo) -> None:
        """Begin an episode; a policy that others share has nothing to forget.

        Raises:
            Exception: what the policy raises.
        """
        if self._loan.is_reset:
            await _call(self._thread, lambda: self.policy.reset(episode))

    def infer(
        self, observation: Observation, done: Callable[[Answer], None], failed: Callable[[Exception], None]
    ) -> None:
        """Ask the policy; one of the two is called with what comes of it, on the policy's thread."""
        self._thread.infer(self.policy, self._client, observation, done, failed)

    async def leave(self) -> None:
        """Give it back, or close it. Never fails."""
        self._thread.leave(self._client)
        try:
            if self._loan.is_owned:
                await _call(self._thread, self.policy.close)
        except Exception:  # noqa: BLE001 - its client has gone; nobody is left to be told
            pass
        finally:
            if self._loan is Loan.OWN:
                self._thread.close(wait_s=0)  # the event loop waits for nobody
            self._loans.give_back(self._loan)


async def _call(thread: InferenceThread, function: Callable[[], T]) -> T:
    result: T = await from_thread(lambda done, failed: thread.call(function, done, failed))
    return result


async def from_thread(start: Callable[[Callable[[Any], None], Callable[[Exception], None]], None]) -> Any:
    """What a callback of another thread is called with."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(how: Callable[[Any], None], value: Any) -> None:
        if not future.done():  # the client has gone meanwhile
            how(value)

    start(
        lambda result: _settle(loop, settle, future.set_result, result),
        lambda error: _settle(loop, settle, future.set_exception, error),
    )
    return await future


def _settle(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], how: Any, value: Any) -> None:
    try:
        loop.call_soon_threadsafe(settle, how, value)
    except RuntimeError:  # the server has ended
        return


def _wait(thread: InferenceThread, function: Callable[[], T], timeout_s: float | None = None) -> T:
    """The result of a function that runs on the thread, waited for without an event loop."""
    future: Future[T] = Future()
    thread.call(function, future.set_result, future.set_exception)
    return future.result(timeout_s)
