"""One picture out of several, in a size that H.264 takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taketwo.types import Pixels


def side_by_side(pictures: Sequence[Pixels]) -> Pixels:
    """(H, W, 3) uint8: pictures from left to right, lower ones centred on black. A single one comes as it is."""
    if len(pictures) == 1:
        return pictures[0]
    height = max(picture.shape[0] for picture in pictures)
    whole = np.zeros((height, sum(picture.shape[1] for picture in pictures), 3), np.uint8)
    left = 0
    for picture in pictures:
        top = (height - picture.shape[0]) // 2
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1]
    return whole


def padded_to_even(pixels: Pixels) -> Pixels:
    """`pixels` with its last row or column twice where their number is odd: 4:2:0 video has colour for pairs."""
    odd_rows, odd_columns = pixels.shape[0] % 2, pixels.shape[1] % 2
    if not odd_rows and not odd_columns:
        return pixels
    return np.pad(pixels, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
