"""The policy of a server: one for all clients where they can share it, and one each where it remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from taketwo.policies.base import InfersBatches, NeedsExtras, Policy, SharesWeights
from taketwo.serving.inference import Answer, InferenceThread
from taketwo.types import EpisodeInfo, Observation

T = TypeVar("T")


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
        self._make = make
        self._new_thread = partial(InferenceThread, max_batch_size=max_batch_size, max_wait_s=max_wait_s)
        self._thread = self._new_thread("policy")
        try:
            self.policy = _wait(self._thread, make)
        except BaseException:
            self._thread.close()
            raise
        self._spare: Policy | None = self.policy

    @property
    def extras(self) -> tuple[str, ...]:
        """The entries of an observation's extras that the policy looks at."""
        return self.policy.extras if isinstance(self.policy, NeedsExtras) else ()

    async def for_client(self, client: int) -> ClientPolicy:
        """A policy for a client, which the client then owns.

        Raises:
            TakeTwoError: it cannot be made.
        """
        if isinstance(self.policy, InfersBatches):
            return ClientPolicy(self.policy, self._thread, client, keeps_state=False)
        if isinstance(self.policy, SharesWeights):
            own = await _call(self._thread, self.policy.for_client)
            return ClientPolicy(own, self._thread, client, owned=True)
        if self._spare is not None:
            first, self._spare = self._spare, None
            return ClientPolicy(first, self._thread, client, returns_to=self._take_back)
        thread = self._new_thread(f"policy of client {client}")
        try:
            return ClientPolicy(await _call(thread, self._make), thread, client, owned=True, own_thread=True)
        except BaseException:
            thread.close()
            raise

    def close(self) -> None:
        """Close the policy that was made first; those of clients are closed by them."""
        try:
            _wait(self._thread, self.policy.close)
        finally:
            self._thread.close()

    def _take_back(self) -> None:
        self._spare = self.policy


class ClientPolicy:
    """What one client asks: its own policy, or its share of one, from the event loop."""

    def __init__(
        self,
        policy: Policy,
        thread: InferenceThread,
        client: int,
        *,
        keeps_state: bool = True,
        owned: bool = False,
        own_thread: bool = False,
        returns_to: Callable[[], None] = lambda: None,
    ) -> None:
        self.policy = policy
        self._thread = thread
        self._client = client
        self._keeps_state = keeps_state
        self._owned = owned
        self._own_thread = own_thread
        self._return = returns_to

    async def reset(self, episode: EpisodeInfo) -> None:
        """Begin an episode; a policy that others share has nothing to forget.

        Raises:
            Exception: what the policy raises.
        """
        if self._keeps_state:
            await _call(self._thread, lambda: self.policy.reset(episode))

    async def infer(self, observation: Observation) -> Answer:
        """The policy's answer.

        Raises:
            Exception: what the policy raises.
        """
        answer: Answer = await _answered(
            lambda done, failed: self._thread.infer(self.policy, self._client, observation, done, failed)
        )
        return answer

    async def leave(self) -> None:
        """Give it back, or close it. Never fails."""
        self._thread.leave(self._client)
        try:
            if self._owned:
                await _call(self._thread, self.policy.close)
        except Exception:  # noqa: BLE001 - its client has gone; nobody is left to be told
            pass
        finally:
            if self._own_thread:
                self._thread.close()
            self._return()


async def _call(thread: InferenceThread, function: Callable[[], T]) -> T:
    result: T = await _answered(lambda done, failed: thread.call(function, done, failed))
    return result


async def _answered(start: Callable[[Callable[[Any], None], Callable[[Exception], None]], None]) -> Any:
    """What a callback of another thread is called with."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(how: Callable[[Any], None], value: Any) -> None:
        if not future.done():  # the client has gone meanwhile
            how(value)

    start(
        lambda result: _from_thread(loop, settle, future.set_result, result),
        lambda error: _from_thread(loop, settle, future.set_exception, error),
    )
    return await future


def _from_thread(loop: asyncio.AbstractEventLoop, settle: Callable[..., None], how: Any, value: Any) -> None:
    try:
        loop.call_soon_threadsafe(settle, how, value)
    except RuntimeError:  # the server has ended
        return


def _wait(thread: InferenceThread, function: Callable[[], T]) -> T:
    """The result of a function that runs on the thread, waited for without an event loop."""
    future: Future[T] = Future()
    thread.call(function, future.set_result, future.set_exception)
    return future.result()
