"""Why pictures are drawn on the processor, and how to have a GPU draw them."""

from __future__ import annotations

import grp
import os
import re
from pathlib import Path

from taketwo import gl

VENDORS = ("usr/share/glvnd/egl_vendor.d", "etc/glvnd/egl_vendor.d")
"""Where libglvnd looks for EGL drivers (https://github.com/NVIDIA/libglvnd, src/EGL/icd_enumeration.md)."""

NVIDIA_EGL = "libEGL_nvidia.so.0"

LIMITING = 0.5
"""Part of a session's time from which on drawing is what limits it."""


def said_of_drawing(drawn_s: float, wall_s: float, renderer: str) -> str:
    """What to tell of a session whose speed was limited by drawing in software; empty for any other.

    Args:
        drawn_s: how long pictures were drawn, of the session's `wall_s`.
        renderer: what drew them, as `taketwo.gl.renderer` tells.
    """
    if not gl.in_software(renderer) or drawn_s < LIMITING * wall_s:
        return ""
    return (
        f"{100 * drawn_s / wall_s:.0f} % of the time was drawing, in software: fewer or smaller pictures, or those "
        "of --env.quality=preview, are faster, and taketwo doctor says what else is"
    )


def way_to_gpu(root: Path = Path("/")) -> str:
    """What to do on this machine, in a line.

    Args:
        root: folder with `dev`, `proc`, `usr` and `etc`.
    """
    if any((root / "dev").glob("nvidia[0-9]*")):
        return _nvidia(root)
    nodes = sorted((root / "dev/dri").glob("renderD*"))
    for node in nodes:
        if not os.access(node, os.R_OK | os.W_OK):
            return (
                f"/dev/dri/{node.name} may not be opened: sudo usermod -aG {_group(node)} $USER, and log in again "
                f"(in a container: --group-add {node.stat().st_gid})"
            )
    if nodes:
        return "the GPU has no OpenGL driver here: apt-get install libgl1-mesa-dri, or its vendor's"
    return "no GPU can be seen here; a container is given one by --gpus all (NVIDIA) or --device /dev/dri"


def _nvidia(root: Path) -> str:
    if not gl.loads(NVIDIA_EGL):
        return (
            f"the NVIDIA GPU cannot draw, since {NVIDIA_EGL} is missing. In a container: start it with "
            f"NVIDIA_DRIVER_CAPABILITIES=all, or what it has and graphics. Else: apt-get install "
            f"libnvidia-gl-{_nvidia_version(root)}"
        )
    if not any(list((root / folder).glob("*nvidia*.json")) for folder in VENDORS):
        return (
            f"EGL has not been told of the NVIDIA GPU: write "
            f'{{"file_format_version": "1.0.0", "ICD": {{"library_path": "{NVIDIA_EGL}"}}}} '
            f"to /{VENDORS[0]}/10_nvidia.json"
        )
    node = min((root / "dev").glob("nvidia[0-9]*"))
    if not os.access(node, os.R_OK | os.W_OK):
        return f"/dev/{node.name} may not be opened: sudo usermod -aG {_group(node)} $USER, and log in again"
    return (
        "the NVIDIA GPU is not used: see that its driver works (nvidia-smi), and that MUJOCO_EGL_DEVICE_ID is not set"
    )


def _nvidia_version(root: Path) -> str:
    """Major version of the kernel's driver, which the library has to match."""
    told = root / "proc/driver/nvidia/version"
    found = re.search(r"\b(\d{3,})\.\d+", told.read_text()) if told.exists() else None
    return found[1] if found else "VERSION"


def _group(node: Path) -> str:
    gid = node.stat().st_gid
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:  # a container need not know the host's groups
        return str(gid)
