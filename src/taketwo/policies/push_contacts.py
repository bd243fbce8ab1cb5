"""Where robots best take hold of an object that they push: pairs of places on its outline.

All is seen from above, in the object's frame, whose origin is its centre of mass. A push at point p along the
inward normal -n has the force f = -n and the torque p x f. For an object that slides on the floor, motion goes with
force as the limit surface says (Goyal, Ruina and Papadopoulos 1991, "Planar sliding with dry friction"); here that
surface is taken as a sphere once torques are divided, and turns multiplied, by the object's `lever` (Howe and
Cutkosky 1996, "Practical force-motion models for sliding manipulation", take an ellipsoid). Motion and push are
then vectors of three numbers that are to point the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taketwo.types import FloatArray

SPACING_M = 0.04
"""Between neighbouring places on the outline, at most."""

GAP_M = 0.06
"""Left between two robots that stand side by side."""

BACKED_OFF_M = 0.10
"""Room between a robot and the object while it waits for the other."""

CLEARANCE_M = 0.03
"""Least room between a robot and the object on a straight way."""

DETOUR_M = 0.12
"""Room between a robot and the object's circle, when it goes round."""

ANOTHER_PLACE_M = 0.15
"""So far apart two places are not the same."""

SPREAD_WEIGHT = 0.15
"""What a metre between the two robots is worth, against the cosine of the angle between push and wanted motion.
Robots far apart steer better, and their pushes need not be as exact."""


STRENGTH_WEIGHT = 0.4
"""What it is worth when a robot's push goes all into the wanted motion, and none against the other's push."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where a robot can stand against an object.

    Attributes:
        points: (K, 2) points of the outline.
        normals: (K, 2) outward unit normals there.
        centres: (K, 2) where a robot's centre is when it touches.
        pushes: (K, 3) force and torque / lever of a push of 1 N along the inward normal.
    """

    points: FloatArray
    normals: FloatArray
    centres: FloatArray
    pushes: FloatArray


class Outline:
    """A polygon, counter-clockwise, and where a disc can touch it.

    Attributes:
        radius: of the robots, in metres.
        ring: radius, in metres, of the circle on which robots go round the object.
        lever: root mean square of the distance of its points from the centre of mass, in metres.
        places: where robots can stand.
    """

    def __init__(self, corners: FloatArray, radius: float) -> None:
        """Take (K, 2) corners in metres, and the robots' radius."""
        self._corners = corners
        self._edges = np.roll(corners, -1, axis=0) - corners
        self._squared = (self._edges**2).sum(axis=1)
        self.radius = radius
        self.ring = float(np.linalg.norm(corners, axis=1).max()) + radius + DETOUR_M
        points, normals = self._along()
        self.lever = float(np.sqrt((points**2).sum(axis=1).mean()))
        reachable = [self._reachable(point, normal) for point, normal in zip(points, normals, strict=True)]
        self.places = self._places(points[reachable], normals[reachable])
        self._pairs = self._far_apart()

    def distance(self, points: FloatArray) -> FloatArray:
        """(P,) metres from each of (P, 2) points outside to the outline."""
        offset = points[:, np.newaxis] - self._corners  # (P, K, 2)
        along = np.clip((offset * self._edges).sum(axis=2) / self._squared, 0.0, 1.0)
        return np.linalg.norm(offset - along[..., np.newaxis] * self._edges, axis=2).min(axis=1)  # type: ignore[no-any-return]

    def free(self, start: FloatArray, end: FloatArray) -> bool:
        """Whether a robot can go straight from (2,) `start` to (2,) `end`; at the start it may be too near already."""
        along = np.linspace(0.15, 1.0, 12)[:, np.newaxis]
        return bool(self.distance(start + along * (end - start)).min() >= self.radius + CLEARANCE_M)

    def choose(self, motion: FloatArray, avoid: tuple[int, int] | None = None) -> tuple[int, int]:
        """Indices of the two places whose pushes together come nearest to a wanted motion.

        Args:
            motion: (3,) x, y, and turn times `lever`; its length does not matter.
            avoid: a pair that did not move the object; any that is much the same is left out.
        """
        first, second = (self._pairs if avoid is None else self._others(avoid)).T
        spread = np.linalg.norm(self.places.centres[first] - self.places.centres[second], axis=1)
        strength = (self.places.pushes[first] + self.places.pushes[second]) @ motion / np.linalg.norm(motion)
        best = int(np.argmax(self._fit(first, second, motion) + STRENGTH_WEIGHT * strength + SPREAD_WEIGHT * spread))
        return int(first[best]), int(second[best])

    def fit(self, pair: tuple[int, int], motion: FloatArray) -> float:
        """Cosine of the angle between what a pair's pushes do and a wanted motion."""
        return float(self._fit(np.array(pair[:1]), np.array(pair[1:]), motion)[0])

    def _fit(self, first: NDArray[np.int64], second: NDArray[np.int64], motion: FloatArray) -> FloatArray:
        push = self.places.pushes[first] + self.places.pushes[second]
        lengths = np.maximum(np.linalg.norm(push, axis=1), 0.2)  # pushes that cancel move nothing
        fit: FloatArray = push @ motion / (lengths * max(float(np.linalg.norm(motion)), 1e-9))
        return fit

    def _others(self, pair: tuple[int, int]) -> NDArray[np.int64]:
        """(M, 2) the pairs of which at least one place is not near that of `pair`."""
        points = self.places.points
        near = [np.linalg.norm(points[self._pairs[:, k]] - points[pair[k]], axis=1) < ANOTHER_PLACE_M for k in (0, 1)]
        others: NDArray[np.int64] = self._pairs[~(near[0] & near[1])]
        return others

    def _along(self) -> tuple[FloatArray, FloatArray]:
        points, normals = [], []
        for corner, edge in zip(self._corners, self._edges, strict=True):
            length = float(np.linalg.norm(edge))
            count = int(np.ceil(length / SPACING_M))
            along = (np.arange(count) + 0.5) / count
            points.append(corner + along[:, np.newaxis] * edge)
            normals.append(np.tile([edge[1] / length, -edge[0] / length], (count, 1)))
        return np.concatenate(points), np.concatenate(normals)

    def _reachable(self, point: FloatArray, normal: FloatArray) -> bool:
        """Whether a robot can come straight from afar, stand before the place, and then touch it there alone."""
        stand = point + (self.radius + BACKED_OFF_M) * normal
        if self.distance((point + self.radius * normal)[np.newaxis])[0] < self.radius - 1e-6:
            return False
        return self.free(stand * (self.ring / float(np.linalg.norm(stand))), stand)

    def _places(self, points: FloatArray, normals: FloatArray) -> Places:
        torques = points[:, 1] * normals[:, 0] - points[:, 0] * normals[:, 1]
        pushes = np.column_stack([-normals, torques / self.lever])
        return Places(points, normals, points + self.radius * normals, pushes)

    def _far_apart(self) -> NDArray[np.int64]:
        """(M, 2) the pairs of places that have room for a robot each."""
        pairs = np.column_stack(np.triu_indices(len(self.places.points), 1))
        gaps = np.linalg.norm(self.places.centres[pairs[:, 0]] - self.places.centres[pairs[:, 1]], axis=1)
        return pairs[gaps >= 2 * self.radius + GAP_M]  # type: ignore[no-any-return]
