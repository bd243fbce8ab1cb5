"""How a round robot gets around an object, and past other robots, seen from above."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from taketwo.policies.push_contacts import DETOUR_M, Outline
from taketwo.types import FloatArray

STRIDE_RAD = 0.6
"""A detour goes from point to point of a circle, so far apart; first straight out to the circle."""

PASSING_M = 1.0
"""What it is worth not to have to pass another robot."""

PERSONAL_M = 0.25
"""Nearer than this to another robot's edge, one gives way."""


def waypoint(outline: Outline, here: FloatArray, goal: FloatArray, others: FloatArray) -> FloatArray:
    """(2,) where to head for now, to reach (2,) `goal` from (2,) `here`, with (R, 2) other robots about.

    All is in the object's frame. Where there is no straight way, the robot goes round on a circle; the shorter way,
    unless another robot is in it, and on a wider circle where it has to pass one.
    """
    if outline.free(here, goal) and not _met(here, goal, others, outline.radius):
        return goal
    bearing = _bearing(here)
    shorter = math.remainder(_bearing(goal) - bearing, 2 * math.pi)
    longer = shorter - math.copysign(2 * math.pi, shorter)
    turn, ring = min(
        ((turn, _ring(outline, bearing, turn, others)) for turn in (shorter, longer)),
        key=lambda way: abs(way[0]) * way[1] + PASSING_M * (way[1] > outline.ring),
    )
    inside = float(np.linalg.norm(here)) < ring - 0.5 * DETOUR_M
    stride = math.copysign(0.0 if inside else min(abs(turn), STRIDE_RAD), turn)
    return ring * np.array([math.cos(bearing + stride), math.sin(bearing + stride)])


def way_length(outline: Outline, here: FloatArray, goal: FloatArray) -> float:
    """About how many metres it is."""
    if outline.free(here, goal):
        return float(np.linalg.norm(goal - here))
    ring = outline.ring
    turn = math.remainder(_bearing(goal) - _bearing(here), 2 * math.pi)
    radial = sum(abs(ring - float(np.linalg.norm(end))) for end in (here, goal))
    return ring * abs(turn) + radial


def giving_way(index: int, velocities: Sequence[FloatArray], places: FloatArray, radius: float) -> FloatArray:
    """(2,) the velocity of robot `index`, turned away from the others.

    Args:
        velocities: (2,) of each robot, as it wants to go.
        places: (R, 2) of each robot.
        radius: of a robot.

    Whatever would bring two robots closer is taken out of their velocities, the more the nearer they are; both
    turn to their right instead, so that they pass each other.
    """
    velocity = velocities[index].copy()
    for other, place in enumerate(places):
        away = places[index] - place
        gap = float(np.linalg.norm(away)) - 2 * radius
        if other == index or gap >= PERSONAL_M:
            continue
        away = away / max(gap + 2 * radius, 1e-6)
        nearness = 1.0 - max(gap, 0.0) / PERSONAL_M
        closing = -float(velocity @ away)
        if closing > 0:
            right = np.array([-away[1], away[0]])
            velocity += nearness * closing * (away + 0.8 * right)
        velocity += 0.25 * max(nearness - 0.7, 0.0) * away
    return velocity


def _bearing(point: FloatArray) -> float:
    return math.atan2(point[1], point[0])


def _ring(outline: Outline, bearing: float, turn: float, others: FloatArray) -> float:
    """Radius of the circle that leads past the robots that stand in the way of a turn."""
    ring = outline.ring
    for other in others:
        ahead = math.copysign(1.0, turn) * (_bearing(other) - bearing) % (2 * math.pi)
        away = float(np.linalg.norm(other))
        if ahead < abs(turn) and away - 2 * outline.radius < outline.ring:
            ring = max(ring, away + 2 * outline.radius + DETOUR_M)
    return ring


def _met(here: FloatArray, goal: FloatArray, others: FloatArray, radius: float) -> bool:
    """Whether a straight way leads into another robot, other than at its very end."""
    way = goal - here
    length = max(float(np.linalg.norm(way)), 1e-9)
    for other in others:
        along = min(max(float((other - here) @ way) / length, 0.0), length)
        if along < length - radius and np.linalg.norm(here + way * along / length - other) < 2 * radius and along > 0:
            return True
    return False
