"""The instruction at the three points that it passes, side by side: what was sent, seen and used."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from taketwo.control.prompt import SHOWN_CHARACTERS, EveryNSteps
from taketwo.errors import PolicyError, quoted, shortened
from taketwo.policies.base import Policy
from taketwo.policies.wrapping import PolicyWrapper
from taketwo.session.events import EpisodeStart, Event, StepTaken, TerminalObservation
from taketwo.types import ActionChunk, FloatArray, Observation

log = logging.getLogger("taketwo.prompt")

STEPS_KEPT = 256
"""Steps that are remembered for a policy on a thread of its own, which may begin to infer when they are over."""

REQUESTS_KEPT = 100
"""Requests that are remembered until the session's own observation of their step comes."""

BEFORE_DIFFERENCE = 20
"""Characters shown before the first that two long prompts differ in."""


class Seen(NamedTuple):
    """The session's own observation of a step."""

    step: int
    prompt: str | None


class Used(NamedTuple):
    """What an answer tells of its prompt, as `ActionChunk` has it."""

    prompt: str | None
    source: str | None
    read: bool | None

    def differs_from(self, sent: str | None) -> bool:
        """Whether something else was used than was sent; where nothing was sent or is told, it does not."""
        if sent is None or self.prompt == sent:
            return False
        return self.prompt is not None or self.read is True

    def __str__(self) -> str:
        if self.prompt is None:
            return {None: "(not told)", True: "(none)", False: "(reads no prompt; got none)"}[self.read]
        source = f"from {shortened(self.source, SHOWN_CHARACTERS)}" if self.source else "source not told"
        if self.read is False:
            return f"(reads no prompt; got {_quoted(self.prompt)}, {source})"
        return f"{_quoted(self.prompt)} ({source})"


@dataclass(eq=False)
class Request:
    """An observation that a policy was handed, and what is known of its prompt by now.

    Attributes:
        state: the observation's; the very same array is in the session's own observation of that step,
            whatever has been put beside it on the way.
        sent: the prompt that it was handed over with.
    """

    state: FloatArray
    time_s: float
    sent: str | None
    seen: Seen | None = None
    used: Used | None = None


class PromptTrace:
    """A sink that compares the prompts of the session's observations with those that the policy gets and uses.

    They are shown side by side when one of them changes. The session ends when they differ.
    """

    name = "prompt trace"
    lossless = True
    required = True

    def __init__(self, every_n: int = 0, *, server: bool = False) -> None:
        """Nothing has been sent yet.

        Args:
            every_n: also show prompts that stay the same, every so many steps; 0 does not.
            server: whether a server makes the actions, which alone knows what it used.
        """
        self._is_due = EveryNSteps(every_n) if every_n else None
        self._server = server
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)
        self._steps: deque[tuple[weakref.ref[FloatArray], float, Seen]] = deque(maxlen=STEPS_KEPT)
        self._shown: tuple[str | None, str | None, Used | None] | None = None
        self._said_unread = False

    def cameras(self, frame: int) -> Collection[str]:
        """None."""
        return ()

    def on(self, event: Event) -> None:
        """Take the prompt of a step.

        Raises:
            PolicyError: it is not the one that the policy was handed.
        """
        with self._lock:
            if isinstance(event, EpisodeStart) and self._is_due is not None:
                self._is_due.reset()
            elif isinstance(event, StepTaken | TerminalObservation):
                self._saw(Seen(event.index, event.observation.prompt), event.observation)

    def sent(self, observation: Observation) -> Request:
        """The policy is handed an observation. Called on the policy's thread, before it infers.

        Raises:
            PolicyError: its prompt is not the one that the session has seen.
        """
        request = Request(observation.state, observation.time_s, observation.prompt)
        with self._lock:
            for state, time_s, seen in reversed(self._steps):
                if state() is request.state and time_s == request.time_s:
                    request.seen = seen
                    self._compare_seen(request)
                    return request
            self._requests.append(request)
        return request

    def answered(self, request: Request, chunk: ActionChunk) -> None:
        """The policy has answered. Called on the policy's thread.

        Raises:
            PolicyError: it used another prompt than it was sent.
        """
        with self._lock:
            request.used = used = Used(chunk.prompt_used, chunk.prompt_source, chunk.prompt_read)
            if used.read is False and not self._said_unread:
                self._said_unread = True
                log.warning("the policy reads no prompt: what you send changes nothing")
            if request.seen is not None:
                self._show(request, request.seen)
            if used.differs_from(request.sent):
                raise PolicyError(self._wrongly_used(request.sent, used))

    def _saw(self, seen: Seen, observation: Observation) -> None:
        for request in self._requests:
            if request.state is observation.state and request.time_s == observation.time_s:
                self._requests.remove(request)
                request.seen = seen
                if request.used is not None:
                    self._show(request, seen)
                self._compare_seen(request)
                return
        self._steps.append((weakref.ref(observation.state), observation.time_s, seen))

    def _compare_seen(self, request: Request) -> None:
        if request.seen is None or request.seen.prompt == request.sent:
            return
        self._show(request, request.seen)
        saw, sent = excerpts(request.seen.prompt, request.sent)
        raise PolicyError(
            f"the prompt was changed on its way to the policy: at step {request.seen.step} the runtime saw {saw}, "
            f"and the policy was sent {sent}; look at what stands between them, such as the executor"
        )

    def _wrongly_used(self, sent: str | None, used: Used) -> str:
        who = "the policy server" if self._server else "the policy"
        was_sent, was_used = excerpts(sent, used.prompt)
        if used.source in ("default_prompt", "checkpoint"):
            was_used += f" (from {used.source})"
        if used.source == "observation":
            advice = "something on the way changes it: find it in the server's log by --prompt_id"
        else:
            advice = "what was sent does not get there: look whether --policy.layout or --policy.mapping carries it"
        return f"{who} used another prompt than was sent: sent {was_sent}, used {was_used}; {advice}"

    def _show(self, request: Request, seen: Seen) -> None:
        """Print the three, if they are new or due."""
        what = (request.sent, seen.prompt, request.used)
        due = self._is_due is not None and self._is_due(seen.step)
        if what == self._shown and not due:
            return
        self._shown = what
        last = "server used" if self._server else "policy used"
        log.info(
            "prompt at step %d\n  client sent  %s\n  runtime saw  %s\n  %s  %s",
            seen.step,
            _quoted(request.sent),
            _quoted(seen.prompt),
            last,
            request.used or "(no answer yet)",
        )


class TracesPrompt(PolicyWrapper):
    """A policy whose requests and answers a `PromptTrace` is told of."""

    def __init__(self, policy: Policy, trace: PromptTrace) -> None:
        super().__init__(policy)
        self._trace = trace

    def infer(self, observation: Observation) -> ActionChunk:
        """The policy's chunk.

        Raises:
            PolicyError: the prompt that it was made with is not the one that was sent, or that one is not
                the session's.
        """
        request = self._trace.sent(observation)
        chunk = super().infer(observation)
        self._trace.answered(request, chunk)
        return chunk


def excerpts(first: str | None, second: str | None) -> tuple[str, str]:
    """Two prompts that differ, quoted, each on one line; of long ones the part where they begin to differ."""
    start = 0
    if first is not None and second is not None and max(len(first), len(second)) > SHOWN_CHARACTERS:
        pairs = enumerate(zip(first, second, strict=False))
        same = next((k for k, (a, b) in pairs if a != b), min(len(first), len(second)))
        start = max(0, same - BEFORE_DIFFERENCE)
    return _excerpt(first, start), _excerpt(second, start)


def _excerpt(prompt: str | None, start: int) -> str:
    if prompt is None:
        return "none"
    stop = start + SHOWN_CHARACTERS
    return repr(("…" if start else "") + prompt[start:stop] + ("…" if stop < len(prompt) else ""))


def _quoted(prompt: str | None) -> str:
    return "(none)" if prompt is None else quoted(prompt, SHOWN_CHARACTERS)
