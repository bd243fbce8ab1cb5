"""One episode out of a dataset's MP4, without encoding anything again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from taketwo.errors import DatasetError, one_line

if TYPE_CHECKING:
    VideoPacket: TypeAlias = av.Packet[av.VideoStream]

PIXEL_FORMATS = ("yuv420p", "yuvj420p")
"""What every player of H.264 and AV1 takes."""

MARGIN_S = 1.0
"""More than any encoder changes the order of frames by."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A piece of a video.

    Attributes:
        mp4: the file, from the key frame at or before the piece's first frame on.
        times_s: (N,) time of each frame in the file it was taken from, ascending; frame n of `mp4` is the n-th.
    """

    mp4: bytes
    times_s: NDArray[np.float64]

    def numbers(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """For each time in the original file, the number of the frame nearest to it."""
        middles = (self.times_s[1:] + self.times_s[:-1]) / 2
        return np.searchsorted(middles, times_s).astype(np.int64)


def codec_of(path: Path) -> str | None:
    """Codec of a video, such as `h264`; None where its pixels are of a kind that not every player takes.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with av.open(str(path)) as file:
            coder = file.streams.video[0].codec_context
            return str(coder.codec.canonical_name) if coder.pix_fmt in PIXEL_FORMATS else None
    except (OSError, FFmpegError, IndexError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def cut(path: Path, start_s: float, end_s: float) -> Clip:
    """The part of a video from `start_s` to before `end_s`.

    Raises:
        DatasetError: it cannot be read, or has no frame there.
    """
    target = io.BytesIO()
    try:
        with av.open(str(path)) as source, av.open(target, "w", format="mp4") as copy:
            stream = source.streams.video[0]
            packets = _packets(source, stream, start_s, end_s)
            # `opaque` copies the stream's parameters as they are, without an encoder of its own.
            written = copy.add_stream_from_template(stream, opaque=True)
            begin = packets[0].dts or 0
            times = []
            for packet in packets:
                shown, decoded = packet.pts or 0, packet.dts or 0
                times.append(shown * float(packet.time_base))
                packet.pts, packet.dts = shown - begin, decoded - begin
                packet.stream = written
                copy.mux(packet)
    except (OSError, FFmpegError, IndexError) as error:
        raise DatasetError(f"{path} cannot be read, or has no frame at {start_s:.3f} s: {one_line(error)}") from error
    return Clip(target.getvalue(), np.sort(np.array(times)))


def _packets(
    source: av.container.InputContainer, stream: av.VideoStream, start_s: float, end_s: float
) -> list[VideoPacket]:
    """From the last key frame that is shown at or before `start_s`, in the order of decoding."""
    unit = float(stream.time_base or 1)
    half = 0.5 / float(stream.average_rate or 30)
    first, end = (start_s + half) / unit, (end_s - half) / unit
    found: list[VideoPacket] = []
    key_pts = 0
    # Files are sought in the order of decoding, where a key frame may come before frames that are shown before it.
    source.seek(max(0, int((start_s - MARGIN_S) / unit)), stream=stream)
    for packet in source.demux(stream):
        if packet.pts is None or packet.dts is None:  # the demuxer ends with an empty packet
            break
        if packet.dts > end or (packet.is_keyframe and packet.pts > end):
            break
        if packet.is_keyframe and packet.pts <= first:
            found, key_pts = [packet], packet.pts
        elif found and packet.pts > key_pts:
            found.append(packet)
    return found if any((packet.pts or 0) * unit > start_s - half for packet in found) else []
