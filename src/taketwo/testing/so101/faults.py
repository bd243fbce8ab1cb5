"""What can go wrong on a serial line, to be set while it is in use."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class LineFaults:
    """Faults of one bus; every field may be changed at any time.

    Attributes:
        loss: probability that a packet, of either direction, is lost whole.
        corruption: probability that a packet's checksum is wrong when it arrives.
        extra_latency_s: by which every answer is late.
        random: where chance comes from.
    """

    loss: float = 0.0
    corruption: float = 0.0
    extra_latency_s: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(0))

    def arrives(self) -> bool:
        """Whether a packet gets through and is whole: for requests, which nobody answers otherwise."""
        return not self._happens(self.loss) and not self._happens(self.corruption)

    def carry(self, status: bytes) -> bytes:
        """What arrives of a status packet: all, nothing, or all with another checksum."""
        if self._happens(self.loss):
            return b""
        if self._happens(self.corruption):
            return status[:-1] + bytes((status[-1] ^ self.random.randint(1, 255),))
        return status

    def clear(self) -> None:
        """No faults from now on."""
        self.loss = self.corruption = self.extra_latency_s = 0.0

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability
