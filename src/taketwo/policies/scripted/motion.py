"""Smooth joint motion towards a goal that may move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taketwo.types import FloatArray

MAX_SPEED = 2.5
"""Radians per second of the fastest joint; the ViperX 300's motors do about pi."""

MAX_ACCELERATION = 8.0
"""Radians per second squared of the fastest joint."""


@dataclass(frozen=True, eq=False)
class JointMotion:
    """Where the joints are told to be, and how fast they move.

    Attributes:
        position: (6,) radians.
        velocity: (6,) radians per second.
    """

    position: FloatArray
    velocity: FloatArray

    @classmethod
    def at_rest(cls, position: FloatArray) -> JointMotion:
        """Standing still at (6,) joint angles."""
        return cls(np.array(position), np.zeros_like(position))

    def towards(self, goal: FloatArray, dt: float, speed: float = 1.0) -> JointMotion:
        """One control period further to `goal`, all joints in step, so that they stop together.

        A trapezoid of speed, decided anew each time from the distance left; `speed` scales its top.
        """
        remaining = goal - self.position
        longest = float(np.abs(remaining).max())
        wanted = np.zeros_like(remaining)
        if longest > 0:
            # The fastest speed v from which v * dt + v**2 / (2 * a) still fits into what is left.
            braking = MAX_ACCELERATION * (np.sqrt(dt * dt + 2 * longest / MAX_ACCELERATION) - dt)
            wanted = remaining * (min(MAX_SPEED * speed, braking) / longest)
        change = wanted - self.velocity
        most = float(np.abs(change).max())
        limit = MAX_ACCELERATION * dt
        if most > limit:
            change = change * (limit / most)
        velocity = self.velocity + change
        return JointMotion(self.position + velocity * dt, velocity)
