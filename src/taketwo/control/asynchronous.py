"""The executor that asks for the next chunk while it still executes this one."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import ParamSpec, TypeVar

import numpy as np

from taketwo.control.base import PlannedAction
from taketwo.control.chunking import check_horizon, first_actions
from taketwo.errors import ConfigError, PolicyError, one_of
from taketwo.policies.base import Policy
from taketwo.types import RUNNING_CHUNK, ActionChunk, EpisodeInfo, FloatArray, Observation, RunningChunk

log = logging.getLogger(__name__)

RECENT_DELAYS = 10
"""Answers whose delays are remembered."""

LEAST_MARGIN = 2
"""Actions to be left when an answer is expected, so that one that comes a step later is still in time."""

P = ParamSpec("P")
T = TypeVar("T")


class Asynchronous:
    """Asks early, on a thread of its own, and switches to the new chunk when it comes.

    `reset` and `infer` of the policy run on that one thread, one after the other. `close` does so too, unless
    the thread is at work: then it is called at once, from the caller's thread, so that a policy that waits
    for its server stops waiting. Pictures are made on the loop's thread before an observation is handed over.

    When an answer comes, the actions whose steps have passed since its observation are skipped, and the
    first ones left are blended linearly with what is left of the old chunk. When it comes too late, the
    step waits for it: a stall. The first step of an episode always waits and does not count as one.

    A policy that is asked while a chunk runs finds it in the observation's `extras["running_chunk"]`, so that
    it can go on where that chunk will be by then: real-time chunking (Black et al. 2025, arXiv:2506.07339).
    Such an answer begins as the running chunk goes on, and blending the two changes nothing.

    Which step an answer arrives at depends on how fast policy and machine are, so two runs with the same
    seed differ. Choose another executor where a run must be repeatable.
    """

    asks = False  # an observation is about a later action
    _actions: FloatArray  # (H, D) the present plan
    _beyond: FloatArray  # (K, D) what the policy had in mind after it
    _used: int  # actions used of the chunk that the plan is out of
    _next: int
    _prompt: tuple[str | None, bool | None]  # the one that it was made with, and whether it was read
    _step: int
    _asked_at: int  # the step whose observation the answer is for

    def __init__(
        self, policy: Policy, action_horizon: int | None = None, prefetch: int | None = None, blend_steps: int = 5
    ) -> None:
        """Nothing is asked yet.

        Args:
            action_horizon: actions of each chunk to use; None uses whole chunks.
            prefetch: ask when this many actions are left. None asks so early that, by the delays of late, the
                blend is still possible when the answer comes. That is at half a chunk at the earliest, and
                until a delay is known: from chunks less than twice as long as the delay, no asking early
                gets a gapless stream of actions (d <= H - d in the paper above).
            blend_steps: actions over which to change from the old chunk to the new; 0 switches at once.

        Raises:
            ConfigError: a number is out of its range.
        """
        check_horizon(action_horizon)
        check_prefetch(prefetch, action_horizon)
        check_blend_steps(blend_steps)
        self._policy = policy
        self._horizon = action_horizon
        self._prefetch = prefetch
        self._blend_steps = blend_steps
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")
        self._closed = False
        self._stalls = 0
        self._delays = Delays()
        self._given = self._done = 0  # calls for the thread: counted by whoever gives them, and by the thread
        self._answer: Future[ActionChunk] | None = None
        self._forget()

    @property
    def stalls(self) -> int:
        """How often a step had to wait for an answer, the first steps of episodes apart."""
        return self._stalls

    def reset(self, episode: EpisodeInfo) -> None:
        """Wait for an inference under way, discard its answer, and reset the policy."""
        self._discard_answer()
        self._forget()
        self._start(self._policy.reset, episode).result()

    def next_action(self, observation: Observation) -> PlannedAction:
        """The action for this step.

        Raises:
            PolicyError: the inference in the background failed, lacks a picture, or came when all of its actions
                were past; other exceptions of the policy come through as they are.
            ConfigError: the policy's chunks are too short for `action_horizon` or `prefetch`.
        """
        if self._answer is not None and self._answer.done():
            self._take(self._answer)
        if self._answer is None and self._left <= self._ask_at:
            self._ask(observation)
        if self._answer is not None and not self._left:
            self._stalls += self._step > 0
            self._take(self._answer, stalled=True)
        action = self._actions[self._next]
        self._next += 1
        self._step += 1
        return PlannedAction(action, *self._prompt)

    def close(self) -> None:
        """Close the policy, which ends an inference under way where it can, and end the thread.

        Waits for an inference that the policy cannot end. Safe to call twice.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._busy:
                self._policy.close()
            else:
                self._discard_answer()
                self._start(self._policy.close).result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    @property
    def _left(self) -> int:
        return len(self._actions) - self._next

    @property
    def _ask_at(self) -> int:
        """How many actions are left when the next chunk is asked for."""
        if self._prefetch is not None:
            return self._prefetch
        half, delay = self._used // 2, self._delays.expected
        return half if delay is None else min(half, delay + max(self._blend_steps, LEAST_MARGIN))

    @property
    def _busy(self) -> bool:
        return self._given > self._done

    def _start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        def work() -> T:
            try:
                return call(*args, **kwargs)
            finally:
                self._done += 1

        self._given += 1  # before it is given: Ctrl-C may end `submit` when the thread is at work already
        return self._thread.submit(work)

    def _ask(self, observation: Observation) -> None:
        for camera in self._policy.cameras:
            if camera not in observation.images:
                raise PolicyError(f"the policy has no picture: {one_of('camera', camera, observation.images)}")
            _ = observation.images[camera].pixels
        self._asked_at = self._step
        self._answer = self._start(self._policy.infer, self._with_running_chunk(observation))

    def _with_running_chunk(self, observation: Observation) -> Observation:
        """The observation, telling what is left to execute; as it is where nothing is."""
        if not self._left:
            return observation
        actions = np.concatenate([self._actions[self._next :], self._beyond])
        delay = self._delays.expected or self._left  # without any experience, all that can be executed
        running = RunningChunk(actions, delay_steps=min(delay, self._left))
        return replace(observation, extras={**observation.extras, RUNNING_CHUNK: running})

    def _take(self, answer: Future[ActionChunk], *, stalled: bool = False) -> None:
        """Switch to an answer, waiting for it if need be."""
        wait([answer])
        self._answer = None  # also if it is an error: a later step may ask anew
        chunk = answer.result()
        actions = first_actions(chunk.actions, self._horizon)
        check_prefetch(self._prefetch, len(actions))
        elapsed = self._step - self._asked_at
        if elapsed:
            self._delays.add(elapsed, stalled)
        if elapsed >= len(actions):
            raise PolicyError(
                f"the policy gave a chunk of {len(actions)} actions after {elapsed} steps, so all of them are past: "
                "give executor open_loop to a policy whose chunks are so short"
            )
        self._actions = blended(self._actions[self._next :], actions[elapsed:], self._blend_steps)
        self._beyond = chunk.actions[len(actions) :]
        self._used = len(actions)
        self._next = 0
        self._prompt = chunk.prompt_used, chunk.prompt_read

    def _discard_answer(self) -> None:
        if self._answer is None:
            return
        wait([self._answer])
        error, self._answer = self._answer.exception(), None
        if error is not None:
            log.warning("the policy failed on a step that nobody waits for any more: %s", error)

    def _forget(self) -> None:
        self._actions = self._beyond = np.empty((0, 0))
        self._used = self._next = 0
        self._prompt = None, None
        self._step = self._asked_at = 0


class Delays:
    """How many steps answers took of late.

    The next one is expected to take as many as the longest of the last few (arXiv:2506.07339, algorithm 1:
    what the network does once in a while it does again, and an answer too early costs less than one too late).
    """

    def __init__(self) -> None:
        self._steps: deque[int] = deque(maxlen=RECENT_DELAYS)

    @property
    def expected(self) -> int | None:
        """Steps from an observation to its answer, at least 1; None before the first answer."""
        return max(self._steps, default=None)

    def add(self, steps: int, stalled: bool) -> None:
        """An answer was used this many steps after it was asked for.

        Args:
            stalled: no further step was taken until it came, so that the delay is longer, and nobody knows
                by how much: twice as long is assumed.
        """
        self._steps.append(2 * steps if stalled else steps)


def check_prefetch(prefetch: int | None, used: int | None) -> None:
    """Raise ConfigError unless `prefetch`, where given, is at least 1 and less than the actions used of a chunk.

    Otherwise every action of an answer could have elapsed before it arrives.

    Args:
        used: actions used of a chunk; None where that is not known yet.
    """
    if prefetch is not None and prefetch < 1:
        raise ConfigError(f"prefetch must be 1 or more, not {prefetch}")
    if used is None:
        return
    if used < 2:
        raise ConfigError(
            f"only {used} action of a chunk is used, so none is left to execute while the next is on its way: "
            "give executor open_loop"
        )
    if prefetch is not None and prefetch >= used:
        raise ConfigError(f"prefetch is {prefetch}, but only {used} actions of a chunk are used: give less than that")


def check_blend_steps(blend_steps: int) -> None:
    """Raise ConfigError unless it is 0 or more."""
    if blend_steps < 0:
        raise ConfigError(f"blend_steps must be 0 or more, not {blend_steps}")


def blended(old: FloatArray, new: FloatArray, steps: int) -> FloatArray:
    """`new` (H, D), its first actions mixed with those of `old` for the same steps.

    Over n = min(steps, what both have), action k = 1 .. n is new to the part k / (n + 1).
    """
    overlap = min(steps, len(old), len(new))
    part = np.arange(1, overlap + 1)[:, None] / (overlap + 1)
    mixed = new.copy()
    if overlap:
        mixed[:overlap] = (1 - part) * old[:overlap] + part * new[:overlap]
    return mixed
