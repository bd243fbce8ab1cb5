"""Single episodes out of an MP4 file of many: their packets, not encoded again, and nothing of the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import av

from taketwo.datasets.video_files import FAST_START, packets, reading
from taketwo.errors import DatasetError
from taketwo.recording.encoder import writing

if TYPE_CHECKING:
    from av.container import InputContainer

    VideoPacket: TypeAlias = av.Packet[av.VideoStream]


@dataclass(frozen=True)
class Cut:
    """A stretch of a video.

    Attributes:
        start_s: time of its first frame in the file, which has to be a key frame.
        frames: how many it has.
    """

    start_s: float
    frames: int


def cut_video(source: Path, target: Path, cuts: Sequence[Cut], fps: Fraction) -> list[float]:
    """Stretches of a file one after the other, as a new file.

    Returns:
        By cut, the time in seconds at which it begins in the new file.

    Raises:
        DatasetError: `source` is damaged, lacks frames, or a stretch does not begin with a key frame.
        RecordingError: `target` cannot be written.
    """
    starts: dict[int, Fraction] = {}
    times: list[float] = []
    with writing(target), av.open(str(target), "w", format="mp4", options=FAST_START) as out:
        stream = None
        start = shift = 0
        for number, packet in _packets(source, cuts, fps):
            assert packet.pts is not None
            assert packet.dts is not None
            tick = packet.time_base
            if number not in starts:
                start += round(cuts[number - 1].frames / fps / tick) if number else 0
                starts[number] = start * tick
                shift = start - packet.pts
            stream = stream or out.add_stream_from_template(packet.stream, opaque=True)
            packet.pts += shift
            packet.dts += shift
            times.append(float(packet.pts * tick))
            packet.stream = stream
            out.mux(packet)
    _check_times(target, times, fps)
    return [float(starts[number]) for number in range(len(cuts))]


def _packets(source: Path, cuts: Sequence[Cut], fps: Fraction) -> Iterator[tuple[int, VideoPacket]]:
    """The packets of each stretch, with its number."""
    with reading(source), av.open(str(source)) as container:
        for number, cut in enumerate(cuts):
            found = 0
            for packet in _packets_of(container, cut, fps):
                if not found and not packet.is_keyframe:
                    raise DatasetError(
                        f"{source} cannot be cut without encoding it again: its frame at {cut.start_s:.3f} s, with "
                        "which an episode begins, is no key frame"
                    )
                found += 1
                yield number, packet
            if found != cut.frames:
                raise DatasetError(
                    f"{source} has {found} frames from {cut.start_s:.3f} s on, where an episode has {cut.frames} rows"
                )


def _packets_of(container: InputContainer, cut: Cut, fps: Fraction) -> Iterator[VideoPacket]:
    """In the order of decoding."""
    stream = container.streams.video[0]
    assert stream.time_base is not None
    half = 1 / fps / 2
    first = (Fraction(cut.start_s) - half) / stream.time_base
    end = first + cut.frames / fps / stream.time_base
    margin = 1 / stream.time_base  # a packet may lie in the file before others that are shown earlier
    container.seek(max(0, math.floor(first - margin)), stream=stream)
    for packet in container.demux(stream):
        if packet.pts is None or packet.dts is None:
            continue
        if packet.dts >= end:  # no later packet is shown before its dts
            break
        if first <= packet.pts < end:
            yield packet


def _check_times(target: Path, times: Sequence[float], fps: Fraction) -> None:
    """Whether the frames of the new file have the times that they were given: LeRobot finds them by these."""
    written = sorted(float(packet.pts * packet.time_base) for packet in packets(target) if packet.pts is not None)
    quarter = float(1 / fps / 4)
    if len(written) != len(times) or any(
        abs(there - wanted) > quarter for there, wanted in zip(written, sorted(times), strict=True)
    ):
        raise DatasetError(f"{target.name} came out with other frame times than its source; nothing was changed")
