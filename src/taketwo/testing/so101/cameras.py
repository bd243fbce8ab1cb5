"""The rig's cameras: drawn on one thread, sent to whoever connects, over a Unix socket.

A client sends one line of JSON and gets one back; then, if it asked for a camera, frames until either end hangs up.

    {"camera": "front", "width": 640, "height": 480, "fps": 30}  ->  {"width": 640, "height": 480, "fps": 30}
    {}                                                           ->  {"cameras": ["front", "top", "wrist"]}
    anything wrong                                               ->  {"error": "..."}

A frame is `FRAME_HEADER` (number, width, height, seconds of CLOCK_MONOTONIC when it was taken) and RGB pixels, row by
row. Like a real camera's, frames that the client is too slow for are gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.mujoco_rendering import MujocoRenderer, Quality
from taketwo.errors import one_of
from taketwo.testing.so101.rig_time import RigTime
from taketwo.testing.so101.scene import CAMERAS, xml

log = logging.getLogger(__name__)

FRAME_HEADER = struct.Struct("<QIId")

LONGEST_LINE = 4096
PATIENCE_S = 10.0
"""For a client that connects and asks nothing."""

MOST_PIXELS = 1920 * 1080
MOST_FPS = 240


@dataclass
class CameraFaults:
    """Faults of the cameras; every field may be changed at any time.

    Attributes:
        silent: cameras that are connected and send nothing.
        frozen: cameras that send the same picture again and again.
        unplugged: cameras whose connections break, and that cannot be opened.
    """

    silent: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    unplugged: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Frame:
    """A picture.

    Attributes:
        number: counted from 0 for each client, also through frames that it missed.
        taken_s: `time.monotonic` when the scene looked like this.
        pixels: (height, width, 3) uint8 RGB.
    """

    number: int
    taken_s: float
    pixels: NDArray[np.uint8]


class CameraServer:
    """Serves the cameras at `path` until it is closed.

    Args:
        snapshot: gives the generalised positions to draw.
        rig_time: by which frames are due.
    """

    def __init__(
        self, path: Path, snapshot: Callable[[], NDArray[np.float64]], rig_time: RigTime, quality: Quality
    ) -> None:
        self.path = path
        self.faults = CameraFaults()
        self._snapshot, self._time, self._quality = snapshot, rig_time, quality
        self._streams: list[_Stream] = []
        self._lock = threading.Lock()
        self._changed = False
        self._closed = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [
            threading.Thread(target=target, name=f"so101-{target.__name__.strip('_')}", daemon=True)
            for target in (self._accept, self._draw)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Hang up on everybody."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends accept() on the other thread
        self._listener.close()
        self._time.wake()
        for thread in self._threads:
            thread.join()
        for stream in self._open_streams():
            stream.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._greet, args=(connection,), name="so101-camera", daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        """Answer a client's line, and send it what it asked for until it goes."""
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE_S)
            answer, stream = self._understand(_line(connection), connection)
            connection.sendall(json.dumps(answer).encode() + b"\n")
            if stream is not None:
                connection.settimeout(None)
                with self._lock:
                    self._streams.append(stream)
                    self._changed = True
                self._time.wake()
                stream.send()

    def _understand(self, line: bytes, connection: socket.socket) -> tuple[dict[str, Any], _Stream | None]:
        try:
            asked = json.loads(line)
            if "camera" not in asked:
                return {"cameras": [name for name in CAMERAS if name not in self.faults.unplugged]}, None
            camera = str(asked["camera"])
            width, height, fps = (int(asked[name]) for name in ("width", "height", "fps"))
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"not understood: {error}"}, None
        if camera not in CAMERAS:
            return {"error": one_of("camera", camera, CAMERAS)}, None
        if camera in self.faults.unplugged:
            return {"error": f"camera {camera!r} is not there"}, None
        if not (width > 0 < height and width * height <= MOST_PIXELS and 0 < fps <= MOST_FPS):
            return {"error": f"camera {camera!r} cannot do {width}x{height} at {fps} fps"}, None
        stream = _Stream(connection, camera, (width, height), 1 / fps, self._time.now_s)
        return {"width": width, "height": height, "fps": fps}, stream

    def _open_streams(self) -> list[_Stream]:
        with self._lock:
            for stream in self._streams:
                if stream.camera in self.faults.unplugged:
                    stream.close()
            self._streams = [stream for stream in self._streams if not stream.closed]
            self._changed = False
            return list(self._streams)

    def _draw(self) -> None:
        """The thread that draws, and that GL contexts belong to. Where drawing fails, all cameras go away."""
        artist = _Artist(self._quality)
        try:
            self._draw_on_time(artist)
        except Exception:
            log.exception("the virtual cameras stop")
            self.faults.unplugged |= set(CAMERAS)
            self._open_streams()
        finally:
            artist.close()

    def _draw_on_time(self, artist: _Artist) -> None:
        while not self._closed:
            streams = self._open_streams()
            stream = min(streams, key=lambda each: each.due_s, default=None)
            due_s = stream.due_s if stream is not None else float("inf")
            if not self._time.wait_until(due_s, lambda: self._closed or self._changed) or stream is None:
                continue
            number = stream.advance(self._time.now_s)
            if stream.camera in self.faults.silent | self.faults.unplugged:
                continue
            frozen = stream.camera in self.faults.frozen and stream.last is not None
            taken_s = time.monotonic()
            pixels = stream.last if frozen else artist.draw(self._snapshot(), stream)
            stream.offer(Frame(number, taken_s, pixels))


class _Stream:
    """One client's camera: when its next frame is due, and the newest frame that was not sent."""

    def __init__(
        self, connection: socket.socket, camera: str, size: tuple[int, int], period_s: float, due_s: float
    ) -> None:
        self.camera = camera
        self.width, self.height = size
        self.due_s = due_s
        self.closed = False
        self.last: Any = None
        self._begin_s, self._period_s = due_s, period_s
        self._connection = connection
        self._waiting: Frame | None = None
        self._condition = threading.Condition()

    def advance(self, now_s: float) -> int:
        """The number of the frame that is due; those that are overdue are left out."""
        number = max(0, int((now_s - self._begin_s) / self._period_s + 1e-6))
        self.due_s = self._begin_s + (number + 1) * self._period_s
        return number

    def offer(self, frame: Frame) -> None:
        """A new frame, in place of one that still waits."""
        with self._condition:
            self._waiting = frame
            self.last = frame.pixels
            self._condition.notify()

    def close(self) -> None:
        """No more frames; hang up."""
        with self._condition:
            self.closed = True
            self._condition.notify()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def send(self) -> None:
        """Send frames until the client goes, or the camera does."""
        try:
            while (frame := self._next()) is not None:
                header = FRAME_HEADER.pack(frame.number, self.width, self.height, frame.taken_s)
                self._connection.sendall(header)
                self._connection.sendall(frame.pixels.data)
        finally:
            self.close()

    def _next(self) -> Frame | None:
        with self._condition:
            while self._waiting is None and not self.closed:
                self._condition.wait()
            frame, self._waiting = self._waiting, None
            return None if self.closed else frame


class _Artist:
    """Draws the scene at given positions, with a model of its own."""

    def __init__(self, quality: Quality) -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = mujoco.MjModel.from_xml_string(xml())
        self._data = mujoco.MjData(self._model)
        self._renderer = MujocoRenderer(self._model, quality)

    def draw(self, positions: NDArray[np.float64], stream: _Stream) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB."""
        self._data.qpos[:] = positions
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_comPos(self._model, self._data)
        self._mujoco.mj_camlight(self._model, self._data)
        return self._renderer.render(self._data, stream.camera, stream.height, stream.width)

    def close(self) -> None:
        """Free the GL contexts."""
        self._renderer.close()


def _line(connection: socket.socket) -> bytes:
    """Up to the first new line, or whatever came where the client hung up or sent too much."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line
