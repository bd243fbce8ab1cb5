"""Notices pictures that show nothing, or always the same, while the session still runs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from taketwo.types import FloatArray, Pixels

log = logging.getLogger(__name__)

BAD_S = 2.0
"""Session time after which bad pictures are said aloud."""

MOVING_S = 1.0
"""A picture counts as frozen only once the robot has been away this long from where the picture first showed it:
a robot that starts after a pause may move a little before a small picture shows it."""

STATE_MOVED = 0.01
"""Change of any one state value, in its own unit, that counts as movement. Above the noise of position sensors
(a 12-bit servo encoder has steps of 0.0015 rad) and below what an arm does in a tenth of a second."""

FLAT_STD = 1.0
"""Standard deviation in grey levels below which a colour channel is flat."""

SAMPLED_PIXELS = 40_000
"""About how many pixels of a picture are looked at for flatness; more cost time and tell nothing new."""

CAUSES = {
    "blank": "shows one flat colour (likely cause: no GL context on this machine, or the camera is covered or unlit)",
    "frozen": "repeats the same picture while the robot moves (likely cause: the renderer or the camera driver hangs)",
}


def is_flat(pixels: Pixels) -> bool:
    """Whether (H, W, 3) uint8 shows one colour."""
    stride = max(1, math.isqrt(pixels.shape[0] * pixels.shape[1] // SAMPLED_PIXELS))
    return all(pixels[::stride, ::stride, channel].std() < FLAT_STD for channel in range(3))


@dataclass
class BadRun:
    """Bad pictures one after the other.

    Attributes:
        kind: `blank` or `frozen`.
        first_frame: session frame number of the first.
        last_frame: of the last; None while it goes on.
    """

    kind: str
    camera: str
    first_frame: int
    last_frame: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        until = "to the end" if self.last_frame is None else f"to {self.last_frame}"
        message = f"camera {self.camera!r} {CAUSES[self.kind]}: frames {self.first_frame} {until}"
        return {
            "kind": self.kind,
            "camera": self.camera,
            "first_frame": self.first_frame,
            "last_frame": self.last_frame,
            "message": message,
        }


class FrameWatch:
    """Watches one camera. A picture stands for `subsample` frames, so that it does not matter how many are kept.

    Attributes:
        runs: what was bad, in order of notice.
    """

    def __init__(self, camera: str, control_hz: float, subsample: int = 1) -> None:
        self.runs: list[BadRun] = []
        self._camera = camera
        self._control_hz = control_hz
        self._subsample = subsample
        self._open: BadRun | None = None
        self._first: int | None = None
        self._last = 0
        self._flat_from: int | None = None
        self._picture: Pixels | None = None
        self._same_from = 0
        self._state_then: FloatArray = np.empty(0)
        self._moving_from: int | None = None

    def look(self, frame: int, pixels: Pixels, state: FloatArray) -> None:
        """Take one picture, (H, W, 3) uint8, with the robot's state at that instant, (D,)."""
        self._first = frame if self._first is None else self._first
        self._last = frame
        kind, first = self._judge(frame, pixels, state)
        if self._open is not None and kind != self._open.kind:
            self._close(frame)
        if kind is not None and self._open is None:
            self._open = BadRun(kind, self._camera, first)
            self.runs.append(self._open)
            seconds = (frame + self._subsample - first) / self._control_hz
            log.warning(
                "camera %r %s since frame %d, for %.1f s of the session", self._camera, CAUSES[kind], first, seconds
            )

    def finish(self) -> None:
        """The session is over. Tell it if all pictures were bad, though for less time than `look` wants to see."""
        if self.runs or self._first is None or self._first == self._last:
            return
        if self._flat_from == self._first:
            kind = "blank"
        elif self._same_from == self._first and self._moved_long(self._last):
            kind = "frozen"
        else:
            return
        self.runs.append(BadRun(kind, self._camera, self._first))
        log.warning("camera %r %s in all of the session's pictures", self._camera, CAUSES[kind])

    def _judge(self, frame: int, pixels: Pixels, state: FloatArray) -> tuple[str | None, int]:
        """What is wrong by now, if anything, and since which frame."""
        flat = is_flat(pixels)
        self._flat_from = None if not flat else frame if self._flat_from is None else self._flat_from
        self._compare(frame, pixels, state)
        if self._flat_from is not None:
            return ("blank" if self._lasts(self._flat_from, frame, BAD_S) else None), self._flat_from
        frozen = self._lasts(self._same_from, frame, BAD_S) and self._moved_long(frame)
        return ("frozen" if frozen else None), self._same_from

    def _compare(self, frame: int, pixels: Pixels, state: FloatArray) -> None:
        """Keep account of since when the picture is the same, and the robot not where it was then."""
        if self._picture is None or not np.array_equal(pixels, self._picture):
            self._same_from, self._state_then, self._moving_from = frame, state, None
        elif self._moving_from is None and np.any(np.abs(state - self._state_then) > STATE_MOVED):
            self._moving_from = frame  # a value that is not a number has not moved, and hides no other
        self._picture = pixels

    def _moved_long(self, frame: int) -> bool:
        return self._moving_from is not None and self._lasts(self._moving_from, frame, MOVING_S)

    def _lasts(self, first: int, frame: int, seconds: float) -> bool:
        return frame + self._subsample - first >= seconds * self._control_hz

    def _close(self, frame: int) -> None:
        assert self._open is not None
        self._open.last_frame = frame - self._subsample
        log.warning("camera %r is well again from frame %d on", self._camera, frame)
        self._open = None
