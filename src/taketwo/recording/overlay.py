"""Episode, step and prompt written over a picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from taketwo.types import Pixels

HEIGHT_PART = 24
"""Text is this part of the picture's height, and at least `SMALLEST_TEXT` pixels."""

SMALLEST_TEXT = 10
DIM = 0.35

FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial.ttf")
"""Looked for on the system, in this order, since Pillow's own font has plain Latin letters alone."""
WHITE, GREY = (255, 255, 255), (205, 205, 205)


class Overlay:
    """A dark, translucent bar along the lower edge, with text in it."""

    def __init__(self, height: int) -> None:
        """For pictures of this height."""
        size = max(SMALLEST_TEXT, round(height / HEIGHT_PART))
        self._font = font(size)
        self._margin = size // 2
        # Measuring text takes milliseconds, and the same prompt stands for a whole episode.
        self._cut = lru_cache(maxsize=4)(self._measured_cut)
        self._bar = min(height, size + 2 * (size // 3) + 1)

    def draw(self, pixels: Pixels, episode: int, step: int, prompt: str | None) -> Pixels:
        """A copy of (H, W, 3) uint8 RGB with the text on it.

        Args:
            episode: its number as people count, from 1.
            prompt: cut to what fits.
        """
        drawn = pixels.copy()
        bar = drawn[-self._bar :]
        bar[:] = (bar * DIM).astype(bar.dtype)
        image = Image.fromarray(bar)
        canvas = ImageDraw.Draw(image)
        middle = self._bar / 2
        label = f"Episode {episode}   Step {step}"
        canvas.text((self._margin, middle), label, font=self._font, fill=WHITE, anchor="lm")
        if prompt:
            left = 3 * self._margin + self._font.getlength(f"Episode {episode}   Step 0000")
            text = self._cut(prompt, int(bar.shape[1] - self._margin - left))
            canvas.text((left, middle), text, font=self._font, fill=GREY, anchor="lm")
        bar[:] = np.asarray(image)
        return drawn

    def _measured_cut(self, prompt: str, width: int) -> str:
        return cut_to_width(" ".join(prompt.split()), self._font, width)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def cut_to_width(text: str, font: Font, width: int) -> str:
    """As much of a text as fits into `width` pixels, with dots where something is missing."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1].rstrip()
    return f"{text}..." if text else ""


def font(size: int) -> Font:
    """The first of `FONTS` that this machine has; else Pillow's own."""
    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
