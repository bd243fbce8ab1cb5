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

HIDDEN_GROUP = 3
"""The first of the geom groups that MuJoCo does not draw by default."""

PLANE, BOX = 0, 6
"""MuJoCo's numbers of the shapes that can mirror."""


class Culling:
    """Knows which geoms of one model a camera sees, by their bounding spheres."""

    def __init__(self, model: Any) -> None:
        self._model = model
        # What is not seen itself may be seen in a mirror, or by its shadow.
        self._possible = not (_has_mirrors(model) or model.light_castshadow.any())

    @contextmanager
    def unseen_hidden(self, data: Any, camera: str, height: int, width: int) -> Iterator[None]:
        """While in here, geoms outside of a camera's view are not drawn."""
        if not self._possible:
            yield
            return
        groups = self._model.geom_group.copy()
        self._model.geom_group[~self._in_view(data, self._model.camera(camera).id, width / height)] = HIDDEN_GROUP
        try:
            yield
        finally:
            self._model.geom_group[:] = groups

    def _in_view(self, data: Any, camera: int, aspect: float) -> NDArray[np.bool_]:
        """(ngeom,) whether a bounding sphere reaches into the pyramid of a camera, which looks along its -z."""
        radius = np.where(self._model.geom_rbound > 0, self._model.geom_rbound, np.inf)  # 0 is infinite, as for planes
        right, up, back = ((data.geom_xpos - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)).T
        slope = np.tan(np.radians(self._model.cam_fovy[camera]) / 2)
        seen: NDArray[np.bool_] = back < radius
        for aside, steepness in ((right, slope * aspect), (up, slope)):
            seen &= np.abs(aside) + back * steepness < radius * np.hypot(1.0, steepness)
        return seen


def _has_mirrors(model: Any) -> bool:
    flat = np.isin(model.geom_type, (PLANE, BOX)) & (model.geom_group < HIDDEN_GROUP) & (model.geom_matid >= 0)
    return bool((model.mat_reflectance[model.geom_matid[flat]] > 0).any())
