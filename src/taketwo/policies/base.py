"""What a policy is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

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
        "replay": "taketwo.policies.replay:ReplayConfig",
        "lerobot": "taketwo.policies.lerobot:LeRobotConfig",
        "openvla": "taketwo.policies.openvla:OpenVLAConfig",
        "openvla_rest": "taketwo.policies.openvla_rest:OpenVLARestConfig",
        "openpi": "taketwo.policies.openpi:OpenpiConfig",
        "vla_eval": "taketwo.policies.vla_eval:VlaEvalConfig",
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


@runtime_checkable
class ReadsPrompt(Protocol):
    """Capability: the instruction decides what it does. A policy without it does the same whatever it is told."""

    @property
    def own_prompt(self) -> str | None:
        """The instruction that it follows where an observation has none, such as its checkpoint's."""
        ...


@runtime_checkable
class InfersBatches(Protocol):
    """Capability: keeps no state between requests, so that a server's clients share it, in one forward pass."""

    def infer_batch(self, observations: Sequence[Observation]) -> Sequence[ActionChunk]:
        """The chunk for each observation, in their order.

        Raises:
            PolicyError: there is no answer to one of them.
        """
        ...


@runtime_checkable
class SharesWeights(Protocol):
    """Capability: gives each client of a server a state of its own over weights that are loaded once."""

    def for_client(self) -> Policy:
        """A policy that has begun no episode. Closing it leaves the weights, and the others, alone."""
        ...


@runtime_checkable
class NeedsExtras(Protocol):
    """Capability: looks at more than state, pictures and prompt."""

    @property
    def extras(self) -> tuple[str, ...]:
        """The entries of `Observation.extras` that it looks at."""
        ...


@runtime_checkable
class RelaysPrompt(Protocol):
    """Capability: hands the instruction on to another, and knows of what becomes of it only what that one tells."""

    @property
    def relays_prompt_to(self) -> str:
        """Who that is, as messages call it, such as a server's address."""
        ...


@runtime_checkable
class HasMetadata(Protocol):
    """Capability: has something to tell the clients of a server, such as openpi's `reset_pose`."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What openpi's server sends to a client that connects; maps, lists, numbers, text and arrays."""
        ...


@runtime_checkable
class ReportsOutages(Protocol):
    """Capability: asks somebody who may be away for a while."""

    @property
    def outages_s(self) -> tuple[float, ...]:
        """How long there was nobody to ask, in seconds, each time."""
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
