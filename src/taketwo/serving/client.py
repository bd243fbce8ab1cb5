"""One client of a server, whatever protocol it speaks: its share of the policy, its prompts, its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from taketwo.errors import PolicyError
from taketwo.policies.prompting import EffectivePrompt, PromptOrigin, effective_prompt
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.hosting import ClientPolicy, PolicyHost
from taketwo.serving.inference import Answer
from taketwo.serving.metrics import Metrics
from taketwo.serving.options import ServerOptions
from taketwo.serving.prompt_log import PromptLog
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, Observation

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

    def __init__(self, number: int, serving: Serving) -> None:
        self.number = number
        self._serving = serving
        self._policy: ClientPolicy | None = None
        self._prompts = PromptLog(number, serving.options.log_every)

    async def begin(self, episode: EpisodeInfo) -> None:
        """Begin an episode.

        Raises:
            Exception: what the policy raises, also while it is made.
        """
        await (await self._own()).reset(episode)
        self.record("reset", index=episode.index, seed=episode.seed)

    async def infer(self, observation: Observation) -> tuple[ActionChunk, Answer]:
        """The policy's chunk, checked, with the prompt that counted; and how it came about.

        Raises:
            PolicyError: the policy gave no usable actions.
            Exception: what the policy raises.
        """
        policy = await self._own()
        prompt = effective_prompt(policy.policy, observation, self._serving.options.default_prompt)
        if prompt.source == "default_prompt":
            observation = replace(observation, prompt=prompt.text)
        answer = await policy.infer(observation)
        chunk = prompt.told_in(answer.chunk)
        _check(chunk, self._serving.environment.spec)
        source = cast(PromptOrigin | None, chunk.prompt_source)
        self._prompts.saw(EffectivePrompt(chunk.prompt_used, source, chunk.prompt_read))
        self._serving.metrics.inferred(answer)
        return chunk, answer

    def record(self, kind: RecordKind, **content: Any) -> None:
        """Record what happened, where anything is recorded."""
        if self._serving.record is not None:
            self._serving.record({"kind": kind, "time": time.time(), "client": self.number, **content})

    async def leave(self) -> None:
        """Give back what it has of the policy."""
        if self._policy is not None:
            await self._policy.leave()

    async def _own(self) -> ClientPolicy:
        if self._policy is None:
            self._policy = await self._serving.host.for_client(self.number)
        return self._policy


def _check(chunk: ActionChunk, spec: EnvironmentSpec) -> None:
    """Raise PolicyError unless a chunk is (H, D) finite numbers, at least one row."""
    shape = np.shape(chunk.actions)
    if len(shape) != 2 or shape[1] != spec.action_dim or not shape[0]:
        raise PolicyError(f"it gave actions of shape {shape}, not (H, {spec.action_dim})")
    if not np.isfinite(chunk.actions).all():
        raise PolicyError("it gave actions with NaN or infinite values")
