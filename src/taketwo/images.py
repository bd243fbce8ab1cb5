"""Pictures made fit for a policy, or for looking at."""

from __future__ import annotations

import io

from taketwo.types import Pixels


def resize_with_pad(pixels: Pixels, height: int, width: int) -> Pixels:
    """Scale a picture to fit into a frame, in proportion, in the middle, on black.

    Gives the very pixels of `openpi_client.image_tools.resize_with_pad`, which openpi's checkpoints are
    served with: Pillow's antialiased bilinear filter, and sizes rounded down.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        (height, width, 3) uint8; the very array that came where it has this size already.

    Raises:
        ValueError: the picture is so long and narrow that nothing of it would be left.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    # Here, since policies without pictures need no Pillow.
    import numpy as np
    from PIL import Image

    ratio = max(pixels.shape[1] / width, pixels.shape[0] / height)
    inner_height, inner_width = int(pixels.shape[0] / ratio), int(pixels.shape[1] / ratio)
    if not (inner_height and inner_width):
        raise ValueError(f"a picture of {pixels.shape[0]} x {pixels.shape[1]} pixels vanishes in {height} x {width}")
    scaled = Image.fromarray(pixels).resize((inner_width, inner_height), Image.Resampling.BILINEAR)
    frame = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    frame[top : top + inner_height, left : left + inner_width] = np.asarray(scaled)
    return frame


def jpeg_of(pixels: Pixels, quality: int) -> bytes:
    """The JPEG file of (H, W, 3) uint8 RGB pixels; quality from 1 to 95."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()
