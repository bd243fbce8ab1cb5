"""Rates as exact fractions."""

from __future__ import annotations

from fractions import Fraction


def exact_fps(fps: float) -> Fraction:
    """A rate as a fraction of small numbers: rates are given as floats, and 1 / 0.03 stands for 100 / 3."""
    return Fraction(fps).limit_denominator(1001)
