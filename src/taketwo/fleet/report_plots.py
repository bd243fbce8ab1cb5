"""Plots of a report: SVG inside of the page, as wide as its place, with lengths in percent so that nothing is bent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from taketwo.fleet.statistics import Interval

BARS = 24
"""Of a histogram, at most."""

NICE = (1, 2, 2.5, 5, 10)
"""Widths of a histogram's bars, times a power of ten."""

HEIGHT = 180
"""Pixels of a histogram."""

GRID = (0, 25, 50, 75, 100)
"""Percent, where plots of rates have lines."""


@dataclass(frozen=True)
class Part:
    """A part of a bar.

    Attributes:
        style: the class of its colour in the page.
        label: what it is.
        value: how much it is; 0 or more.
    """

    style: str
    label: str
    value: float


def interval_plot(rate: float | None, interval: Interval, label: str) -> str:
    """A rate as a dot on its interval, from 0 to 100 %.

    Args:
        rate: from 0 to 1; None where there is none, and then only the frame is drawn.
        label: the same in words.
    """
    lines = "".join(f'<line class="grid" x1="{at}%" x2="{at}%" y1="0" y2="100%"/>' for at in GRID)
    shown = ""
    if rate is not None:
        low, high = 100 * interval.low, 100 * interval.high
        shown = (
            f'<rect class="interval" x="{low:.2f}%" width="{max(high - low, 0.5):.2f}%" y="9" height="8" rx="4"/>'
            f'<circle class="rate" cx="{100 * rate:.2f}%" cy="13" r="5"/>'
        )
    return f'<svg class="row" role="img" aria-label="{escape(label)}">{lines}{shown}</svg>'


def stacked_bar(parts: Sequence[Part], label: str) -> str:
    """Parts beside each other, as long as all of them are of the whole."""
    total = sum(part.value for part in parts)
    drawn, at = [], 0.0
    for part in parts:
        share = 100 * part.value / total if total else 0.0
        title = escape(f"{part.label}: {part.value:g}")
        drawn.append(
            f'<rect class="{part.style}" x="{at:.2f}%" width="{share:.2f}%" height="100%"><title>{title}</title></rect>'
        )
        at += share
    return f'<svg class="bar" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>'


def histogram(groups: Mapping[str, tuple[str, Sequence[float]]], unit: str) -> str:
    """How many episodes have which value, as bars; the groups are stacked.

    Args:
        groups: name of a group to the class of its colour, and its values; the first is at the bottom.
        unit: what the values are, such as `steps`.
    """
    every = [value for _, values in groups.values() for value in values]
    if not every:
        return "<p class='quiet'>There is nothing to show.</p>"
    first, width, count = _bins(min(every), max(every))
    counts = {name: _counted(values, first, width, count) for name, (_, values) in groups.items()}
    most = max(sum(own[place] for own in counts.values()) for place in range(count))
    bars = []
    for place in range(count):
        bottom = 0
        for name, (style, _) in groups.items():
            number = counts[name][place]
            if number:
                top = 100 * (1 - (bottom + number) / most)
                title = (
                    f"{name}: {number} of {_number(first + place * width)} to {_number(first + (place + 1) * width)}"
                )
                bars.append(
                    f'<rect class="{style}" x="{100 * (place + 0.06) / count:.2f}%" width="{88 / count:.2f}%" '
                    f'y="{top:.2f}%" height="{100 * number / most:.2f}%"><title>{title} {unit}</title></rect>'
                )
                bottom += number
    ends = [first, first + width * count / 2, first + width * count]
    axis = "".join(f"<span>{_number(end)}</span>" for end in ends)
    return (
        f'<div class="histogram"><span class="most">{most} {"episode" if most == 1 else "episodes"}</span>'
        f'<svg height="{HEIGHT}" role="img" aria-label="histogram of {escape(unit)}">{"".join(bars)}</svg>'
        f'<div class="axis">{axis}</div><p class="unit">{escape(unit)}</p></div>'
    )


def _bins(low: float, high: float) -> tuple[float, float, int]:
    """Where the first bar begins, how wide bars are, and how many there are; the highest value is inside the last."""
    least = max((high - low) / BARS, 1e-9 if high > low else 1.0)
    power = 10.0 ** math.floor(math.log10(least))
    width = next(nice * power for nice in NICE if nice * power >= least * (1 - 1e-9))
    first = math.floor(low / width) * width
    return first, width, max(1, math.floor((high - first) / width + 1e-9) + 1)


def _counted(values: Sequence[float], first: float, width: float, count: int) -> list[int]:
    counts = [0] * count
    for value in values:
        counts[min(count - 1, math.floor((value - first) / width + 1e-9))] += 1
    return counts


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"
