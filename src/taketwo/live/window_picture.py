"""What a window shows: cameras side by side, and below them a bar about the session."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from taketwo.recording.overlay import cut_to_width, font
from taketwo.types import Pixels

LARGEST, SMALLEST = (1280, 800), (640, 360)
"""Width and height of a window at first; later the user has it as he likes."""

BAR = 50
"""Height of the bar, in pixels."""

GAP = 2
BACKGROUND, BAR_COLOUR = (12, 13, 15), (24, 26, 30)
WHITE, GREY, DIM = (240, 240, 240), (180, 184, 190), (122, 128, 136)
GREEN, RED, AMBER, BLUE = (74, 200, 120), (240, 100, 95), (240, 180, 70), (110, 170, 250)

STATUS_COLOURS = {"running": GREEN, "paused": AMBER, "ending": BLUE, "redoing": BLUE, "retrying": BLUE, "stopping": RED}

HINTS = (
    ("→", "end episode"),
    ("←", "redo"),
    ("space", "pause"),
    ("s", "success"),
    ("f", "failure"),
    ("i", "intervene"),
    ("esc", "stop"),
)

NOTHING_YET: Mapping[str, Any] = {
    "status": "starting",
    "episode": "",
    "step": None,
    "marked": None,
    "retries": 0,
    "prompt": "",
}
"""What is told before anything has happened."""

Box = tuple[int, int, int, int]
"""Left, top, width, height, in pixels."""


def first_size(sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Width and height of a window that suits pictures of these heights and widths."""
    columns = math.ceil(math.sqrt(len(sizes))) or 1
    rows = math.ceil(len(sizes) / columns)
    height = rows * max((height for height, _ in sizes.values()), default=0)
    width = columns * max((width for _, width in sizes.values()), default=0)
    if not (height and width):
        return SMALLEST[0], BAR
    largest = min(LARGEST[0] / width, (LARGEST[1] - BAR) / height)
    smallest = max(SMALLEST[0] / width, SMALLEST[1] / height)
    scale = min(max(1.0, smallest), largest)
    return round(width * scale), round(height * scale) + BAR


def tiled(sizes: Sequence[tuple[int, int]], width: int, height: int) -> list[Box]:
    """Where pictures of these heights and widths go in an area, each as large as fits, in proportion.

    Of all numbers of columns that one counts which shows most.
    """
    arrangements = [_in_columns(sizes, columns, width, height) for columns in range(1, len(sizes) + 1)]
    return max(arrangements, key=lambda boxes: sum(box[2] * box[3] for box in boxes), default=[])


def _in_columns(sizes: Sequence[tuple[int, int]], columns: int, width: int, height: int) -> list[Box]:
    rows = math.ceil(len(sizes) / columns)
    cell_width, cell_height = width // columns, height // rows
    boxes = []
    for number, (picture_height, picture_width) in enumerate(sizes):
        row, column = divmod(number, columns)
        scale = min((cell_width - GAP) / picture_width, (cell_height - GAP) / picture_height)
        shown_width, shown_height = max(1, int(picture_width * scale)), max(1, int(picture_height * scale))
        left = column * cell_width + (cell_width - shown_width) // 2
        top = row * cell_height + (cell_height - shown_height) // 2
        boxes.append((left, top, shown_width, shown_height))
    return boxes


class WindowPicture:
    """Draws the picture of a window, and keeps the cameras' newest pictures for it."""

    def __init__(self, cv2: ModuleType, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Args: sizes: camera to height and width of its pictures; they are black until one comes."""
        self._cv2 = cv2
        self._pictures: dict[str, Pixels] = {
            camera: np.zeros((height, width, 3), np.uint8) for camera, (height, width) in sizes.items()
        }
        self._bar = Bar()
        self._label_font = font(12)

    def drawn(self, told: Mapping[str, Any], pictures: Mapping[str, Pixels], width: int, height: int) -> Pixels:
        """(height, width, 3) uint8, BGR, as OpenCV has it.

        Args:
            told: of the session.
            pictures: camera to (H, W, 3) uint8 RGB, where there is a new one.
        """
        self._pictures |= pictures
        width, height = max(width, 80), max(height, BAR + 40)
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = BACKGROUND
        boxes = tiled([pixels.shape[:2] for pixels in self._pictures.values()], width, height - BAR)
        for (camera, pixels), box in zip(self._pictures.items(), boxes, strict=True):
            self._put(canvas, pixels, box)
            if len(boxes) > 1:
                self._label(canvas, camera, box)
        canvas[-BAR:] = self._bar.drawn(told, width)
        return self._cv2.cvtColor(canvas, self._cv2.COLOR_RGB2BGR)  # type: ignore[no-any-return]

    def _put(self, canvas: Pixels, pixels: Pixels, box: Box) -> None:
        left, top, width, height = box
        how = self._cv2.INTER_AREA if width < pixels.shape[1] else self._cv2.INTER_LINEAR
        canvas[top : top + height, left : left + width] = self._cv2.resize(pixels, (width, height), interpolation=how)

    def _label(self, canvas: Pixels, camera: str, box: Box) -> None:
        left, top, width, height = box
        wide = min(width, round(self._label_font.getlength(camera)) + 12)
        part = canvas[top : top + min(18, height), left : left + wide]
        image = Image.fromarray((part * 0.35).astype(np.uint8))
        ImageDraw.Draw(image).text((6, 9), camera, font=self._label_font, fill=WHITE, anchor="lm")
        part[:] = np.asarray(image)


class Bar:
    """The bar: where the session is, what it does, the prompt; and below, smaller, the keys."""

    def __init__(self) -> None:
        self._font, self._small = font(15), font(11)
        # Measuring text takes milliseconds, and the same prompt stands for a whole episode.
        self._cut = lru_cache(maxsize=4)(partial(cut_to_width, font=self._font))

    def drawn(self, told: Mapping[str, Any], width: int) -> Pixels:
        """(BAR, width, 3) uint8 RGB."""
        image = Image.new("RGB", (width, BAR), BAR_COLOUR)
        canvas = ImageDraw.Draw(image)
        colour = STATUS_COLOURS.get(told["status"], DIM)
        canvas.ellipse((12, 11, 20, 19), fill=colour)
        left = self._write(canvas, 28, told["status"], colour)
        if told["episode"]:
            left = self._write(canvas, left, told["episode"], WHITE)
        if told["step"] is not None:
            text = f"Step {told['step']}"
            canvas.text((left, 15), text, font=self._font, fill=WHITE, anchor="lm")
            left += max(self._font.getlength("Step 000"), self._font.getlength(text)) + 16
        if told["marked"] is not None:
            verdict, colour = ("success", GREEN) if told["marked"] else ("failure", RED)
            left = self._write(canvas, left, f"marked {verdict}", colour)
        if told["retries"]:
            left = self._write(canvas, left, f"retried {told['retries']}x", BLUE)
        prompt = self._cut(told["prompt"], width=int(width - left - 12))
        canvas.text((left, 15), prompt, font=self._font, fill=GREY, anchor="lm")
        self._draw_hints(canvas, width, told["status"] == "paused")
        return np.asarray(image)

    def _write(self, canvas: ImageDraw.ImageDraw, left: float, text: str, colour: tuple[int, int, int]) -> float:
        canvas.text((left, 15), text, font=self._font, fill=colour, anchor="lm")
        return left + self._font.getlength(text) + 16

    def _draw_hints(self, canvas: ImageDraw.ImageDraw, width: int, is_paused: bool) -> None:
        left = 12.0
        for key, what in HINTS:
            meaning = "resume" if key == "space" and is_paused else what
            cap = 16.0 if key in "→←" else self._small.getlength(key) + 10
            end = left + cap + 5 + self._small.getlength(meaning)
            if end > width - 8:
                return
            canvas.rounded_rectangle((left, 29, left + cap, 44), 3, outline=(70, 74, 82), fill=(38, 41, 47))
            self._draw_key(canvas, key, left + cap / 2)
            canvas.text((left + cap + 5, 36), meaning, font=self._small, fill=DIM, anchor="lm")
            left = end + 14

    def _draw_key(self, canvas: ImageDraw.ImageDraw, key: str, middle: float) -> None:
        if key not in "→←":
            canvas.text((middle, 36), key, font=self._small, fill=GREY, anchor="mm")
            return
        # Drawn, since not every font has arrows.
        way = 1 if key == "→" else -1
        canvas.line((middle - 4 * way, 36.5, middle + 2 * way, 36.5), fill=GREY)
        canvas.polygon([(middle + way, 33.5), (middle + 4 * way, 36.5), (middle + way, 39.5)], fill=GREY)
