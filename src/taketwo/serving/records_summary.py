"""What a recording holds, client by client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taketwo.serving.records_reader import Record, Run, actions_of, message_of


@dataclass(frozen=True)
class PromptChange:
    """A prompt that was used from a request on.

    Attributes:
        request: of the client, from 1.
        source: `observation`, `default_prompt` or `checkpoint`; None where there is no prompt.
    """

    request: int
    prompt: str | None
    source: str | None


@dataclass
class ClientSummary:
    """What one connection asked.

    Attributes:
        began: Unix seconds of its first record.
        ended: Unix seconds of its last one.
        errors: messages by how often they were sent.
        infer_ms: of each request.
        queue_ms: of each request.
        batch_sizes: of each request.
        prompts: each change once.
        chunks: requests by the shape of their actions.
        pictures: requests by the name and shape of each picture in them.
    """

    number: int
    began: float
    ended: float
    address: str | None = None
    requests: int = 0
    resets: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    infer_ms: list[float] = field(default_factory=list)
    queue_ms: list[float] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    prompts: list[PromptChange] = field(default_factory=list)
    chunks: Counter[tuple[int, ...]] = field(default_factory=Counter)
    pictures: Counter[tuple[str, tuple[int, ...]]] = field(default_factory=Counter)

    def take(self, record: Record) -> None:
        """Count one of its records."""
        self.ended = record["time"]
        self.address = record.get("address", self.address)
        match record["kind"]:
            case "reset":
                self.resets += 1
            case "error":
                self.errors[record["message"]] += 1
            case "inference":
                self._take_inference(record)

    def _take_inference(self, record: Record) -> None:
        self.requests += 1
        self.infer_ms.append(record["infer_ms"])
        self.queue_ms.append(record["queue_ms"])
        self.batch_sizes.append(record["batch_size"])
        prompt, source = record.get("prompt_used"), record.get("prompt_source")
        last = self.prompts[-1] if self.prompts else None
        if last is None or (last.prompt, last.source) != (prompt, source):
            self.prompts.append(PromptChange(self.requests, prompt, source))
        self.chunks[actions_of(record).shape] += 1
        self.pictures.update(pictures_in(message_of(record, "request")))


@dataclass
class RunSummary:
    """What one server recorded.

    Attributes:
        header: its record of kind `server`.
        clients: in the order in which they came.
        dropped: records that are missing, since they came faster than they could be written.
    """

    header: Record
    clients: list[ClientSummary]
    dropped: int = 0


def summarize(run: Run, client: int | None = None) -> RunSummary:
    """Read a run to its end.

    Args:
        client: only this one.

    Raises:
        RecordsError: a record is damaged.
    """
    clients: dict[int, ClientSummary] = {}
    dropped = 0
    for record in run.records:
        if record["kind"] == "dropped":
            dropped += record["count"]
        number = record.get("client")
        if isinstance(number, int) and client in (None, number):
            if number not in clients:
                clients[number] = ClientSummary(number, record["time"], record["time"])
            clients[number].take(record)
    return RunSummary(run.header, list(clients.values()), dropped)


DEEPEST = 8
"""Maps in maps of a request that are looked into; a hostile one can have a thousand."""


def pictures_in(message: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each picture in a request; keys inside keys are joined by dots.

    Maps that are deeper than `DEEPEST` hold no pictures that anybody means.
    """
    maps = [("", message, 1)]
    while maps:
        place, inside, depth = maps.pop()
        if not isinstance(inside, Mapping) or depth > DEEPEST:
            continue
        for key, value in inside.items():
            name = f"{place}{key}"
            if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3:
                yield name, value.shape
            else:
                maps.append((f"{name}.", value, depth + 1))
