"""Signals and pictures as Rerun's columns, for recorded and for running sessions."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from taketwo.images import jpeg_of
from taketwo.types import FloatArray, Pixels
from taketwo.viewing.blueprint import TIMELINE
from taketwo.viewing.signals import EVENTS, Signal

if TYPE_CHECKING:
    import rerun as rr
    from numpy.typing import ArrayLike

FRAME_INDEX = "frame_index"

JPEG_QUALITY = 90

MICROSECOND_NS = 1000


def time_columns(frames: ArrayLike, seconds: FloatArray) -> list[rr.TimeColumn]:
    """Where rows are on the time lines.

    Args:
        frames: (N,) numbers of frames.
        seconds: (N,) since the beginning; rounded to microseconds.
    """
    import rerun as rr

    moments = np.round(seconds * 1e6).astype(np.int64) * MICROSECOND_NS
    return [
        rr.TimeColumn(FRAME_INDEX, sequence=np.asarray(frames)),
        rr.TimeColumn(TIMELINE, duration=moments.astype("timedelta64[ns]")),
    ]


def describe_signal(recording: rr.RecordingStream, signal: Signal) -> None:
    """Say what its curves are called, and their colours."""
    import rerun as rr

    first = EVENTS.index(signal.key) if signal.key in EVENTS else 0
    for number, (entity, name) in enumerate(_curves(signal)):
        recording.log(entity, rr.SeriesLines(names=[name], colors=[_color(first + number)]), static=True)


def send_signal(recording: rr.RecordingStream, signal: Signal, times: list[rr.TimeColumn], values: FloatArray) -> None:
    """Log (N, D) values, one curve a dimension."""
    import rerun as rr

    for number, (entity, _) in enumerate(_curves(signal)):
        recording.send_columns(entity, times, rr.Scalars.columns(scalars=values[:, number]))


def jpeg(pixels: Pixels) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG file."""
    return jpeg_of(pixels, JPEG_QUALITY)


def _curves(signal: Signal) -> list[tuple[str, str]]:
    """Entity and name of each of its curves."""
    import rerun as rr

    return [
        (rr.new_entity_path([signal.key, name] if signal.names else [signal.key]), name)
        for name in signal.names or (signal.key,)
    ]


def _color(number: int) -> tuple[int, int, int]:
    """Colours that differ, the same for a joint in every plot; by steps of the golden ratio around the circle."""
    red, green, blue = colorsys.hsv_to_rgb(0.58 + number * 0.618034, 0.55 + 0.3 * (number % 2), 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
