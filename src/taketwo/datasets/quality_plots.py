"""Small plots and pictures inside of an HTML page: SVG and JPEG, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from taketwo.datasets.quality_findings import Place
from taketwo.types import FloatArray, Pixels

WIDTH, HEIGHT = 600, 80
"""Units of a plot's own; it is stretched to the width that it gets."""

MARGIN = 6
"""Free units above the largest value and below the smallest."""

BINS = 150
"""Stretches of rows of a long line, each drawn from its smallest value to its largest, so that no peak is lost."""

MARK_WIDTH = 12
"""Units that a marked place has at least, to be seen."""

THUMBNAIL_WIDTH = 176
"""Pixels."""

THUMBNAIL_QUALITY = 65
"""Of JPEG, from 1 to 95."""


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        values: (n,); those that are not finite leave a gap.
        style: the class of its colour in the page.
        rows: (n,) the rows that they belong to; 0, 1, 2, ... where None.
    """

    values: FloatArray
    style: str
    rows: FloatArray | None = None


def plot(title: str, lines: Sequence[Line], length: int, places: Iterable[Place], unit: str = "") -> str:
    """A titled plot over `length` rows, with marked places."""
    finite = np.concatenate([line.values[np.isfinite(line.values)] for line in lines] or [np.empty(0)])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    marks = "".join(_mark(place, length) for place in places)
    paths = "".join(f'<path class="{line.style}" d="{_path(line, length, low, high)}"/>' for line in lines)
    ends = (f"{_number(low)} … {_number(high)}" if high > low else f"always {_number(low)}") + (unit and f" {unit}")
    label = escape(f"{title}, {ends}")
    return (
        f'<figure class="plot"><figcaption><b>{escape(title)}</b> <span>{escape(ends)}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{marks}{paths}</svg></figure>"
    )


def thumbnail(pixels: Pixels, caption: str, found: bool) -> str:
    """A small picture of (H, W, 3) uint8 with a line below it."""
    from PIL import Image

    height = max(1, round(pixels.shape[0] * THUMBNAIL_WIDTH / pixels.shape[1]))
    small = Image.fromarray(pixels)
    if pixels.shape[1] > THUMBNAIL_WIDTH:
        small = small.resize((THUMBNAIL_WIDTH, height), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=THUMBNAIL_QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    text = escape(caption)
    return (
        f'<figure class="thumb{" found" if found else ""}"><img width="{THUMBNAIL_WIDTH}" height="{height}" '
        f'alt="{text}" src="data:image/jpeg;base64,{data}"><figcaption>{text}</figcaption></figure>'
    )


def _number(value: float) -> str:
    """Three digits, and no exponent where it can be helped."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def _mark(place: Place, length: int) -> str:
    first, last = (_across(row, length) for row in place)
    width = max(MARK_WIDTH, last - first)
    left = min(max(0.0, (first + last - width) / 2), WIDTH - width)
    return f'<rect class="mark" x="{left:.0f}" y="0" width="{width:.0f}" height="{HEIGHT}"/>'


def _across(row: float, length: int) -> float:
    return WIDTH * row / max(1, length - 1)


def _path(line: Line, length: int, low: float, high: float) -> str:
    rows = np.arange(len(line.values), dtype=np.float64) if line.rows is None else line.rows
    points = []
    command = "M"
    for row, value in _thinned(rows, line.values):
        if not np.isfinite(value):
            command = "M"
            continue
        part = (value - low) / (high - low) if high > low else 0.5
        points.append(f"{command}{_across(row, length):.0f} {HEIGHT - MARGIN - part * (HEIGHT - 2 * MARGIN):.0f}")
        command = "L"
    return "".join(points)


def _thinned(rows: FloatArray, values: FloatArray) -> Iterable[tuple[float, float]]:
    """Two points per bin, the smallest and the largest in their order; all points where they are few."""
    if len(values) <= 2 * BINS:
        return zip(rows.tolist(), values.tolist(), strict=True)
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(values)), BINS):
        finite = part[np.isfinite(values[part])]
        if len(finite):
            kept |= {int(finite[np.argmin(values[finite])]), int(finite[np.argmax(values[finite])])}
        else:
            kept.add(int(part[0]))
    chosen = sorted(kept)
    return zip(rows[chosen].tolist(), values[chosen].tolist(), strict=True)
