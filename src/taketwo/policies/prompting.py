"""Which instruction a policy acts on, and saying so.

An observation's own prompt comes first, then the default one of whoever runs the policy, then the checkpoint's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from taketwo.policies.base import Policy, ReadsPrompt, RelaysPrompt
from taketwo.policies.wrapping import PolicyWrapper
from taketwo.types import ActionChunk, FloatArray, Observation

PromptOrigin = Literal["observation", "default_prompt", "checkpoint"]


@dataclass(frozen=True, slots=True)
class EffectivePrompt:
    """The instruction that a policy is to act on.

    Attributes:
        text: the instruction; None where there is none.
        source: where it came from; None where there is none.
        read: whether the policy reads instructions at all; None where nobody here knows.
        relayed: whether the policy hands it on to another, so that only that one can tell what became of it.
    """

    text: str | None
    source: PromptOrigin | None
    read: bool | None = None
    relayed: bool = False

    def told_in(self, chunk: ActionChunk, actions: FloatArray | None = None) -> ActionChunk:
        """The chunk, telling this prompt; what the policy itself said of it is left as it is.

        Args:
            actions: (H, D), in place of the chunk's own.
        """
        told = self.relayed or chunk.prompt_source is not None or chunk.prompt_used is not None
        if told and actions is None:
            return chunk
        return ActionChunk(
            actions=chunk.actions if actions is None else actions,
            embedding=chunk.embedding,
            prompt_used=chunk.prompt_used if told else self.text,
            prompt_source=chunk.prompt_source if told else self.source,
            prompt_read=chunk.prompt_read if told else self.read,
            timings_ms=chunk.timings_ms,
        )


class PromptRule:
    """Tells the instruction that a policy will act on."""

    def __init__(self, policy: Policy, default_prompt: str | None = None) -> None:
        """What does not change is looked at once: a server asks for every request.

        Args:
            default_prompt: for observations without one.
        """
        self._default = default_prompt
        self._reader = policy if isinstance(policy, ReadsPrompt) else None
        self._read = reads_prompt(policy)
        self._relayed = isinstance(policy, RelaysPrompt)

    def __call__(self, observation: Observation) -> EffectivePrompt:
        """The instruction that counts for this observation."""
        if observation.prompt is not None:
            return EffectivePrompt(observation.prompt, "observation", self._read, self._relayed)
        if self._default is not None:
            return EffectivePrompt(self._default, "default_prompt", self._read, self._relayed)
        if self._reader is not None and (own := self._reader.own_prompt) is not None:
            return EffectivePrompt(own, "checkpoint", self._read, self._relayed)
        return EffectivePrompt(None, None, self._read, self._relayed)


def reads_prompt(policy: Policy) -> bool | None:
    """Whether the policy reads instructions; None for one that hands them on to another."""
    return None if isinstance(policy, RelaysPrompt) else isinstance(policy, ReadsPrompt)


class TellsPrompt(PolicyWrapper):
    """A policy whose chunks say which prompt they were made with; for one that relays it, what the other told."""

    def __init__(self, policy: Policy, made: Policy | None = None) -> None:
        """Stand around a policy.

        Args:
            made: the policy as it was made, where others stand between: they have none of its capabilities.
        """
        super().__init__(policy)
        self._prompt = PromptRule(policy if made is None else made)

    def infer(self, observation: Observation) -> ActionChunk:
        """The policy's chunk, with its prompt and where that came from."""
        return self._prompt(observation).told_in(super().infer(observation))
