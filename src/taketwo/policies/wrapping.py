"""What policies that stand around another one have in common."""

from __future__ import annotations

from taketwo.policies.base import Policy
from taketwo.types import ActionChunk, EpisodeInfo, Observation


class PolicyWrapper:
    """Forwards every member of `Policy` to another; a subclass replaces those that it changes.

    It has none of the other's capabilities: whoever makes the policy finds them on the policy itself.
    """

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
        """Ask the policy."""
        return self._policy.infer(observation)

    def close(self) -> None:
        """Close the policy."""
        self._policy.close()
