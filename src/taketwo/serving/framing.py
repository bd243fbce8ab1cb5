"""The bytes of a websocket, read without the copies that a general parser makes.

`websockets` collects what arrives, cuts frames out of it and unmasks them, each of which copies the whole message. With
a camera's picture in it that is more work than all else that a server does with a request. Here the payload of a whole
binary message is received into one buffer and unmasked out of it (RFC 6455, sections 5.2 and 5.3). Whatever else comes,
such as text, fragments, control frames and what breaks the protocol, goes to `websockets` byte by byte as it came.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from websockets.speedups import apply_mask

BINARY_MESSAGE = 0x82
"""First byte of a frame that is a whole binary message: FIN, and opcode 2."""

MASKED = 0x80

LENGTH_BYTES = {126: 2, 127: 8}
"""How many bytes tell the length, by the seven bits that stand for it; for others these bits are the length."""

AHEAD_BYTES = 65_536
"""What is received before it is known what it is."""

KEPT_BYTES = 4_000_000
"""A longer payload's buffer is not kept for the next one."""


class Receiver(Protocol):
    """Who takes what was read."""

    def take_message(self, message: bytes) -> None:
        """A whole binary message."""
        ...

    def data_received(self, data: bytes) -> None:
        """Anything else, as it came."""
        ...

    def eof_received(self) -> None:
        """The client sends nothing more."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        ...

    def pause_writing(self) -> None:
        """The client takes nothing for now."""
        ...

    def resume_writing(self) -> None:
        """It does again."""
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of a frame.

    Attributes:
        size: its own bytes.
        length: bytes of payload.
        mask: four bytes; none where the payload is not masked, which no client may do.
    """

    first: int
    size: int
    length: int
    mask: bytes

    @classmethod
    def read(cls, data: memoryview) -> Header | None:
        """The header that some bytes begin with; None where it is not whole yet."""
        if len(data) < 2:
            return None
        short, mask_bytes = data[1] & 0x7F, 4 if data[1] & MASKED else 0
        told = 2 + LENGTH_BYTES.get(short, 0)
        if len(data) < told + mask_bytes:
            return None
        length = int.from_bytes(data[2:told], "big") if told > 2 else short
        return cls(data[0], told + mask_bytes, length, bytes(data[told : told + mask_bytes]))


class FrameReader(asyncio.BufferedProtocol):
    """Takes over from `websockets` at the boundary of a frame."""

    def __init__(self, receiver: Receiver, longest: int) -> None:
        """Begin with the first byte of a frame.

        Args:
            longest: a longer payload goes to `websockets`, which knows what to do with it.
        """
        self._receiver = receiver
        self._longest = longest
        self._ahead = memoryview(bytearray(AHEAD_BYTES))
        self._start = self._end = 0  # what of `_ahead` is still to be looked at
        self._payload = memoryview(bytearray())
        self._message: Header | None = None  # the one whose payload is being received
        self._missing = 0  # of its payload
        self._passing = 0  # bytes of a frame that are not for us, still to come

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: straight into the payload, once its length is known."""
        if self._message is not None:
            length = self._message.length
            return self._payload[length - self._missing : length]
        return self._ahead[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        if self._message is not None:
            self._missing -= nbytes
            self._finish()
            return
        self._end += nbytes
        while self._start < self._end and self._look():
            pass
        self._make_room()

    def eof_received(self) -> None:
        """The client sends nothing more."""
        self._receiver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes nothing for now."""
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._receiver.resume_writing()

    def _look(self) -> bool:
        """Take a piece of what has come; whether more of it can be taken."""
        if self._passing:
            self._pass_on()
            return True
        header = Header.read(self._ahead[self._start : self._end])
        if header is None:
            return False
        if header.first != BINARY_MESSAGE or not header.mask or not 0 < header.length <= self._longest:
            self._passing = header.size + header.length
            return True
        self._begin(header)
        return self._message is None

    def _pass_on(self) -> None:
        stop = min(self._start + self._passing, self._end)
        data = bytes(self._ahead[self._start : stop])
        self._passing -= len(data)
        self._start = stop
        self._receiver.data_received(data)

    def _begin(self, header: Header) -> None:
        """Receive a message's payload, of which the beginning is here."""
        if len(self._payload) < header.length:
            self._payload = memoryview(bytearray(header.length))
        begins = self._start + header.size
        here = min(header.length, self._end - begins)
        self._payload[:here] = self._ahead[begins : begins + here]
        self._start = begins + here
        self._message, self._missing = header, header.length - here
        self._finish()

    def _finish(self) -> None:
        if self._missing or self._message is None:
            return
        header, self._message = self._message, None
        message = apply_mask(self._payload[: header.length], header.mask)
        if len(self._payload) > KEPT_BYTES:
            self._payload = memoryview(bytearray())
        self._receiver.take_message(message)

    def _make_room(self) -> None:
        """Move the beginning of a header, which is all that can be left over, to the front."""
        rest = bytes(self._ahead[self._start : self._end])
        self._ahead[: len(rest)] = rest
        self._start, self._end = 0, len(rest)
