"""What can be wrong with the pictures of an episode: measured while they are decoded once, judged afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.quality_findings import PLACES_KEPT, Finding, Place, Severity, said, stretches
from taketwo.recording.frame_watch import BAD_S, MOVING_S, STATE_MOVED, is_flat
from taketwo.types import FloatArray, Pixels

SAMPLED_HZ = 10.0
"""Pictures a second that are looked at, unless told otherwise: what is bad for a tenth of a second is seen."""

BLOCK = 8
"""Side in pixels of the squares whose mean brightness is compared from picture to picture. A codec keeps those means
nearly the same where nothing moves, and a small thing that moves changes a few of them much."""

SAME_GREY = 9.0
"""Grey levels by which every square of a picture that repeats stays within. Key frames of x264 at crf 30 change a
still picture by up to 8.6, SVT-AV1 by 3; an arm that moves by a
gripper's width changes some square by 15 to 190."""

FROZEN_MOVED = 5 * STATE_MOVED
"""Change of any one state value, in its own unit, that counts as movement here. The live watch, which sees pictures
before a codec does, asks for a fifth of it."""

BLUR_PART = 0.25
"""Part of the camera's median sharpness below which a picture is blurred. Sharpness is the variance of the Laplacian
of the luma (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000)."""

BLUR_S = 0.3
"""Seconds that a blur lasts before it is told of; a fast motion blurs a picture or two."""

PLAIN_SHARPNESS = 4.0
"""Squared grey levels: a camera whose median is below shows so plain a scene that blur cannot be told from it."""

DARK_GREY = 50.0
"""Luma from 0 to 255 that 95 % of a picture's pixels lie below when it is too dark to learn from."""

BRIGHT_GREY = 230.0
"""Luma that 90 % of a picture's pixels lie above when it is washed out. White tables stay below."""

EXPOSURE_S = 0.5
"""Seconds that a wrong exposure lasts before it is told of; automatic exposure takes a few frames to settle."""

FRAME_TOLERANCE_S = 1e-4
"""LeRobot's default `tolerance_s`, beyond which it refuses a frame."""


@dataclass(frozen=True)
class PictureMeasures:
    """One camera in one episode.

    Attributes:
        length: rows of the episode.
        every: a picture stands for so many rows.
        rows: (n,) rows of the pictures that were looked at.
        sharpness: (n,) float32, variance of the Laplacian, squared grey levels.
        brightness: (n,) float32, mean luma, from 0 to 255.
        blank, dark, bright: (n,) bool.
        frozen: stretches of rows with the same picture while the robot moved.
    """

    length: int
    every: int
    rows: NDArray[np.int64]
    sharpness: NDArray[np.float32]
    brightness: NDArray[np.float32]
    blank: NDArray[np.bool_]
    dark: NDArray[np.bool_]
    bright: NDArray[np.bool_]
    frozen: tuple[Place, ...]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) whether something is to be seen, so that sharpness says something."""
        return ~(self.blank | self.dark | self.bright)


class PictureGauge:
    """Measures pictures of one camera in one episode, in order. Keeps two of them, made small."""

    def __init__(self, length: int, every: int, fps: float, state: FloatArray | None) -> None:
        """`state` is (T, D), by which it is known whether the robot moves; None where nothing tells."""
        self._length = length
        self._every = every
        self._numbers: list[tuple[int, float, float, bool, bool, bool]] = []
        self._freeze = None if state is None else _FreezeWatch(every, fps, state)

    def look(self, row: int, pixels: Pixels) -> None:
        """Take the picture of a row, (H, W, 3) uint8."""
        grey = luma(pixels)
        dark, bright = np.percentile(grey[::2, ::2], (95, 10))
        blank = is_flat(pixels)
        measured = (row, sharpness(grey), float(grey.mean()), blank, bool(dark < DARK_GREY), bool(bright > BRIGHT_GREY))
        self._numbers.append(measured)
        if self._freeze is not None:
            self._freeze.look(row, block_means(grey), blank)

    def measures(self) -> PictureMeasures:
        """What it has measured."""
        row, sharp, mean, blank, dark, bright = zip(*self._numbers, strict=True) if self._numbers else [()] * 6
        return PictureMeasures(
            length=self._length,
            every=self._every,
            rows=np.array(row, np.int64),
            sharpness=np.array(sharp, np.float32),
            brightness=np.array(mean, np.float32),
            blank=np.array(blank, bool),
            dark=np.array(dark, bool),
            bright=np.array(bright, bool),
            frozen=tuple(self._freeze.places()) if self._freeze is not None else (),
        )


class _FreezeWatch:
    """The rule of `recording.frame_watch.FrameWatch`, for pictures that a codec made a little different."""

    def __init__(self, every: int, fps: float, state: FloatArray) -> None:
        self._every, self._fps, self._state = every, fps, state
        self._picture: FloatArray | None = None
        self._same_from = 0
        self._moving_from: int | None = None
        self._last = 0
        self._found: list[Place] = []

    def look(self, row: int, blocks: FloatArray, blank: bool) -> None:
        """Compare with the picture that the stretch began with, so that slow changes add up."""
        same = self._picture is not None and not blank and float(np.abs(blocks - self._picture).max()) <= SAME_GREY
        if not same:
            self._end()
            self._same_from, self._moving_from = row, None
            self._picture = None if blank else blocks
        elif self._moving_from is None and self._has_moved(row):
            self._moving_from = row
        self._last = row

    def places(self) -> list[Place]:
        """The frozen stretches."""
        self._end()
        self._moving_from = None
        return self._found

    def _has_moved(self, row: int) -> bool:
        if row >= len(self._state):
            return False
        moved = np.nan_to_num(np.abs(self._state[row] - self._state[self._same_from]))
        return bool(np.max(moved, initial=0.0) > FROZEN_MOVED)

    def _end(self) -> None:
        if self._moving_from is None:
            return
        after = self._last + self._every
        if after - self._same_from >= BAD_S * self._fps and after - self._moving_from >= MOVING_S * self._fps:
            self._found.append((self._same_from, min(after, len(self._state)) - 1))


def luma(pixels: Pixels) -> NDArray[np.uint8]:
    """(H, W) brightness of (H, W, 3) RGB, by the weights of ITU-R BT.601 in 256ths."""
    red, green, blue = (pixels[..., channel].astype(np.uint16) for channel in range(3))
    grey: NDArray[np.uint8] = ((77 * red + 150 * green + 29 * blue) >> 8).astype(np.uint8)
    return grey


def sharpness(grey: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (four neighbours) of (H, W), in squared grey levels; 0 for less than 3 x 3 pixels."""
    if min(grey.shape) < 3:
        return 0.0
    wide = grey.astype(np.int16)
    laplacian = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    return float(laplacian.astype(np.float32).var())


def block_means(grey: NDArray[np.uint8]) -> FloatArray:
    """Mean of each whole square of `BLOCK` pixels of (H, W); of smaller ones where the picture is smaller."""
    size = max(1, min(BLOCK, *grey.shape))
    height, width = (length - length % size for length in grey.shape)
    squares = grey[:height, :width].reshape(height // size, size, width // size, size)
    means: FloatArray = squares.mean(axis=(1, 3), dtype=np.float64)
    return means


def picture_findings(episode: int, camera: str, fps: float, measured: PictureMeasures) -> Iterator[Finding]:
    """All that is wrong with one camera's pictures, but for blur, which needs the camera's other episodes."""
    if places := _lasting(measured, measured.blank, 0.0, fps):
        worst = _longest(places)
        seconds = _length(worst) / fps
        severity: Severity = "error" if seconds >= BAD_S else "warning"
        message = f"camera {camera!r} shows one flat colour {said(places, worst)}"
        yield _finding(episode, "blank", severity, message, worst, camera, seconds, 0.0, places)
    if measured.frozen:
        worst = _longest(measured.frozen)
        seconds = _length(worst) / fps
        message = (
            f"camera {camera!r} repeats one picture for {seconds:.1f} s {said(measured.frozen, worst)}, "
            "while the robot moves"
        )
        yield _finding(episode, "frozen", "error", message, worst, camera, seconds, BAD_S, measured.frozen)
    for kind, word, flags, limit in (
        ("dark", "nearly black", measured.dark, DARK_GREY),
        ("bright", "nearly white", measured.bright, BRIGHT_GREY),
    ):
        if places := _lasting(measured, flags & ~measured.blank, EXPOSURE_S, fps):
            worst = _longest(places)
            grey = float(measured.brightness[_within(measured, worst)].mean())
            message = f"camera {camera!r} is {word} {said(places, worst)}: mean brightness {grey:.0f} of 255"
            yield _finding(episode, kind, "warning", message, worst, camera, grey, limit, places)


def usual_sharpness(episodes: Iterable[PictureMeasures]) -> float | None:
    """Median over a camera's pictures in which something is to be seen; None where there is too little."""
    values = np.concatenate([measured.sharpness[measured.usable] for measured in episodes] or [np.empty(0, np.float32)])
    median = float(np.median(values)) if values.size else 0.0
    return median if median >= PLAIN_SHARPNESS else None


def blur_findings(
    camera: str, episodes: Mapping[int, PictureMeasures], usual: float | None, fps: float
) -> Iterator[Finding]:
    """The episodes in which a camera is far less sharp than is usual for it."""
    if usual is None:
        return
    limit = BLUR_PART * usual
    for episode, measured in episodes.items():
        if places := _lasting(measured, (measured.sharpness < limit) & measured.usable, BLUR_S, fps):
            worst = _longest(places)
            least = float(measured.sharpness[_within(measured, worst)].min())
            message = (
                f"camera {camera!r} is blurred {said(places, worst)}: "
                f"{100 * least / usual:.0f} % of its usual sharpness"
            )
            yield _finding(episode, "blur", "warning", message, worst, camera, least, limit, places)


def frame_findings(episode: int, camera: str, length: int, fps: float, times: FloatArray) -> Iterator[Finding]:
    """Whether the video has a frame for each row, at the right time; `times` are seconds from the first."""
    if len(times) != length:
        message = f"camera {camera!r} has {len(times)} frames for {length} rows"
        yield Finding(
            episode, "frames", "error", message, camera=camera, value=float(len(times)), threshold=float(length)
        )
    off = np.abs(times - np.arange(len(times)) / fps)
    if places := stretches(~(off <= FRAME_TOLERANCE_S)):
        first = places[0]
        value = float(off.max())
        message = f"camera {camera!r} has frames at other times than the rows {said(places)}: up to {value:.4g} s off"
        yield _finding(episode, "frame_times", "error", message, first, camera, value, FRAME_TOLERANCE_S, places)


def _finding(
    episode: int,
    kind: str,
    severity: Severity,
    message: str,
    worst: Place,
    camera: str,
    value: float,
    threshold: float,
    places: Sequence[Place],
) -> Finding:
    return Finding(episode, kind, severity, message, worst, camera, None, value, threshold, tuple(places[:PLACES_KEPT]))


def _lasting(measured: PictureMeasures, flags: NDArray[np.bool_], seconds: float, fps: float) -> list[Place]:
    """Stretches of rows whose pictures are flagged, as long as `seconds` at least."""
    rows, every = measured.rows, measured.every
    places = [(int(rows[first]), min(int(rows[last]) + every, measured.length) - 1) for first, last in stretches(flags)]
    return [place for place in places if _length(place) >= seconds * fps]


def _within(measured: PictureMeasures, place: Place) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (measured.rows >= place[0]) & (measured.rows <= place[1])
    return inside


def _length(place: Place) -> int:
    return place[1] - place[0] + 1


def _longest(places: Iterable[Place]) -> Place:
    return max(places, key=_length)
