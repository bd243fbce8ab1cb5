"""What a server speaks: protocols by name, and what one of them is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from taketwo.registry import Registry

if TYPE_CHECKING:
    from taketwo.serving.client import ServedClient, Serving

PROTOCOLS = Registry(
    "protocol",
    "taketwo.protocols",
    {"openpi": "taketwo.serving.openpi:OpenpiProtocol", "vla_eval": "taketwo.serving.vla_eval:VlaEvalProtocol"},
)


Outcome = Literal["answered", "reset", "request_error", "policy_error"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a message is answered by.

    Attributes:
        data: the message to send; None where there is nothing to say.
        outcome: what became of the message: an error is the request's fault or the policy's.
        afterwards: called on the event loop when the reply has been sent, for what can wait.
    """

    data: bytes | str | None
    outcome: Outcome = "answered"
    afterwards: Callable[[], None] = lambda: None


class Conversation(Protocol):
    """One client's connection, one message after the other."""

    @property
    def greeting(self) -> bytes | None:
        """What the server says first, if it does."""
        ...

    def answer(self, message: bytes | str, reply: Callable[[Reply], None]) -> None:
        """Answer a message, on the event loop, without waiting for the policy. Never fails, whatever the message is.

        Args:
            reply: to be called once, from any thread. The next message comes after that.
        """
        ...


class ServerProtocol(Protocol):
    """The options of a protocol, which make conversations."""

    def make(self, serving: Serving) -> Callable[[ServedClient], Conversation]:
        """What begins a conversation with a client.

        Raises:
            ConfigError: an option does not fit the environment or the policy.
        """
        ...
