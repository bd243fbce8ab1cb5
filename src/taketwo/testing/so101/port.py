"""A bus as a serial port: a pseudo-terminal whose other end any program opens by a path that stays the same."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import threading
import time
import tty
from pathlib import Path

from taketwo.testing.so101.bus import Bus
from taketwo.testing.so101.protocol import Framer
from taketwo.testing.so101.urgency import be_urgent

TCGETS2 = 0x802C542A
"""Linux's request for a terminal's settings with the baud rate as a number (`asm-generic/ioctls.h`)."""

TERMIOS2_SIZE, OUTPUT_SPEED_AT = 44, 40
"""Of `struct termios2`, in bytes."""

READ_SIZE = 4096


class SerialPort:
    """A bus plugged into this machine at `path`, a symbolic link to the pseudo-terminal of the moment. Linux only.

    A thread of its own answers. `unplug` is pulling the cable: who has the port open gets the errors of a USB adapter
    that went away (EIO), and nobody can open it; `plug` makes it appear again, at the same path.
    """

    def __init__(self, bus: Bus, path: Path) -> None:
        self.path = path
        self._bus = bus
        self._line: _Line | None = None
        self.plug()

    @property
    def plugged(self) -> bool:
        """Whether it can be opened."""
        return self._line is not None

    def plug(self) -> None:
        """Make the port appear, where it has gone."""
        if self._line is None:
            self._line = _Line(self._bus, f"so101-{self.path.name}")
            self.path.unlink(missing_ok=True)
            self.path.symlink_to(self._line.terminal)

    def unplug(self) -> None:
        """Make the port go away, under whoever has it open."""
        if self._line is not None:
            self.path.unlink(missing_ok=True)
            self._line.close()
            self._line = None


class _Line:
    """One pseudo-terminal, from its opening to its end."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus = bus
        self._framer = Framer()
        self._controller, self._kept_open = os.openpty()
        tty.setraw(self._kept_open)  # before anybody opens it: no echo, no line discipline
        self.terminal = os.ttyname(self._kept_open)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        os.write(self._wake_write, b"x")
        self._thread.join()
        for descriptor in (self._controller, self._kept_open, self._wake_read, self._wake_write):
            os.close(descriptor)

    def _serve(self) -> None:
        be_urgent()
        while True:
            ready, _, _ = select.select([self._controller, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            data = os.read(self._controller, READ_SIZE)
            arrived = time.monotonic()
            for request in self._framer.feed(data):
                answer = self._bus.answer(request, self._baud_rate())
                if answer.data and self._wait_until(arrived + answer.after_s):
                    self._send(answer.data)

    def _wait_until(self, due: float) -> bool:
        """Whether the port is still there at that time."""
        left = due - time.monotonic()
        return left <= 0 or not select.select([self._wake_read], [], [], left)[0]

    def _send(self, data: bytes) -> None:
        """Nobody need be there to read: what does not fit into the terminal's buffer is lost, as on a real line."""
        _, writable, _ = select.select([], [self._controller], [], 0)
        if writable:
            with contextlib.suppress(OSError):
                os.write(self._controller, data)

    def _baud_rate(self) -> int:
        """What the other end has set."""
        settings = bytearray(TERMIOS2_SIZE)
        fcntl.ioctl(self._controller, TCGETS2, settings)
        return int(struct.unpack_from("I", settings, OUTPUT_SPEED_AT)[0])
