"""LeRobot's camera type `virtual_so101`: the cameras of a virtual SO-101 rig that runs on this machine.

LeRobot finds this module by the distribution beside it, whose name begins with `lerobot_camera_`. It runs in LeRobot's
own environment, so it imports nothing of taketwo. The protocol stands in `taketwo.testing.so101.cameras`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.cameras.camera import Camera
from lerobot.cameras.configs import CameraConfig
from lerobot.utils.errors import DeviceAlreadyConnectedError, DeviceNotConnectedError
from numpy.typing import NDArray

FRAME_HEADER = struct.Struct("<QIId")
GREETING_TIMEOUT_S = 5.0


@CameraConfig.register_subclass("virtual_so101")
@dataclass(kw_only=True)
class VirtualSO101CameraConfig(CameraConfig):  # type: ignore[misc]
    """Which camera of which rig.

    Attributes:
        address: path of the rig's socket.
        camera: front, top or wrist.
    """

    address: str
    camera: str = "front"


class VirtualSO101Camera(Camera):  # type: ignore[misc]
    """One camera of the rig. A thread of its own takes in frames; reading gives the newest.

    Attributes:
        latest_timestamp: `time.perf_counter` when the newest frame arrived.
        latest_taken: `time.monotonic` when the rig took it.
        latest_number: of the newest frame; gaps are frames that did not arrive.
    """

    def __init__(self, config: VirtualSO101CameraConfig) -> None:
        super().__init__(config)
        self.config = config
        self.latest_frame: NDArray[np.uint8] | None = None
        self.latest_timestamp: float | None = None
        self.latest_taken: float | None = None
        self.latest_number: int | None = None
        self._fresh = False
        self._arrived = threading.Condition()
        self._connection: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __str__(self) -> str:
        return f"VirtualSO101Camera({self.config.camera})"

    @property
    def is_connected(self) -> bool:
        """Whether it was connected and has not been disconnected since."""
        return self._connection is not None

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        """The cameras of all rigs in temporary folders of this machine."""
        found = []
        for address in sorted(Path(tempfile.gettempdir()).glob("taketwo-so101-*/cameras")):
            with contextlib.suppress(OSError), _ask(str(address), {}) as connection:
                for name in _answer(connection).get("cameras", []):
                    about = {"name": f"virtual SO-101 {name}", "type": "virtual_so101", "id": f"{address}:{name}"}
                    found.append(about)
        return found

    def connect(self, warmup: bool = True) -> None:
        """Open the camera; with `warmup`, wait for its first frame.

        Raises:
            DeviceAlreadyConnectedError: it is open.
            ConnectionError: there is no such rig, camera, size or rate, or no frame came.
        """
        if self.is_connected:
            raise DeviceAlreadyConnectedError(f"{self} is already connected.")
        size = {"width": self.config.width or 640, "height": self.config.height or 480, "fps": self.config.fps or 30}
        try:
            connection = _ask(self.config.address, {"camera": self.config.camera, **size})
        except OSError as error:
            raise ConnectionError(f"{self}: no virtual SO-101 rig at {self.config.address!r}: {error}") from error
        answer = _answer(connection)
        if "error" in answer:
            connection.close()
            raise ConnectionError(f"{self}: {answer['error']}")
        self.width, self.height, self.fps = answer["width"], answer["height"], answer["fps"]
        connection.settimeout(None)
        self._connection = connection
        self._thread = threading.Thread(target=self._receive, args=(connection,), name=str(self), daemon=True)
        self._thread.start()
        if warmup:
            try:
                self.async_read(timeout_ms=GREETING_TIMEOUT_S * 1000)
            except (TimeoutError, RuntimeError) as error:
                self.disconnect()
                raise ConnectionError(f"{self}: no frame came") from error

    def read(self, color_mode: Any = None) -> NDArray[Any]:
        """(height, width, 3) uint8 RGB: the next frame to arrive."""
        with self._arrived:
            self._fresh = False
        return self.async_read(timeout_ms=10_000)

    def async_read(self, timeout_ms: float = 200) -> NDArray[Any]:
        """(height, width, 3) uint8 RGB: the newest frame that was not read yet, waiting for it where there is none.

        Raises:
            DeviceNotConnectedError: it is not open.
            TimeoutError: none came in time.
            RuntimeError: the camera has gone.
        """
        self._check()
        with self._arrived:
            self._arrived.wait_for(lambda: self._fresh or not self._alive, timeout_ms / 1000)
            self._check()
            if not self._fresh:
                raise TimeoutError(f"Timed out waiting for frame from camera {self} after {timeout_ms} ms.")
            self._fresh = False
            assert self.latest_frame is not None
            return self.latest_frame

    def read_latest(self, max_age_ms: int = 500) -> NDArray[Any]:
        """(height, width, 3) uint8 RGB: the newest frame, read before or not.

        Raises:
            DeviceNotConnectedError: it is not open.
            TimeoutError: it is older than `max_age_ms`.
            RuntimeError: there is none yet, or the camera has gone.
        """
        self._check()
        with self._arrived:
            if self.latest_frame is None or self.latest_timestamp is None:
                raise RuntimeError(f"{self} has not captured any frames yet.")
            age_ms = (time.perf_counter() - self.latest_timestamp) * 1000
            if age_ms > max_age_ms:
                raise TimeoutError(f"{self} latest frame is too old: {age_ms:.1f} ms (max allowed: {max_age_ms} ms).")
            return self.latest_frame

    def disconnect(self) -> None:
        """Close it.

        Raises:
            DeviceNotConnectedError: it is not open.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            raise DeviceNotConnectedError(f"{self} not connected.")
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        connection.close()

    @property
    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _check(self) -> None:
        if not self.is_connected:
            raise DeviceNotConnectedError(f"{self} is not connected.")
        if not self._alive:
            raise RuntimeError(f"{self} read thread is not running: the camera has gone.")

    def _receive(self, connection: socket.socket) -> None:
        header = bytearray(FRAME_HEADER.size)
        while _fill(connection, memoryview(header)):
            number, width, height, taken = FRAME_HEADER.unpack(header)
            frame = np.empty((height, width, 3), np.uint8)
            if not _fill(connection, frame.reshape(-1).data):
                break
            with self._arrived:
                self.latest_frame, self.latest_timestamp = frame, time.perf_counter()
                self.latest_taken, self.latest_number, self._fresh = taken, number, True
                self._arrived.notify_all()
        with self._arrived:
            self._arrived.notify_all()


def _ask(address: str, request: dict[str, Any]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(GREETING_TIMEOUT_S)
    try:
        connection.connect(address)
        connection.sendall(json.dumps(request).encode() + b"\n")
    except OSError:
        connection.close()
        raise
    return connection


def _answer(connection: socket.socket) -> dict[str, Any]:
    """The line of JSON that comes back, read byte by byte, as frames follow it."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return {"error": "the rig hung up"}
        line += byte
    answer: dict[str, Any] = json.loads(line)
    return answer


def _fill(connection: socket.socket, view: memoryview) -> bool:
    """Whether as many bytes came as fit."""
    while view:
        try:
            count = connection.recv_into(view)
        except OSError:
            return False
        if not count:
            return False
        view = view[count:]
    return True
