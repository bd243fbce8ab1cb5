"""What a policy is."""

from __future__ import annotations

from typing import Protocol

from taketwo.registry import Registry
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, Observation

POLICIES = Registry(
    "policy",
    "taketwo.policies",
    {
        "scripted": "taketwo.policies.scripted:ScriptedConfig",
        "remote": "taketwo.policies.remote:RemoteConfig",
        "noop": "taketwo.policies.noop:NoopConfig",
        "random": "taketwo.policies.random:RandomConfig",
    },
)


class Policy(Protocol):
    """Chooses actions. Wrappers forward every member, `reset` and `close` included."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pixels it looks at; nothing else is rendered for it."""
        ...

    def reset(self, episode: EpisodeInfo) -> None:
        """Forget the last episode. Randomness of the new one comes from `episode.seed` alone."""
        ...

    def infer(self, observation: Observation) -> ActionChunk:
        """The next actions, (H, D), the first for this very observation.

        Raises:
            PolicyError: there is no answer.
        """
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice.

        May be called from another thread while `infer` or `reset` runs. Where the policy can, it then ends
        that call with a PolicyError; otherwise that call must still be able to finish.
        """
        ...


class PolicyConfig(Protocol):
    """The options of a policy, which build it."""

    def make(self, spec: EnvironmentSpec) -> Policy:
        """Build it for an environment.

        Raises:
            ConfigError: an option does not fit, or not with this environment.
            MissingExtraError: its library is not installed.
            PolicyError: it cannot be reached.
        """
        ...
