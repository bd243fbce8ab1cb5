"""The objects that are pushed: what they are made of, and their outlines seen from above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from taketwo.types import FloatArray

ObjectName = Literal["cuboid", "cylinder", "t_block"]

HALF_HEIGHT = 0.18
"""Of every object, in metres."""

ROUND_CORNERS = 48
"""Corners of the polygon that stands for a circle; it lies inside by 0.2 % of the radius at most."""


@dataclass(frozen=True, eq=False)
class Shape:
    """An upright prism whose centre of mass is the origin of its frame.

    Attributes:
        boxes: (x, y, half length, half width) of each box that it is made of, in metres.
        radius: of the cylinder that it is, in metres; None where it is made of boxes.
        outline: (K, 2) corners seen from above, counter-clockwise, in metres.
        oriented: whether the target says how it is to be turned.
    """

    boxes: tuple[tuple[float, float, float, float], ...] = ()
    radius: float | None = None
    outline: FloatArray = field(default_factory=lambda: np.zeros((0, 2)))
    oriented: bool = False


def _cuboid(length: float, width: float) -> Shape:
    x, y = length / 2, width / 2
    return Shape(boxes=((0.0, 0.0, x, y),), outline=np.array([[-x, -y], [x, -y], [x, y], [-x, y]]))


def _cylinder(radius: float) -> Shape:
    angles = 2 * np.pi * np.arange(ROUND_CORNERS) / ROUND_CORNERS
    return Shape(radius=radius, outline=radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _t_block(bar: float, stem: float, width: float) -> Shape:
    """A bar along x, and a stem that hangs from its middle towards -y."""
    bar_area, stem_area = bar * width, stem * width
    bar_y = stem_area * (width + stem) / 2 / (bar_area + stem_area)  # of the bar's middle, above the centre of mass
    stem_y = bar_y - (width + stem) / 2
    x, half, top, under = bar / 2, width / 2, bar_y + width / 2, bar_y - width / 2
    foot = stem_y - stem / 2
    corners = [[-half, foot], [half, foot], [half, under], [x, under], [x, top], [-x, top], [-x, under], [-half, under]]
    boxes = ((0.0, bar_y, x, half), (0.0, stem_y, half, stem / 2))
    return Shape(boxes=boxes, outline=np.array(corners), oriented=True)


SHAPES: Mapping[ObjectName, Shape] = {
    "cuboid": _cuboid(length=0.9, width=0.6),
    "cylinder": _cylinder(radius=0.4),
    "t_block": _t_block(bar=0.96, stem=0.6, width=0.3),
}
