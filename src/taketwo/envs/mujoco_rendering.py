"""Pictures of a MuJoCo model, by MuJoCo's own renderer, made only when asked for."""

from __future__ import annotations

import weakref
from typing import Any, Literal

import numpy as np

from taketwo.envs.shadow_map import ShadowMap, draws_in_software, drop_stencil_of_picture
from taketwo.errors import RenderingError
from taketwo.types import Pixels

Quality = Literal["exact", "preview"]

MAX_GEOMS = 10_000
"""Of one scene; the limit of `mujoco.Renderer`."""


class MujocoRenderer:
    """Draws the cameras of one model. Used from one thread, the one that makes the first picture.

    `exact` gives the pixels that MuJoCo's and dm_control's own renderers give. `preview` leaves out
    shadows and multisampling: some ten times cheaper in software, and a visibly different picture.
    """

    def __init__(self, model: Any, quality: Quality = "exact") -> None:
        self._model = model
        self._quality: Quality = quality
        self._canvases: dict[tuple[int, int], _Canvas] = {}
        # One that is dropped must free its GL objects while its contexts are current: in another renderer's, their
        # numbers are that one's objects.
        self._free = weakref.finalize(self, _close_all, self._canvases)
        self._free.atexit = False  # by then EGL has been shut down

    def render(self, data: Any, camera: str, height: int, width: int) -> Pixels:
        """(height, width, 3) uint8 RGB of `data`, a `mujoco.MjData` of the model."""
        canvas = self._canvases.get((height, width))
        if canvas is None:
            canvas = self._canvases[height, width] = _Canvas(self._model, height, width, self._quality)
        return canvas.draw(data, self._model.camera(camera).id)

    def close(self) -> None:
        """Free the GL contexts; the next picture makes them anew."""
        _close_all(self._canvases)


class _Canvas:
    """MuJoCo's scene and GL context for pictures of one size."""

    def __init__(self, model: Any, height: int, width: int, quality: Quality) -> None:
        import mujoco

        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._upside_down = np.empty((height, width, 3), np.uint8)
        if getattr(mujoco, "GLContext", None) is None:
            raise RenderingError("MUJOCO_GL turns rendering off: unset it, or ask for no camera")
        self._gl = mujoco.GLContext(width, height)
        self._gl.make_current()
        self._context = _make_context(model, height, width, quality)
        self._shadows: ShadowMap | None = None
        if draws_in_software():
            drop_stencil_of_picture(model, self._context)
            if self._context.shadowFBO:
                self._shadows = ShadowMap(model, self._context)

    def draw(self, data: Any, camera_id: int) -> Pixels:
        import mujoco

        self._camera.fixedcamid = camera_id
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)
        self._gl.make_current()
        if self._shadows is not None:
            self._shadows.before(self._scene, data)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        if self._shadows is not None:
            self._shadows.after(self._scene, data)
        mujoco.mjr_readPixels(self._upside_down, None, self._rect, self._context)
        return np.ascontiguousarray(self._upside_down[::-1])  # GL's first row is the lowest

    def close(self) -> None:
        self._gl.make_current()
        if self._shadows is not None:
            self._shadows.close()
        self._context.free()
        self._gl.free()


def _close_all(canvases: dict[tuple[int, int], _Canvas]) -> None:
    while canvases:
        canvases.popitem()[1].close()


def _make_context(model: Any, height: int, width: int, quality: Quality) -> Any:
    """MuJoCo's side of the current GL context: framebuffers, shadow map, meshes."""
    import mujoco

    visual = model.vis
    visual.global_.offheight = max(visual.global_.offheight, height)
    visual.global_.offwidth = max(visual.global_.offwidth, width)
    stated = visual.quality.offsamples, visual.quality.shadowsize
    if quality == "preview":
        visual.quality.offsamples = visual.quality.shadowsize = 0
    try:
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
    finally:
        visual.quality.offsamples, visual.quality.shadowsize = stated
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
    return context
