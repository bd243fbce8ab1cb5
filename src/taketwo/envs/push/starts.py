"""Where an episode of the push world begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taketwo.envs.push.model import ARENA_HALF, ROBOT_RADIUS
from taketwo.types import FloatArray

OBJECT_WITHIN, TARGET_WITHIN = 1.2, 1.5
"""Metres from the middle, in x and y: so far from the walls that robots get behind the object everywhere."""

DISTANCE = (1.0, 2.4)
"""Least and greatest metres between object and target."""

ROBOT_FROM_OBJECT, ROBOT_FROM_ROBOT = 1.0, 0.6
"""Least metres between their centres."""


@dataclass(frozen=True, eq=False)
class Start:
    """Poses are x and y in metres and yaw in radians.

    Attributes:
        robots: (R, 3) poses.
        object: (3,) pose.
        target: (3,) pose.
    """

    robots: FloatArray
    object: FloatArray
    target: FloatArray


def draw_start(seed: int, robots: int) -> Start:
    """A random start; the object and the target do not depend on the number of robots."""
    random = np.random.default_rng(seed)
    while True:
        thing = random.uniform(-OBJECT_WITHIN, OBJECT_WITHIN, 2)
        target = random.uniform(-TARGET_WITHIN, TARGET_WITHIN, 2)
        if DISTANCE[0] <= np.linalg.norm(target - thing) <= DISTANCE[1]:
            break
    turns = random.uniform(-np.pi, np.pi, 2)
    places: list[FloatArray] = []
    reach = ARENA_HALF - 2 * ROBOT_RADIUS
    while len(places) < robots:
        place = random.uniform(-reach, reach, 2)
        free = all(np.linalg.norm(place - other) >= ROBOT_FROM_ROBOT for other in places)
        if free and np.linalg.norm(place - thing) >= ROBOT_FROM_OBJECT:
            places.append(place)
    headings = random.uniform(-np.pi, np.pi, robots)
    return Start(
        robots=np.column_stack([places, headings]),
        object=np.array([*thing, turns[0]]),
        target=np.array([*target, turns[1]]),
    )
