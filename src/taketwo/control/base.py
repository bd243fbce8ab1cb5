"""What stands between policy and environment, in small parts."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from taketwo.types import EpisodeInfo, FloatArray, Observation


class PlannedAction(NamedTuple):
    """One action out of a chunk: (D,), the prompt its chunk was made with, and whether that was read, where known."""

    action: FloatArray
    prompt_used: str | None
    prompt_read: bool | None = None


class Executor(Protocol):
    """Turns a policy's chunks into one action a step."""

    @property
    def stalls(self) -> int:
        """How often a step had to wait because no action was ready in time."""
        ...

    def reset(self, episode: EpisodeInfo) -> None:
        """Reset the policy and forget every buffered action."""
        ...

    @property
    def asks(self) -> bool:
        """Whether `next_action` would ask the policy about its observation, and wait for the answer."""
        ...

    def next_action(self, observation: Observation) -> PlannedAction:
        """The action for this step."""
        ...

    def close(self) -> None:
        """Stop background work and close the policy."""
        ...


class ActionFilter(Protocol):
    """Changes single actions that are about to be sent. Pure but for its own memory; float64 in and out."""

    def reset(self, initial: FloatArray) -> None:
        """Begin an episode from the measured state, (D,), so that the first action cannot jump."""
        ...

    def __call__(self, action: FloatArray, observation: Observation) -> FloatArray:
        """The filtered action, (D,), a new array."""
        ...
