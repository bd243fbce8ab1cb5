"""Which video encoders really work: each one is opened and given a frame.

Run as a module of its own, because encoders print what they like and drivers may crash.
"""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from typing import cast

SOFTWARE = ("libx264", "libx265", "libsvtav1")
HARDWARE = ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "h264_amf", "h264_v4l2m2m", "h264_videotoolbox")
TIMEOUT_S = 60.0


def working_encoders() -> list[str]:
    """Names of the encoders that gave packets, found by a process of its own; empty where that one died."""
    command = [sys.executable, "-P", "-m", "taketwo.cli.encoders"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return []
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return list(json.loads(lines[-1])) if lines else []


def encodes(name: str) -> bool:
    """Whether an encoder makes packets out of a grey picture of 256 x 256."""
    import av

    try:
        context = cast(av.VideoCodecContext, av.CodecContext.create(name, "w"))
        context.width = context.height = 256
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, 30)
        frame = av.VideoFrame(256, 256, "yuv420p")
        frame.pts = 0
        return bool([*context.encode(frame), *context.encode(None)])
    except (av.FFmpegError, ValueError):
        return False


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps([name for name in (*SOFTWARE, *HARDWARE) if encodes(name)]) + "\n")
