"""A demonstration: the hand leads the arm to the cube, and the cube to another place."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from taketwo.testing.so101.arm import REST
from taketwo.testing.so101.hand import Hand, Keyframes
from taketwo.testing.so101.scene import CUBE_HALF_M, CUBE_START

PAN_X, LIFT_R, LIFT_Z = 0.0388, 0.0304, 0.1166
"""Metres: the pan axis from the base, and the lift axis from there, outwards and above the table."""

UPPER, UPPER_ANGLE = math.hypot(0.028, 0.1126), math.atan2(0.028, 0.1126)
FORE, FORE_ANGLE = math.hypot(0.1349, 0.0052), math.atan2(0.0052, 0.1349)
"""Metres and radians: the links between lift, elbow and wrist, and how far they lean at zero."""

WRIST_TO_GRASP = 0.146
BESIDE = 0.0135
"""Metres that the cube's middle lies left of the arm's plane before the jaws close."""

OPEN, CLOSED = 0.9, 0.05
"""Radians of the gripper; closed just past the cube, so that LeRobot's overload limit of 25 % is kept."""
ABOVE_M = 0.09


def reach(x: float, y: float, z: float, gripper: float) -> NDArray[np.float64]:
    """(6,) joint positions in radians at which the open jaws, pointing down, are about a point of the table's frame.

    Raises:
        ValueError: it is out of reach.
    """
    distance = math.hypot(x - PAN_X, y)
    pan = -(math.atan2(y, x - PAN_X) - math.asin(BESIDE / distance))
    out, up = math.sqrt(distance**2 - BESIDE**2) - LIFT_R, z + WRIST_TO_GRASP - LIFT_Z
    far = math.hypot(out, up)
    inner = math.acos((UPPER**2 + far**2 - FORE**2) / (2 * UPPER * far))  # the law of cosines, the elbow above
    rise = math.atan2(up, out) + inner
    fall = math.atan2(up - UPPER * math.sin(rise), out - UPPER * math.cos(rise))
    lift = math.pi / 2 - UPPER_ANGLE - rise
    elbow = FORE_ANGLE - lift - fall
    return np.array([pan, lift, elbow, math.pi / 2 - lift - elbow, 0.0, gripper])


def pick_and_place(to: tuple[float, float] = (0.19, -0.12), repeat: bool = False) -> Hand:
    """Ten seconds: to the cube where it begins, up with it, to `to` (metres on the table), down, and back to rest."""
    x, y, z = CUBE_START
    low = z - CUBE_HALF_M / 2
    poses = [
        REST,
        reach(x, y, z + ABOVE_M, OPEN),
        reach(x, y, low, OPEN),
        reach(x, y, low, CLOSED),
        reach(x, y, z + ABOVE_M, CLOSED),
        reach(*to, z + ABOVE_M, CLOSED),
        reach(*to, low, CLOSED),
        reach(*to, low, OPEN),
        reach(*to, z + ABOVE_M, OPEN),
        REST,
    ]
    times_s = [0.0, 1.5, 2.5, 3.2, 4.2, 5.7, 6.7, 7.3, 8.2, 10.0]
    return Keyframes(times_s, poses, repeat_s=10.0 if repeat else 0.0)
