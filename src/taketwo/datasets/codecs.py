"""How pictures are compressed: the encoders that a dataset's videos may come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, cast

from taketwo.errors import ConfigError, one_of

if TYPE_CHECKING:
    import av

GOP = 10
"""Frames from one key frame to the next: reading any one frame decodes 5.5 on average. LeRobot has 2; at the same
size of file that leaves it 5 dB behind."""

AUTO = "auto"


@dataclass(frozen=True)
class Codec:
    """One encoder and its settings.

    Attributes:
        encoder: FFmpeg's name of it.
        format: FFmpeg's name of what it makes.
        crf: its default quality, on its own scale; smaller is better.
        options: its settings for a quality. One packet comes out for each picture that goes in, without delay or
            reordering, so that a process that dies has lost nothing.
        tag: the four letters that players expect in the file, where FFmpeg's choice is another.
    """

    encoder: str
    format: str
    crf: float
    options: Callable[[float, int], Mapping[str, str]]
    tag: str | None = None


def _x264(crf: float, gop: int) -> Mapping[str, str]:
    # For a policy rather than for the eye: bits where the error is largest, not where it is seen most (aq-mode), and
    # good key frames, since all others lean on them (ip-factor). What makes decoding slow is left out: arithmetic
    # coding, deblocking, large transforms. Frames then come twice as fast out of files a seventh larger.
    params = "aq-mode=0:ip-factor=1.6:cabac=0:no-deblock=1:8x8dct=0"
    return {
        "crf": f"{crf:g}",
        "preset": "superfast",
        "tune": "zerolatency",
        "threads": "1",
        "x264-params": params,
        "forced-idr": "1",
    }


def _x265(crf: float, gop: int) -> Mapping[str, str]:
    params = f"log-level=error:keyint={gop}:scenecut=0:pools=none:frame-threads=1"
    return {"crf": f"{crf:g}", "preset": "ultrafast", "tune": "zerolatency", "x265-params": params, "forced-idr": "1"}


def _svt_av1(crf: float, gop: int) -> Mapping[str, str]:
    os.environ.setdefault("SVT_LOG", "1")  # else it writes a page about itself to the terminal for every file
    # Preset 12 leaves what was there before in the frame after a sudden change.
    return {"crf": f"{crf:g}", "preset": "10", "svtav1-params": "pred-struct=1:lookahead=0:lp=1"}


def _nvenc(crf: float, gop: int) -> Mapping[str, str]:
    return {
        "rc": "constqp",
        "qp": f"{crf:.0f}",
        "preset": "p4",
        "tune": "ull",
        "zerolatency": "1",
        "delay": "0",
        "forced-idr": "1",
    }


def _video_toolbox(crf: float, gop: int) -> Mapping[str, str]:
    return {"q:v": f"{max(1, min(100, 100 - 2 * crf)):.0f}", "realtime": "1"}


def _quick_sync(crf: float, gop: int) -> Mapping[str, str]:
    return {"global_quality": f"{crf:.0f}", "preset": "veryfast", "async_depth": "1"}


CODECS: Mapping[str, Codec] = {
    "h264": Codec("libx264", "h264", 30, _x264),
    "hevc": Codec("libx265", "hevc", 27, _x265, tag="hvc1"),
    "libsvtav1": Codec("libsvtav1", "av1", 30, _svt_av1),
    "h264_nvenc": Codec("h264_nvenc", "h264", 25, _nvenc),
    "hevc_nvenc": Codec("hevc_nvenc", "hevc", 27, _nvenc, tag="hvc1"),
    "h264_videotoolbox": Codec("h264_videotoolbox", "h264", 25, _video_toolbox),
    "hevc_videotoolbox": Codec("hevc_videotoolbox", "hevc", 27, _video_toolbox, tag="hvc1"),
    "h264_qsv": Codec("h264_qsv", "h264", 25, _quick_sync),
}
"""By LeRobot's name for it."""

HARDWARE = ("h264_nvenc", "h264_videotoolbox", "h264_qsv")
"""What `auto` tries, in this order, before `h264`."""


def find_codec(name: str) -> Codec:
    """The codec of a name; `auto` takes a hardware encoder where one works, and `h264` otherwise.

    Raises:
        ConfigError: there is none of that name, or this machine cannot encode with it.
    """
    if name == AUTO:
        return next((CODECS[known] for known in HARDWARE if works(known)), CODECS["h264"])
    if name not in CODECS:
        raise ConfigError(f"vcodec: {one_of('codec', name, [*CODECS, AUTO])}")
    if not works(name):
        raise ConfigError(f"vcodec {name} does not work on this machine: choose h264, which needs no hardware, or auto")
    return CODECS[name]


@cache
def works(name: str) -> bool:
    """Whether a picture can be encoded here; tried once."""
    import av
    from av.error import FFmpegError

    try:
        context = cast("av.VideoCodecContext", av.CodecContext.create(CODECS[name].encoder, "w"))
        set_up(context, 320, 240, Fraction(30), GOP, CODECS[name], CODECS[name].crf)
        frame = av.VideoFrame(320, 240, "yuv420p")
        frame.pts = 0
        return bool([*context.encode(frame), *context.encode(None)])
    except (FFmpegError, ValueError):
        return False


def set_up(
    context: av.VideoCodecContext, width: int, height: int, fps: Fraction, gop: int, codec: Codec, crf: float
) -> None:
    """Give a codec context its picture format, the codec's settings, and colours as `recording.encoder` has them."""
    from taketwo.recording.encoder import BT601_MATRIX, BT709, LIMITED_RANGE

    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = 1 / fps, fps
    context.gop_size, context.max_b_frames = gop, 0
    context.colorspace, context.color_primaries, context.color_trc = BT601_MATRIX, BT709, BT709
    context.color_range = LIMITED_RANGE
    context.options = dict(codec.options(crf, gop))
