"""Leaving out of a picture what its camera cannot see.

A LIBERO scene has some 240 000 triangles, and in software each of them costs, in the picture or not. MuJoCo draws them
all: here whatever lies outside of the camera's view is hidden meanwhile. The pixels stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.types import FloatArray

HIDDEN_GROUP = 3
"""The first of the geom groups that MuJoCo does not draw by default."""

PLANE, BOX = 0, 6
"""MuJoCo's numbers of the shapes that can mirror: a plane, and the upper side (its own +z) of a box."""


class Culling:
    """Knows which geoms of one model a camera sees, itself or in a mirror, by their bounding boxes and spheres."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._mirrors = _mirrors(model)
        self._box_centres, self._box_halves = np.split(model.geom_aabb, 2, axis=1)  # (ngeom, 3) each, in geoms' frames
        self._radius = np.where(model.geom_rbound > 0, model.geom_rbound, np.inf)  # 0 is infinite, as for planes
        # What is not seen itself may be seen by its shadow. Of several mirrors MuJoCo lets only the first one mirror:
        # without it, the next one would.
        self._possible = len(self._mirrors) <= 1 and not model.light_castshadow.any()

    @contextmanager
    def unseen_hidden(self, data: Any, camera: str, height: int, width: int) -> Iterator[None]:
        """While in here, geoms outside of a camera's view are not drawn."""
        if not self._possible:
            yield
            return
        groups = self._model.geom_group.copy()
        self._model.geom_group[~self._seen(data, self._model.camera(camera).id, width / height)] = HIDDEN_GROUP
        try:
            yield
        finally:
            self._model.geom_group[:] = groups

    def _seen(self, data: Any, camera: int, aspect: float) -> NDArray[np.bool_]:
        """(ngeom,) whether a camera may see a geom."""
        seen = self._in_view(data, camera, aspect)
        for mirror in self._mirrors:
            if seen[mirror]:
                seen |= self._in_mirror(data, mirror, data.cam_xpos[camera])
        return seen

    def _in_view(self, data: Any, camera: int, aspect: float) -> NDArray[np.bool_]:
        """(ngeom,) whether a bounding box reaches into the pyramid of a camera, which looks along its -z.

        Those are left out that lie beyond one of its sides, or behind the camera, as a whole.
        """
        up = np.tan(np.radians(self._model.cam_fovy[camera]) / 2)
        right = up * aspect
        sides = np.array([[1, 0, -right], [-1, 0, -right], [0, 1, -up], [0, -1, -up], [0, 0, -1]])  # normals, inwards
        normals = sides @ data.cam_xmat[camera].reshape(3, 3).T
        turns = data.geom_xmat.reshape(-1, 3, 3)
        centres = data.geom_xpos + (turns @ self._box_centres[:, :, None])[:, :, 0] - data.cam_xpos[camera]
        reach = (np.abs(normals @ turns) * self._box_halves[:, None, :]).sum(axis=2)  # (ngeom, 5)
        seen: NDArray[np.bool_] = np.isinf(self._radius) | (centres @ normals.T + reach >= 0).all(axis=1)
        return seen

    def _in_mirror(self, data: Any, mirror: int, eye: FloatArray) -> NDArray[np.bool_]:
        """(ngeom,) whether the mirrored bounding sphere reaches into the cone from the eye round that of the mirror."""
        shown = self._mirrored(data, mirror) - eye
        towards = data.geom_xpos[mirror] - eye
        cosine = shown @ towards / np.maximum(np.linalg.norm(shown, axis=1) * np.linalg.norm(towards), 1e-9)
        widths = _half_angle(self._radius, shown) + _half_angle(self._radius[mirror], towards)
        seen: NDArray[np.bool_] = np.arccos(np.clip(cosine, -1.0, 1.0)) <= widths
        return seen

    def _mirrored(self, data: Any, mirror: int) -> FloatArray:
        """(ngeom, 3) where a mirror shows the geoms' centres."""
        normal = data.geom_xmat[mirror].reshape(3, 3)[:, 2]
        height = self._model.geom_size[mirror, 2] if self._model.geom_type[mirror] == BOX else 0.0
        above = (data.geom_xpos - data.geom_xpos[mirror]) @ normal - height
        mirrored: FloatArray = data.geom_xpos - 2.0 * above[:, None] * normal
        return mirrored


def _half_angle(radius: NDArray[Any], centre: FloatArray) -> NDArray[Any]:
    """(...) radians, half of the angle in which a sphere appears from the origin; pi from within it."""
    distance = np.linalg.norm(centre, axis=-1)
    inside = distance <= radius
    angle: NDArray[Any] = np.where(inside, np.pi, np.arcsin(np.where(inside, 0.0, radius) / np.maximum(distance, 1e-9)))
    return angle


def _mirrors(model: Any) -> list[int]:
    """The geoms that mirror, as MuJoCo's `render_gl3.c` has it, were they not transparent."""
    drawn = np.isin(model.geom_type, (PLANE, BOX)) & (model.geom_group < HIDDEN_GROUP) & (model.geom_matid >= 0)
    return [geom for geom in np.flatnonzero(drawn).tolist() if model.mat_reflectance[model.geom_matid[geom]] > 0]
