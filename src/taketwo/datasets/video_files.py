"""MP4 files made of other MP4 files: the same packets, not encoded again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.error import FFmpegError

from taketwo.errors import DatasetError, one_line
from taketwo.recording.encoder import writing

if TYPE_CHECKING:
    from taketwo.recording.encoder import VideoPacket

FAST_START = {"movflags": "+faststart"}
"""The index comes first, so that a player on the network need not fetch the end of the file before the rest."""


@dataclass(frozen=True)
class VideoKind:
    """What files must share to be joined: how they were compressed, to the last parameter."""

    codec: str
    width: int
    height: int
    time_base: Fraction
    parameters: bytes


def video_kind(path: Path) -> VideoKind:
    """Of a file.

    Raises:
        DatasetError: it is no video, or damaged.
    """
    with reading(path), av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert stream.time_base is not None
        return VideoKind(context.name, context.width, context.height, stream.time_base, bytes(context.extradata or b""))


def copy_video(source: Path, target: Path, frames: int) -> None:
    """The first `frames` frames of a file as a new one, which can be read from any place.

    Raises:
        DatasetError: `source` is damaged, or has fewer.
        RecordingError: `target` cannot be written.
    """
    copied = 0
    with writing(target), av.open(str(target), "w", format="mp4", options=FAST_START) as out:
        stream = None
        for packet in islice(packets(source), frames):
            stream = stream or out.add_stream_from_template(packet.stream, opaque=True)
            packet.stream = stream
            out.mux(packet)
            copied += 1
    if copied < frames:
        raise DatasetError(f"{source} has {copied} frames and should have {frames}")


def join_videos(sources: Sequence[Path], target: Path) -> list[Fraction]:
    """Files of one `VideoKind` one after the other, as a new one.

    Returns:
        By source, the time in seconds at which it begins in the new one.

    Raises:
        DatasetError: a source is damaged.
        RecordingError: `target` cannot be written.
    """
    starts: list[Fraction] = []
    with writing(target), av.open(str(target), "w", format="mp4", options=FAST_START) as out:
        stream = None
        end = 0
        for source in sources:
            start = end
            for packet in packets(source):
                assert packet.pts is not None
                assert packet.dts is not None
                if stream is None:
                    stream = out.add_stream_from_template(packet.stream, opaque=True)
                packet.pts += start
                packet.dts += start
                end = max(end, packet.pts + (packet.duration or 0))
                time_base = packet.time_base
                packet.stream = stream
                out.mux(packet)
            starts.append(start * time_base)
    return starts


def packets(path: Path) -> Iterator[VideoPacket]:
    """The packets of a file's video, one for each frame.

    Raises:
        DatasetError: it is damaged.
    """
    with reading(path), av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.dts is not None:  # the demuxer ends with an empty packet
                yield packet


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system say of a file that is read into one line.

    Raises:
        DatasetError: the body failed.
    """
    try:
        yield
    except (OSError, FFmpegError, IndexError) as error:
        raise DatasetError(f"{path} cannot be read: {one_line(getattr(error, 'strerror', None) or error)}") from error
