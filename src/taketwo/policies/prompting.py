"""Which instruction a policy acts on, and saying so.

An observation's own prompt comes first, then the default one of whoever runs the policy, then the checkpoint's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from taketwo.policies.base import Policy, ReadsPrompt
from taketwo.types import ActionChunk, EpisodeInfo, Observation

PromptOrigin = Literal["observation", "default_prompt", "checkpoint"]


@dataclass(frozen=True, slots=True)
class EffectivePrompt:
    """The instruction that a policy is to act on.

    Attributes:
        text: the instruction; None where there is none.
        source: where it came from; None where there is none.
        read: whether the policy reads instructions at all; None where it does not tell.
    """

    text: str | None
    source: PromptOrigin | None
    read: bool | None = None

    def told_in(self, chunk: ActionChunk) -> ActionChunk:
        """The chunk, telling this prompt; what the policy itself said of it is left as it is."""
        if chunk.prompt_source is not None or chunk.prompt_used is not None:
            return chunk
        return replace(chunk, prompt_used=self.text, prompt_source=self.source, prompt_read=self.read)


def effective_prompt(policy: Policy, observation: Observation, default_prompt: str | None = None) -> EffectivePrompt:
    """The instruction that the policy will act on when it gets this observation and this default."""
    read = isinstance(policy, ReadsPrompt)
    if observation.prompt is not None:
        return EffectivePrompt(observation.prompt, "observation", read)
    if default_prompt is not None:
        return EffectivePrompt(default_prompt, "default_prompt", read)
    if isinstance(policy, ReadsPrompt) and policy.own_prompt is not None:
        return EffectivePrompt(policy.own_prompt, "checkpoint", read)
    return EffectivePrompt(None, None, read)


class TellsPrompt:
    """A policy whose chunks say which prompt they were made with. A remote one's server says so itself."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pixels the policy looks at."""
        return self._policy.cameras

    def reset(self, episode: EpisodeInfo) -> None:
        """Reset the policy."""
        self._policy.reset(episode)

    def infer(self, observation: Observation) -> ActionChunk:
        """The policy's chunk, with its prompt and where that came from."""
        prompt = effective_prompt(self._policy, observation)
        return prompt.told_in(self._policy.infer(observation))

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()
