"""One client of a server, whatever protocol it speaks: its share of the policy, its prompts, its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from taketwo.errors import PolicyError
from taketwo.policies.checking import checked_actions
from taketwo.policies.prompting import EffectivePrompt, PromptOrigin, PromptRule
from taketwo.serving.asking import prompted
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.hosting import ClientPolicy, PolicyHost, from_thread
from taketwo.serving.inference import Answer
from taketwo.serving.metrics import Metrics
from taketwo.serving.options import ServerOptions
from taketwo.serving.prompt_log import PromptLog
from taketwo.types import ActionChunk, EpisodeInfo, Observation

Done = Callable[[ActionChunk, Answer], None]

RecordKind = Literal["connected", "disconnected", "reset", "inference", "error"]


@dataclass(frozen=True)
class Serving:
    """What all clients of a server have in common.

    Attributes:
        record: takes a record of whatever happens, and must not block; None where nothing is recorded.
    """

    environment: ServedEnvironment
    host: PolicyHost
    metrics: Metrics
    options: ServerOptions
    record: Callable[[Mapping[str, Any]], None] | None


class ServedClient:
    """A client, numbered from 1 on."""

    _prompt: PromptRule  # from its first episode on

    def __init__(self, number: int, serving: Serving) -> None:
        self.number = number
        self._serving = serving
        self._policy: ClientPolicy | None = None
        self._gone = False
        self._prompts = PromptLog(number, serving.options.log_every)

    async def begin(self, episode: EpisodeInfo) -> None:
        """Begin an episode.

        Raises:
            Exception: what the policy raises, also while it is made.
        """
        await (await self._own()).reset(episode)
        self.record("reset", index=episode.index, seed=episode.seed)

    @property
    def gone(self) -> bool:
        """Whether it has left."""
        return self._gone

    @property
    def begun(self) -> bool:
        """Whether it has begun an episode, so that it may ask."""
        return self._policy is not None

    def infer(self, observation: Observation, done: Done, failed: Callable[[Exception], None]) -> None:
        """Ask the policy, once an episode has begun; one of the two is called, on the policy's thread.

        Args:
            done: gets the chunk, checked, with the prompt that counted; and how it came about.
            failed: gets what the policy or `done` raised, or a PolicyError for actions that cannot be used; nobody
                is told when the client has gone meanwhile.
        """
        assert self._policy is not None
        observation, prompt = prompted(self._prompt, observation)

        def finish(answer: Answer) -> None:
            try:
                actions = checked_actions(answer.chunk, self._serving.environment.spec)
                done(prompt.told_in(answer.chunk, actions), answer)
            except Exception as error:  # noqa: BLE001 - a policy may give anything
                failed(error)

        self._policy.infer(observation, finish, lambda error: None if self._gone else failed(error))

    async def inferred(self, observation: Observation) -> tuple[ActionChunk, Answer]:
        """The same, for who can wait.

        Raises:
            Exception: what `failed` would get.
        """
        both: tuple[ActionChunk, Answer] = await from_thread(
            lambda done, failed: self.infer(observation, lambda chunk, answer: done((chunk, answer)), failed)
        )
        return both

    def note(self, chunk: ActionChunk, answer: Answer) -> None:
        """Tell log and metrics of an answer; on the event loop."""
        source = cast(PromptOrigin | None, chunk.prompt_source)
        self._prompts.saw(EffectivePrompt(chunk.prompt_used, source, chunk.prompt_read))
        self._serving.metrics.inferred(answer)

    def record(self, kind: RecordKind, **content: Any) -> None:
        """Record what happened, where anything is recorded."""
        if self._serving.record is not None:
            self._serving.record({"kind": kind, "time": time.time(), "client": self.number, **content})

    async def leave(self) -> None:
        """Give back what it has of the policy; it gets nothing more."""
        self._gone = True
        if self._policy is not None:
            await self._policy.leave()

    async def _own(self) -> ClientPolicy:
        if self._gone:
            raise PolicyError(f"client {self.number} has gone")
        if self._policy is None:
            policy = await self._serving.host.for_client(self.number)
            if self.gone:  # while it was made
                await policy.leave()
                raise PolicyError(f"client {self.number} has gone")
            self._policy = policy
            self._prompt = PromptRule(self._policy.policy, self._serving.options.default_prompt)
        return self._policy
