"""One camera of an episode that is being recorded: pictures in, a file and statistics out, on a thread of its own."""

from __future__ import annotations

import contextlib
import io
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import av
import numpy as np
import pyarrow as pa
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from taketwo.datasets.codecs import Codec, set_up
from taketwo.datasets.row_log import RowLog
from taketwo.datasets.statistics import PixelStatistics, Statistics
from taketwo.errors import RecordingError
from taketwo.recording.encoder import BT601_SCALER, FRAGMENTED, LIMITED_RANGE, writing
from taketwo.session.punctuality import give_way
from taketwo.types import Pixels

if TYPE_CHECKING:
    from taketwo.recording.encoder import VideoPacket

QUEUE_FRAMES = 2
"""Pictures between the sink's thread and the encoder's. More would only be memory: the sink has its own queue."""

TEMPLATES_OF_ENCODERS = int(av.__version__.partition(".")[0]) >= 17
"""Whether PyAV lets a file take over an encoder's parameters; earlier ones open another, with settings of theirs."""

PNG_LEVEL = 1
"""zlib's fastest: a picture of 640x480 in a third of the time of the usual level, and a tenth larger."""

PICTURE_SCHEMA = pa.schema([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class VideoSettings:
    """How the pictures of a dataset are compressed."""

    codec: Codec
    crf: float
    gop: int


class PictureFile(Protocol):
    """A file that pictures are appended to, and that is readable up to the last one if the process dies."""

    def write(self, pixels: Pixels) -> None:
        """Append one, (H, W, 3) uint8 RGB.

        Raises:
            RecordingError: the disk does not take it.
        """
        ...

    def close(self) -> None:
        """Write what is left.

        Raises:
            RecordingError: the disk does not take it.
        """
        ...


class VideoEncoder:
    """Turns the pictures of a camera into packets, through all takes of a session: each one starts with a key frame.

    One encoder for all of them, because one takes 10 MB and half a dozen milliseconds to set up.
    """

    def __init__(self, width: int, height: int, fps: Fraction, video: VideoSettings) -> None:
        self._add_stream = partial(_add_stream, width, height, fps, video)
        self._time_base = 1 / fps
        self._reformatter = VideoReformatter()
        self._container, self._stream = self._opened()
        self._frames = self._first = self._packets = 0

    def begin_take(self) -> None:
        """The next picture is the first of a take."""
        if self._frames != self._first + self._packets:  # a take that failed left some inside
            self._open_again()
        self._first, self._packets = self._frames, 0

    def add_stream_to(self, container: av.container.OutputContainer) -> av.VideoStream:
        """A stream of a file, for this encoder's packets."""
        if TEMPLATES_OF_ENCODERS:
            return container.add_stream_from_template(self._stream, opaque=True)
        return self._add_stream(container)  # its own encoder stays idle, and has the same parameter sets

    def encode(self, pixels: Pixels) -> list[VideoPacket]:
        """Packets, with the take's first one at 0; (H, W, 3) uint8 RGB of the encoder's size."""
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=BT601_SCALER, dst_color_range=LIMITED_RANGE
        )
        frame.pts, frame.time_base = self._frames, self._time_base
        begins = self._frames == self._first
        frame.pict_type = PictureType.I if begins else PictureType.NONE
        packets = self._stream.encode(frame)
        if begins and packets and not packets[0].is_keyframe:  # not every encoder does what it is told
            self._open_again()
            packets = self._stream.encode(frame)
        self._frames += 1
        return self._in_take(packets)

    def end_take(self) -> list[VideoPacket]:
        """What the encoder still holds of the take."""
        if self._frames == self._first + self._packets:
            return []
        packets = self._in_take(self._stream.encode(None))
        self._open_again()  # an encoder that was flushed takes nothing more
        return packets

    def close(self) -> None:
        """End it; what it still holds is lost."""
        with contextlib.suppress(FFmpegError):  # it was ended before
            self._stream.encode(None)
        self._container.close()

    def _open_again(self) -> None:
        self._container.close()  # PyAV below 18 damages memory when a container that was started is dropped open
        self._container, self._stream = self._opened()

    def _opened(self) -> tuple[av.container.OutputContainer, av.VideoStream]:
        """An encoder in a file in memory, of which only the header is written."""
        container = av.open(io.BytesIO(), "w", format="mp4", options=FRAGMENTED)
        stream = self._add_stream(container)
        container.start_encoding()
        return container, stream

    def _in_take(self, packets: list[VideoPacket]) -> list[VideoPacket]:
        for packet in packets:
            assert packet.pts is not None
            packet.pts = packet.dts = packet.pts - self._first
            packet.time_base = self._time_base
            packet.duration = 1
        self._packets += len(packets)
        return packets


def _add_stream(
    width: int, height: int, fps: Fraction, video: VideoSettings, container: av.container.OutputContainer
) -> av.VideoStream:
    stream = cast("av.VideoStream", container.add_stream(video.codec.encoder, rate=fps))
    context = stream.codec_context
    set_up(context, width, height, fps, video.gop, video.codec, video.crf)
    context.flags |= av.codec.context.Flags.global_header
    if video.codec.tag is not None:
        context.codec_tag = video.codec.tag
    return stream


class VideoLog:
    """A fragmented MP4: it plays up to its last picture at any time."""

    def __init__(self, path: Path, encoder: VideoEncoder) -> None:
        """Write the header.

        Raises:
            RecordingError: the file cannot be written.
        """
        self._path = path
        self._encoder = encoder
        encoder.begin_take()
        with writing(path):
            self._container = av.open(str(path), "w", format="mp4", options=FRAGMENTED)
            self._stream = encoder.add_stream_to(self._container)
            self._container.start_encoding()

    def write(self, pixels: Pixels) -> None:
        """Append one picture."""
        self._mux(self._encoder.encode(pixels))

    def close(self) -> None:
        """Write the last fragment."""
        with writing(self._path):
            try:
                self._mux(self._encoder.end_take())
            finally:
                self._container.close()

    def _mux(self, packets: Sequence[VideoPacket]) -> None:
        with writing(self._path):
            for packet in packets:
                packet.stream = self._stream
                self._container.mux(packet)


class PngLog:
    """PNG pictures as rows."""

    def __init__(self, path: Path) -> None:
        self._log = RowLog(path, PICTURE_SCHEMA, batch_rows=1)

    def write(self, pixels: Pixels) -> None:
        """Append one picture."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=PNG_LEVEL)
        self._log.add({"bytes": buffer.getvalue(), "path": None})

    def close(self) -> None:
        """Write the end."""
        self._log.close()


class CameraThread:
    """Writes the pictures of one camera while the session goes on.

    Attributes:
        key: the camera's column.
    """

    def __init__(self, key: str, height: int, width: int, file: PictureFile) -> None:
        self.key = key
        self._shape = (height, width, 3)
        self._file = file
        self._statistics = PixelStatistics(height, width)
        self._pictures: queue.Queue[Pixels | None] = queue.Queue(QUEUE_FRAMES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"camera-{key}", daemon=True)
        self._thread.start()

    def add(self, pixels: Pixels) -> None:
        """Hand over one picture, (H, W, 3) uint8; waits while the encoder is behind.

        Raises:
            RecordingError: it has another shape, or what the encoder failed with.
        """
        if pixels.dtype != np.uint8 or pixels.shape != self._shape:
            raise RecordingError(
                f"{self.key} gave {pixels.dtype} of shape {pixels.shape}; the dataset has uint8 {self._shape}"
            )
        self._raise()
        self._pictures.put(pixels)

    def finish(self) -> Statistics:
        """Write what is left; the statistics of all pictures.

        Raises:
            RecordingError: the encoder or the disk failed.
        """
        self._end()
        self._raise()
        return self._statistics.result()

    def abandon(self) -> None:
        """Stop, and leave the file as it is."""
        self._end()

    def _end(self) -> None:
        self._pictures.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        give_way()
        try:
            while (pixels := self._pictures.get()) is not None:
                self._statistics.add(pixels)
                self._file.write(pixels)
        except BaseException as error:  # noqa: BLE001 - handed to whoever adds or finishes
            self._error = error
            while self._pictures.get() is not None:
                pass
        try:
            self._file.close()
        except BaseException as error:  # noqa: BLE001 - the same
            self._error = self._error or error
