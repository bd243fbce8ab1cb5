"""How a server treats its clients."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServerOptions:
    """What holds for all clients of a server.

    Attributes:
        api_key: what clients must give as `Authorization: Api-Key ...`; None for none.
        default_prompt: for observations without one.
        max_clients: connections at a time.
        max_request_bytes: a longer message is refused.
        log_every: requests of a client between two lines that tell its prompt; 0 tells only changes.
    """

    api_key: str | None = field(default=None, repr=False)
    default_prompt: str | None = None
    max_clients: int = 256
    max_request_bytes: int = 64_000_000
    log_every: int = 500
