"""The newest JPEG of each camera, made once, whoever looks."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Collection, Sequence
from functools import cached_property

BOUNDARY = "frame"

STALE_S = 1.0
"""Session time that may have passed since a picture for it to be shown to who comes anew."""


class Frame:
    """One picture of one camera, in the forms in which it is sent.

    Attributes:
        number: session-wide number of the frame.
        time_s: session time, number / control rate.
        jpeg: the file.
    """

    def __init__(self, camera: str, number: int, time_s: float, jpeg: bytes) -> None:
        self.camera = camera
        self.number = number
        self.time_s = time_s
        self.jpeg = jpeg

    @cached_property
    def part(self) -> bytes:
        """A part of a multipart stream, with the boundary that follows it, since browsers wait for that to show it."""
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(self.jpeg)}\r\n\r\n"
        return b"".join((head.encode(), self.jpeg, f"\r\n--{BOUNDARY}\r\n".encode()))

    @cached_property
    def message(self) -> bytes:
        """A binary message: length of the header (4 bytes, big-endian), the header as JSON, the file."""
        header = json.dumps({"camera": self.camera, "frame": self.number, "time": self.time_s}).encode()
        return b"".join((struct.pack(">I", len(header)), header, self.jpeg))


class Frames:
    """Filled on the sink's thread, read on the server's."""

    def __init__(self) -> None:
        self._newest: dict[str, Frame] = {}
        self._encoded: dict[str, int] = {}
        self._cameras: tuple[str, ...] | None = None
        self._shown = 0
        self._stale_frames = 0.0
        self._put_at = 0.0
        self._putting = threading.Lock()

    @property
    def cameras(self) -> tuple[str, ...] | None:
        """The session's cameras; None before it has begun."""
        return self._cameras

    @property
    def encoded(self) -> dict[str, int]:
        """Pictures made of each camera so far."""
        return dict(self._encoded)

    def begin(self, cameras: Collection[str], control_hz: float) -> None:
        """The session begins."""
        self._encoded = dict.fromkeys(cameras, 0)
        self._stale_frames = STALE_S * control_hz
        self._cameras = tuple(cameras)

    def shows(self, number: int) -> None:
        """The session shows the frame of this number, whether or not there will be a picture of it."""
        self._shown = number

    def put(self, frames: Sequence[Frame]) -> None:
        """New pictures."""
        with self._putting:
            for frame in frames:
                self._newest[frame.camera] = frame
                self._encoded[frame.camera] += 1
            self._put_at = time.monotonic()

    def fresh(self, camera: str) -> Frame | None:
        """The newest picture, unless the session has moved on by more than `STALE_S` since."""
        frame = self._newest.get(camera)
        return None if frame is None or frame.number < self._shown - self._stale_frames else frame

    def number(self, camera: str) -> int | None:
        """Which frame the newest picture is of; None where there is none."""
        frame = self._newest.get(camera)
        return None if frame is None else frame.number

    def repeat_after(self, silence_s: float) -> None:
        """Have the newest pictures sent once more if none has come for so long.

        While a session is paused its streams would be silent, which OpenCV takes for a broken connection after 30 s.
        """
        now = time.monotonic()
        if now - self._put_at < silence_s:
            return
        with self._putting:
            self._put_at = now
            for camera, frame in self._newest.items():
                self._newest[camera] = Frame(camera, frame.number, frame.time_s, frame.jpeg)
