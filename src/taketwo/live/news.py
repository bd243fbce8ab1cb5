"""What goes to all who are told of a session: made once, whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Any

import msgspec

from taketwo.live.samples import columns
from taketwo.live.state import LiveState

STATE_EVERY_S = 0.25
"""How often the state is told while nothing but the time changes."""

STATE_BYTES_S = 100_000
"""Bytes a second that this may take of a viewer's connection; after hundreds of episodes it is told less often."""

BATCH_EVERY_S = 0.09
"""How often samples are told; a little less than the viewers' tick, so that each tick has some."""

BATCHES_KEPT = 8
"""Batches of samples that are kept encoded, for those who are a little behind."""


@dataclass
class Told:
    """What one listener has been told already.

    Attributes:
        version: of the state.
        samples: number of samples.
        interventions: number of interventions.
    """

    version: int = 0
    samples: int = 0
    interventions: int = 0


class News:
    """The state, the new samples and the interventions as messages. Belongs to the server's event loop."""

    def __init__(self, state: LiveState, describe: Callable[[], dict[str, Any]]) -> None:
        """Nothing has been told.

        Args:
            describe: gives the whole of `/api/state`.
        """
        self._state = state
        self._describe = describe
        self._version = 0
        self._message = ""
        self._noticed: tuple[object, ...] = ()
        self._due = 0.0
        self._samples = 0
        self._batch_due = 0.0
        self._batch = lru_cache(maxsize=BATCHES_KEPT)(self._encode_batch)

    def refresh(self) -> None:
        """Look at what has changed."""
        now = monotonic()
        noticed = (self._state.changes, *self._state.wanted())
        if noticed != self._noticed or now >= self._due:
            self._noticed = noticed
            self._message = msgspec.json.encode({"type": "state", **self._describe()}).decode()
            self._version += 1
            self._due = now + max(STATE_EVERY_S, len(self._message) / STATE_BYTES_S)
        if now >= self._batch_due:
            self._batch_due = now + BATCH_EVERY_S
            self._samples = self._state.samples.count

    def for_listener(self, told: Told) -> Iterator[str]:
        """The messages that a listener lacks; `told` is brought up to date message by message."""
        if told.version != self._version:
            told.version = self._version
            yield self._message
        if told.samples != self._samples:
            begin, told.samples = told.samples, self._samples
            yield self._batch(begin, self._samples)
        count = self._state.interventions_count
        if told.interventions != count:
            new = self._state.interventions_since(told.interventions)
            told.interventions = count
            for message in new:
                yield msgspec.json.encode(message).decode()

    def _encode_batch(self, begin: int, end: int) -> str:
        return msgspec.json.encode(columns(self._state.sample_range(begin, end))).decode()
