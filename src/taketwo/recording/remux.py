"""From the fragmented file to the final one: the same packets, an index at the front, and chapters."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av

from taketwo.recording.encoder import writing
from taketwo.recording.naming import move_into_place, reserve


@dataclass(frozen=True)
class Chapter:
    """One episode in a video.

    Attributes:
        start: index of its first frame in the video.
        end: index after its last.
    """

    title: str
    start: int
    end: int


def chapters_supported() -> bool:
    """Whether the installed PyAV can write chapters: 16.1 is the first that does."""
    return hasattr(av.container.OutputContainer, "set_chapters")


def finish(partial: Path, stem: str, fps: Fraction, chapters: Sequence[Chapter], metadata: Mapping[str, str]) -> Path:
    """Turn a closed fragmented MP4 into a fast-start one called `stem`, numbered where that is taken.

    `partial` is removed once the other is on the disk.

    Raises:
        RecordingError: the other cannot be written; `partial` is as it was then, and nothing else is left.
    """
    written = reserve(partial.parent, partial.name.removesuffix(".mp4"), ".finishing.mp4")
    try:
        with writing(written, f"The whole recording is safe in {partial} and plays"):
            _copy(partial, written, fps, chapters, metadata)
        path = move_into_place(written, partial.parent, stem, ".mp4")
    except BaseException:
        written.unlink(missing_ok=True)
        raise
    partial.unlink()
    return path


def _copy(
    partial: Path, written: Path, fps: Fraction, chapters: Sequence[Chapter], metadata: Mapping[str, str]
) -> None:
    with (
        av.open(str(partial)) as source,
        av.open(str(written), "w", format="mp4", options={"movflags": "+faststart"}) as target,
    ):
        packets = source.streams.video[0]
        # `opaque` copies the stream's parameters as they are, without an encoder of its own.
        stream = target.add_stream_from_template(packets, opaque=True)
        target.metadata.update(metadata)
        if chapters_supported():
            # PyAV 19 writes another type for the time base than 18 does, and both take a fraction.
            marks: list[Any] = [
                {
                    "id": number,
                    "start": chapter.start,
                    "end": chapter.end,
                    "time_base": 1 / fps,
                    "metadata": {"title": chapter.title},
                }
                for number, chapter in enumerate(chapters)
            ]
            target.set_chapters(marks)
        for packet in source.demux(packets):
            if packet.dts is not None:  # the demuxer ends with an empty packet
                packet.stream = stream
                target.mux(packet)


def top_level_boxes(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Type, start and end of each box on the top level of an MP4 (ISO/IEC 14496-12, section 4.2).

    The last one's end may lie behind the end of the file, where it was cut off.
    """
    start = 0
    while True:
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        size = int.from_bytes(header[:4], "big")
        if size == 1:  # the size follows, in 64 bits
            size = int.from_bytes(header[8:16], "big")
        elif size == 0:  # to the end of the file
            size = file.seek(0, os.SEEK_END) - start
        if size < 8:
            return
        yield header[4:8].decode("latin-1"), start, start + size
        start += size


def whole_frames(path: Path) -> tuple[int, int]:
    """Frames of a fragmented MP4 that are wholly there, and the length in bytes up to the end of the last one.

    Raises:
        RecordingError: it cannot be read.
    """
    with writing(path), path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        frames = whole = 0
        for kind, _, end in top_level_boxes(file):
            if end > length:
                break
            if kind == "mdat":  # the second half of a fragment, which holds one frame
                frames += 1
            if kind != "moof":
                whole = end
        return frames, whole


def salvage(path: Path) -> int:
    """Cut off what a full disk left half written at the end of a fragmented MP4; returns the frames that remain.

    A file without any is removed.

    Raises:
        RecordingError: it cannot be read or changed.
    """
    frames, whole = whole_frames(path)
    with writing(path):
        os.truncate(path, whole)
    if not frames:
        path.unlink()
    return frames
