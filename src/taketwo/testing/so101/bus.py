"""Servos on one half-duplex line: which of them answer a request, with what, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from taketwo.testing.so101.faults import LineFaults
from taketwo.testing.so101.protocol import BROADCAST_ID, MAX_LENGTH, Instruction, Request, packet
from taketwo.testing.so101.servo import Servo

BITS_OF_A_BYTE = 10
"""On the line: a start bit, eight, and a stop bit."""

MOST_DATA = MAX_LENGTH - 2
"""Bytes that an answer has room for; a servo that is asked for more says nothing."""

OVERHEAD = 6
"""Bytes of a packet besides its parameters."""


@dataclass(frozen=True)
class Timing:
    """How long the line takes.

    Attributes:
        line_speed: whether bytes take the time that they take at the line's baud rate, and answers their return delay.
        latency_s: of the USB adapter, for each answer.
    """

    line_speed: bool = True
    latency_s: float = 0.001


@dataclass(frozen=True)
class Answer:
    """What comes back for one request.

    Attributes:
        data: status packets, one after the other; empty where nobody answers.
        after_s: seconds from the request's arrival until all of it is there.
    """

    data: bytes
    after_s: float


class Bus:
    """A chain of servos. May be used from several threads."""

    def __init__(self, servos: Iterable[Servo], faults: LineFaults | None = None, timing: Timing | None = None) -> None:
        self.servos = tuple(servos)
        self.faults = faults or LineFaults()
        self.timing = timing or Timing()
        self.lock = threading.RLock()
        """Held while a servo is looked at or changed."""

    def answer(self, request: Request, baud_rate: int) -> Answer:
        """Let the servos that listen at this baud rate act on a request, in the order of their ids."""
        statuses: list[bytes] = []
        delay_s = (OVERHEAD + len(request.parameters)) * self._byte_s(baud_rate)
        with self.lock:
            if not self.faults.arrives():
                return Answer(b"", 0.0)
            react = _REACTIONS.get(request.instruction, _ignore)
            for servo in self._listening(baud_rate):
                data = react(servo, request)
                if data is not None:
                    status = packet(_answers_as(servo, request), int(servo.errors), data)
                    delay_s += len(status) * self._byte_s(baud_rate)
                    delay_s += servo.return_delay_s if self.timing.line_speed else 0.0
                    statuses.append(self.faults.carry(status))
        return Answer(b"".join(statuses), delay_s + self.timing.latency_s + self.faults.extra_latency_s)

    def _byte_s(self, baud_rate: int) -> float:
        return BITS_OF_A_BYTE / baud_rate if self.timing.line_speed else 0.0

    def _listening(self, baud_rate: int) -> Sequence[Servo]:
        heard = [s for s in self.servos if not s.silent and s.baud_rate == baud_rate]
        return sorted(heard, key=lambda servo: servo.id)


def _answers_as(servo: Servo, request: Request) -> int:
    """The id in an answer: the one that was asked for, even where the request has just changed it."""
    return servo.id if request.id == BROADCAST_ID else request.id


def _ignore(servo: Servo, request: Request) -> bytes | None:
    """What a servo does that does not know an instruction, or is not meant: None stands for no answer."""
    return None


def _ping(servo: Servo, request: Request) -> bytes | None:
    return b"" if request.id in (servo.id, BROADCAST_ID) else None


def _read(servo: Servo, request: Request) -> bytes | None:
    if request.id != servo.id or len(request.parameters) != 2:
        return None
    return _memory(servo, *request.parameters)


def _sync_read(servo: Servo, request: Request) -> bytes | None:
    if request.id != BROADCAST_ID or servo.id not in request.parameters[2:]:
        return None
    return _memory(servo, *request.parameters[:2])


def _memory(servo: Servo, address: int, size: int) -> bytes | None:
    return servo.read(address, size) if size <= MOST_DATA else None


def _sync_write(servo: Servo, request: Request) -> None:
    if request.id != BROADCAST_ID or len(request.parameters) < 2:
        return
    address, size = request.parameters[:2]
    entries = request.parameters[2:]
    for start in range(0, len(entries), size + 1):
        if entries[start] == servo.id and start + size < len(entries):
            servo.write(address, entries[start + 1 : start + 1 + size])


def _acknowledged(act: Callable[[Servo, bytes], None], least: int) -> Callable[[Servo, Request], bytes | None]:
    """An instruction that one servo, or all, obey; one that was asked by its id says so, unless told to be quiet."""

    def react(servo: Servo, request: Request) -> bytes | None:
        if request.id not in (servo.id, BROADCAST_ID) or len(request.parameters) < least:
            return None
        act(servo, request.parameters)
        return b"" if request.id != BROADCAST_ID and servo["Response_Status_Level"] else None

    return react


_REACTIONS: dict[int, Callable[[Servo, Request], bytes | None]] = {
    Instruction.PING: _ping,
    Instruction.READ: _read,
    Instruction.WRITE: _acknowledged(lambda servo, data: servo.write(data[0], data[1:]), 2),
    Instruction.REG_WRITE: _acknowledged(lambda servo, data: servo.reg_write(data[0], data[1:]), 2),
    Instruction.ACTION: _acknowledged(lambda servo, data: servo.action(), 0),
    Instruction.RESET: _acknowledged(lambda servo, data: servo.reset(), 0),
    Instruction.SYNC_READ: _sync_read,
    Instruction.SYNC_WRITE: _sync_write,
}
