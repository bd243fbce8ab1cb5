"""Packets of Feetech's serial bus, as the STS series speaks it ("SCS protocol", version 0).

    instruction:  FF FF  id  length  instruction  parameters...  checksum
    status:       FF FF  id  length  error        parameters...  checksum

`length` counts what follows it. The checksum is the inverted sum of all bytes between header and checksum. Words are
little-endian. Source: Feetech, "Communication Protocol User Manual".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag

HEADER = b"\xff\xff"
BROADCAST_ID = 0xFE
MAX_LENGTH = 250
"""Bytes of a packet that a servo takes in; longer ones are noise."""


class Instruction(IntEnum):
    """What a packet asks of a servo."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    RESET = 0x06
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class ErrorBit(IntFlag):
    """Bits of the error byte of a status packet, and of the `Status` register."""

    VOLTAGE = 0x01
    SENSOR = 0x02
    OVERHEAT = 0x04
    OVERCURRENT = 0x08
    OVERLOAD = 0x20


@dataclass(frozen=True)
class Request:
    """An instruction packet that came whole.

    Attributes:
        id: of the servo it is for, or `BROADCAST_ID`.
        instruction: its number; one that is not in `Instruction` gets no answer.
    """

    id: int
    instruction: int
    parameters: bytes = b""


def checksum(body: bytes) -> int:
    """Of the bytes from the id up to the last parameter."""
    return ~sum(body) & 0xFF


def packet(id_: int, second: int, parameters: bytes = b"") -> bytes:
    """A packet on the line; `second` is the instruction of a request, and the error byte of a status."""
    body = bytes((id_, len(parameters) + 2, second)) + parameters
    return HEADER + body + bytes((checksum(body),))


class Framer:
    """Finds requests in a stream of bytes. What is no packet, or has a wrong checksum, is skipped without a word."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[Request]:
        """The requests that end in these bytes."""
        self._pending += data
        while (frame := self._next_frame()) is not None:
            body = frame[2:-1]
            if checksum(body) == frame[-1]:
                yield Request(body[0], body[2], body[3:])

    def clear(self) -> None:
        """Forget the beginning of a packet."""
        self._pending = b""

    def _next_frame(self) -> bytes | None:
        while True:
            start = self._pending.find(HEADER)
            if start < 0:
                self._pending = self._pending[-1:] if self._pending.endswith(b"\xff") else b""
                return None
            self._pending = self._pending[start:]
            if len(self._pending) < 4:
                return None
            id_, length = self._pending[2:4]
            if id_ == 0xFF or not 2 <= length <= MAX_LENGTH:
                self._pending = self._pending[1:]
                continue
            size = length + 4
            if len(self._pending) < size:
                return None
            frame, self._pending = self._pending[:size], self._pending[size:]
            return frame
