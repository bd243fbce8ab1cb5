"""Pictures to H.264, and H.264 to files that survive the death of their writer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import av
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from taketwo.recording.naming import cannot_write
from taketwo.types import Pixels

if TYPE_CHECKING:
    VideoPacket: TypeAlias = av.Packet[av.VideoStream]

BT709 = 1
"""Primaries and transfer function of BT.709, which sRGB shares or comes near to (ITU-T H.273)."""

BT601_MATRIX = 6
"""ITU-T H.273. It is written into the file, and readers that do not look there, such as PyAV 16's, take it for
granted: any other matrix gives them wrong colours."""

BT601_SCALER = 5
"""The same for FFmpeg's scaler."""

LIMITED_RANGE = 1
"""FFmpeg's number for luma from 16 to 235, which players expect."""

ENCODER_THREADS = 2
"""x264 then halves each picture. It keeps up with four times 50 Hz at 640x480 already with one thread, and the
cores belong to the simulator."""

FRAGMENTED = {"movflags": "+frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}
"""A fragment a frame, handed to the operating system at once: what is written survives the process."""


@contextmanager
def writing(path: Path, kept: str = "") -> Iterator[None]:
    """Turn what FFmpeg and the system say of a file into one line for the user.

    Raises:
        RecordingError: the body failed.
    """
    try:
        yield
    except (OSError, FFmpegError) as error:
        raise cannot_write(path, error, kept) from error


class H264Encoder:
    """Turns pictures into packets, one for one: nothing is held back, so nothing is lost when the process dies."""

    def __init__(self, width: int, height: int, fps: Fraction, crf: int, preset: str) -> None:
        """Width and height are even."""
        self.width, self.height, self.fps = width, height, fps
        self.options = {"crf": str(crf), "preset": preset, "tune": "zerolatency", "threads": str(ENCODER_THREADS)}
        self._context = av.CodecContext.create("libx264", "w")
        self.set_up(self._context)
        self._context.options = dict(self.options)
        self._context.open()
        self._reformatter = VideoReformatter()

    def set_up(self, context: av.VideoCodecContext) -> None:
        """Give a codec context this encoder's picture format and a key frame at least every second."""
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base, context.framerate = 1 / self.fps, self.fps
        context.gop_size = max(1, int(self.fps))
        context.colorspace, context.color_primaries, context.color_trc = BT601_MATRIX, BT709, BT709
        context.color_range = LIMITED_RANGE
        # The parameter sets go into the file's header, not before each key frame.
        context.flags |= av.codec.context.Flags.global_header

    def encode(self, pixels: Pixels, index: int, key_frame: bool) -> list[VideoPacket]:
        """The packet of frame `index`, which is shown at index / fps; (H, W, 3) uint8 RGB of this encoder's size."""
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=BT601_SCALER, dst_color_range=LIMITED_RANGE
        )
        frame.pts, frame.time_base = index, 1 / self.fps
        frame.pict_type = PictureType.I if key_frame else PictureType.NONE
        return self._context.encode(frame)


class FragmentedMp4:
    """An MP4 that plays up to its last frame at any time while it is written.

    Attributes:
        path: where it is.
        frames: how many it has.
    """

    def __init__(self, path: Path, encoder: H264Encoder, first_index: int, metadata: Mapping[str, str]) -> None:
        """Write the header.

        Args:
            encoder: the one whose packets will come.
            first_index: the index of the frame that the file begins with, a key frame.

        Raises:
            RecordingError: the file cannot be written.
        """
        self.path = path
        self.frames = 0
        self._first_index = first_index
        self._fps = encoder.fps
        with writing(path):
            self._container = av.open(str(path), "w", format="mp4", options=FRAGMENTED)
            self._container.metadata.update(metadata)
            # The stream's own encoder stays idle. It is there for the parameter sets that the header needs, which
            # are the same for the same options.
            self._stream = self._container.add_stream("libx264", rate=encoder.fps, options=dict(encoder.options))
            encoder.set_up(self._stream.codec_context)
            self._container.start_encoding()

    def write(self, packets: Sequence[VideoPacket]) -> None:
        """Append packets of the encoder; they stay as they are.

        Raises:
            RecordingError: the disk does not take them; the frames before are safe.
        """
        kept = "The frames up to here are safe in it and play" if self.frames > 1 else ""
        with writing(self.path, kept):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.stream = self._stream
                copy.time_base = 1 / self._fps
                assert packet.pts is not None
                copy.pts = copy.dts = packet.pts - self._first_index
                copy.duration = 1
                copy.is_keyframe = packet.is_keyframe
                self._container.mux(copy)
                self.frames += 1

    def close(self) -> None:
        """Write the last fragment.

        Raises:
            RecordingError: the disk does not take it.
        """
        with writing(self.path):
            self._container.close()
