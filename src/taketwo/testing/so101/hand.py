"""A hand that moves a limp arm: joint positions over time, as a function or as poses to pass through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taketwo.testing.so101.arm import LIMITS, REST

Hand = Callable[[float], NDArray[np.float64]]
"""(6,) joint positions in radians at a time in seconds since the hand took hold."""


@dataclass(frozen=True, eq=False)
class Keyframes:
    """Poses with times, and smooth ways between them; before the first and after the last it holds still.

    Attributes:
        times_s: (K,) growing seconds.
        poses: (K, 6) radians.
        repeat_s: begin again after so long; 0 for once.
    """

    times_s: Sequence[float]
    poses: Sequence[NDArray[np.float64]]
    repeat_s: float = 0.0

    def __call__(self, time_s: float) -> NDArray[np.float64]:
        """(6,) radians, with zero velocity at every pose (minimum jerk; Flash and Hogan, 1985)."""
        if self.repeat_s:
            time_s %= self.repeat_s
        after = int(np.searchsorted(self.times_s, time_s, side="right"))
        if after in (0, len(self.times_s)):
            return np.asarray(self.poses[min(after, len(self.times_s) - 1)], np.float64)
        begin, end = self.times_s[after - 1 : after + 1]
        s = (time_s - begin) / (end - begin)
        share = s**3 * (10 - 15 * s + 6 * s**2)
        begin_pose, end_pose = (np.asarray(pose, np.float64) for pose in self.poses[after - 1 : after + 1])
        between: NDArray[np.float64] = begin_pose + share * (end_pose - begin_pose)
        return between


def wave(period_s: float = 4.0) -> Hand:
    """All joints swing about a pose above the table, each by its own share, and are back after `period_s`."""
    middle = np.array([0.0, -0.4, 0.3, 0.6, 0.0, 0.6])
    swing = np.array([0.6, 0.3, 0.3, 0.3, 0.8, 0.5])
    phases = np.arange(6) * 0.7

    def at(time_s: float) -> NDArray[np.float64]:
        return np.asarray(middle + swing * np.sin(2 * np.pi * time_s / period_s + phases))

    return at


def sweep(joint_s: float = 1.0) -> Hand:
    """Calibration's second part: the middle of all ranges, then joint after joint to both of its ends and back."""
    middle = LIMITS.mean(axis=1)
    poses = [middle]
    for number in range(6):
        for end in LIMITS[number]:
            pose = middle.copy()
            pose[number] = end
            poses.append(pose)
        poses.append(middle)
    return Keyframes([joint_s / 3 * number for number in range(len(poses))], poses)


def hold(pose: NDArray[np.float64] = REST) -> Hand:
    """Keep still at (6,) radians."""
    return lambda time_s: pose
