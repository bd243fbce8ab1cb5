"""Single frames out of MP4 files, at random."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from taketwo.errors import DatasetError, one_line
from taketwo.types import FloatArray, Pixels

NEAR_FRAMES = 4
"""This far ahead decoding on is no dearer than going to the key frame before, wherever that is."""

SCALER_MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M}
"""Matrix coefficients in ITU-T H.273's numbers to FFmpeg's scaler; it takes BT.601 for those that are not here,
as it does for files that name none."""


class VideoReader:
    """The frames of an MP4 file, by time; whatever FFmpeg decodes, such as H.264, HEVC and AV1.

    A frame is decoded from the key frame before it, or from the one that was asked for last, where that is on
    the way. For use from one thread.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            DatasetError: it is missing, damaged, or has no video.
        """
        self.path = path
        with _reading(path):
            self._container = av.open(str(path))
            if not self._container.streams.video:
                raise DatasetError(f"{path} has no video in it")
        self._stream = self._container.streams.video[0]
        # Threads over frames hold frames back, which costs a single one time; and who wants more than one core
        # gives has several processes.
        self._stream.codec_context.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        if self._stream.time_base is None:
            raise DatasetError(f"{path} is damaged: its video has no time base")
        self._time_base = self._stream.time_base
        self._reformatter = VideoReformatter()
        self._frames: Iterator[VideoFrame] = iter(())
        self._last: VideoFrame | None = None
        self._key_pts = 0
        self._gop_pts = 0
        self._skipped = self._damaged = False

    def frame_at(self, time_s: float, period_s: float) -> Pixels | None:
        """The frame that is shown at a time.

        Args:
            time_s: seconds from the beginning of the file.
            period_s: from one frame to the next; half of it is what the frame's own time may differ.

        Returns:
            (H, W, 3) uint8 RGB, an array of its own; None where there is no such frame.

        Raises:
            DatasetError: the file is damaged.
        """
        slack = max(1, round(period_s / 2 / self._time_base))
        target = round(time_s / self._time_base)
        with _reading(self.path):
            frame = self._find(target - slack, target + slack, NEAR_FRAMES * 2 * slack)
            if frame is None:
                return None
            if self._damaged:
                raise DatasetError(f"{self.path} is damaged: its frame at {time_s:.3f} s cannot be decoded")
            return self._to_rgb(frame)

    def frame_times(self, start_s: float, end_s: float) -> FloatArray:
        """(F,) times of the frames from `start_s` to before `end_s`, in order, as the file has them.

        Raises:
            DatasetError: the file is damaged.
        """
        start, end = start_s / self._time_base, end_s / self._time_base
        # Frames may lie in the file a little before others that are shown earlier.
        margin = round(1 / self._time_base)
        times = []
        with _reading(self.path):
            self._container.seek(max(0, round(start) - margin), stream=self._stream)
            for packet in self._container.demux(self._stream):
                if packet.dts is not None and packet.dts >= end:
                    break
                if packet.pts is not None and start <= packet.pts < end:
                    times.append(packet.pts)
        self._last = None
        return np.sort(np.array(times, np.float64)) * float(self._time_base)

    def close(self) -> None:
        """Close the file."""
        self._frames, self._last = iter(()), None
        self._container.close()

    def _find(self, first: int, last: int, near: int) -> VideoFrame | None:
        """The frame whose time is from `first` to `last`."""
        shown = self._last
        if shown is None or _pts(shown) > last or first > max(_pts(shown) + near, self._key_pts + self._gop_pts):
            frame = self._find_from_key_frame(first, last, near)
        else:
            frame = shown if _pts(shown) >= first else self._decode_to(first)
        return frame if frame is not None and _pts(frame) <= last else None

    def _find_from_key_frame(self, first: int, last: int, near: int) -> VideoFrame | None:
        start = last
        while True:
            self._container.seek(start, stream=self._stream)
            self._frames = self._container.decode(self._stream)
            self._damaged = False
            frame = self._decode_to(first)
            found = frame is not None and _pts(frame) <= last and not self._damaged
            if found or self._skipped or start == 0:
                return frame
            # Files are sought in the order of decoding, and there a key frame may come before frames that are
            # shown before it. Where nothing earlier was decoded, this may have been one.
            start = max(0, start - near)
            near *= 4

    def _decode_to(self, pts: int) -> VideoFrame | None:
        """The next frame from `pts` on.

        `_skipped` tells whether there were others before it, `_damaged` whether something of it could not be decoded.
        """
        self._skipped, self._last = False, None
        for frame in self._frames:
            if frame.pts is None:
                continue
            if frame.key_frame:
                self._key_pts, self._damaged = frame.pts, False
            self._damaged |= frame.is_corrupt
            self._gop_pts = max(self._gop_pts, frame.pts - self._key_pts)
            if frame.pts >= pts:
                self._last = frame
                return frame
            self._skipped = True
        return None

    def _to_rgb(self, frame: VideoFrame) -> Pixels:
        matrix = SCALER_MATRICES.get(int(frame.colorspace), Colorspace.ITU601)
        span = ColorRange.JPEG if frame.color_range == ColorRange.JPEG else ColorRange.MPEG
        rgb = self._reformatter.reformat(frame, format="rgb24", src_colorspace=matrix, src_color_range=span)
        return np.asarray(rgb.to_ndarray(), np.uint8)


def decode_picture(data: bytes, where: str) -> Pixels:
    """(H, W, 3) uint8 RGB out of a PNG or JPEG.

    Args:
        where: what an error calls it.

    Raises:
        DatasetError: it is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{where} is damaged: {one_line(error)}") from error


def _pts(frame: VideoFrame) -> int:
    assert frame.pts is not None
    return frame.pts


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except (OSError, FFmpegError) as error:
        raise DatasetError(f"{path} is damaged: {one_line(getattr(error, 'strerror', None) or error)}") from error
