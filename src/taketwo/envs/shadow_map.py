"""MuJoCo's buffers, cheaper to clear and test in software, with the same pixels bit for bit.

In every picture MuJoCo clears a depth map (of 4096 x 4096 in ALOHA's scene), draws the scene into it as the light
sees it, and looks up which pixels are in shadow. On a GPU clearing costs nothing; Mesa's software renderer spends a
fifth of the picture's time on it. Two things are saved here:

- MuJoCo asks for depth with a stencil that it never uses. Both share a word, so clearing depth alone has to read
  the map first. Without stencil the depths are the same 24 bits, and clearing is a plain fill.
- Beyond the farthest thing in the scene the map stays clear. OpenGL draws and clears only where all attachments of
  a framebuffer overlap (OpenGL 4.6 core, section 9.2), so a second attachment as large as the scene keeps both off
  the rest. Size and addressing of the map itself stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taketwo.types import FloatArray

MARGIN = 8
"""Texels around the scene, for rounding."""

GRAIN = 128
"""The used part grows in steps of this many texels."""

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


class ShadowMap:
    """Keeps one context's shadow map small. The context is current in every call."""

    def __init__(self, model: Any, context: Any) -> None:
        """Drop the stencil."""
        self._model = model
        self._context = context
        self._size = int(context.shadowSize)
        self._used = (self._size, self._size)
        self._attachment: int | None = None
        self._cleared = False
        self._light: tuple[FloatArray, FloatArray]
        self._planes: FloatArray | None = None  # (2, 4) world position to map coordinates from 0 to 1
        self._drop_stencil()

    @property
    def used(self) -> tuple[int, int]:
        """Width and height of the part that is cleared and drawn, in texels, from the map's corner."""
        return self._used

    def before(self, scene: Any, data: Any) -> None:
        """Before `mjr_render` of a scene: make sure that all of it fits."""
        if self._planes is None:
            return
        light = _only_shadow_light(scene)
        if light is None or not _same_light(light, self._light):
            self._planes = None
            self._use(self._size, self._size)
            return
        needed = self._needed(data)
        if needed[0] > self._used[0] or needed[1] > self._used[1]:
            self._use(max(needed[0], self._used[0]), max(needed[1], self._used[1]))

    def after(self, scene: Any, data: Any) -> None:
        """After `mjr_render`. The first one has cleared the whole map; confine the next ones where that is safe."""
        if self._cleared:
            return
        self._cleared = True
        light = _only_shadow_light(scene)
        if light is None or not _casters_have_boxes(self._model, scene):
            return
        planes = _map_planes()
        if not _is_orthographic(planes, light, self._context.shadowClip):
            return
        self._light = (np.array(light.pos), np.array(light.dir))
        self._planes = planes[:2]
        self._use(*self._needed(data))

    def close(self) -> None:
        """Free what was made here."""
        from OpenGL import GL

        if self._attachment is not None:
            GL.glDeleteRenderbuffers(1, [self._attachment])

    def _needed(self, data: Any) -> tuple[int, int]:
        """Texels up to the farthest corner of the geoms' boxes, along both axes of the map."""
        assert self._planes is not None
        boxes = self._model.geom_aabb
        corners = boxes[:, None, :3] + CORNERS * boxes[:, None, 3:]
        turns = data.geom_xmat.reshape(-1, 3, 3)
        world = data.geom_xpos[:, None] + corners @ turns.transpose(0, 2, 1)
        reach = (world @ self._planes[:, :3].T).max(axis=(0, 1)) + self._planes[:, 3]
        if not np.isfinite(reach).all():
            return self._size, self._size
        texels = np.ceil((reach * self._size + MARGIN) / GRAIN) * GRAIN
        width, height = np.clip(texels, GRAIN, self._size).astype(int).tolist()
        return width, height

    def _use(self, width: int, height: int) -> None:
        import mujoco
        from OpenGL import GL

        if self._attachment is None:
            self._attachment = int(GL.glGenRenderbuffers(1))
        GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, self._attachment)
        GL.glRenderbufferStorage(GL.GL_RENDERBUFFER, GL.GL_R8, width, height)
        GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, 0)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._context.shadowFBO)
        GL.glFramebufferRenderbuffer(GL.GL_FRAMEBUFFER, GL.GL_COLOR_ATTACHMENT0, GL.GL_RENDERBUFFER, self._attachment)
        mujoco.mjr_restoreBuffer(self._context)
        self._used = (width, height)

    def _drop_stencil(self) -> None:
        from OpenGL import GL

        GL.glBindTexture(GL.GL_TEXTURE_2D, self._context.shadowTex)
        if GL.glGetTexLevelParameteriv(GL.GL_TEXTURE_2D, 0, GL.GL_TEXTURE_INTERNAL_FORMAT) == GL.GL_DEPTH24_STENCIL8:
            sizes, kind = (self._size, self._size), (GL.GL_DEPTH_COMPONENT, GL.GL_UNSIGNED_INT)
            GL.glTexImage2D(GL.GL_TEXTURE_2D, 0, GL.GL_DEPTH_COMPONENT24, *sizes, 0, *kind, None)
        GL.glBindTexture(GL.GL_TEXTURE_2D, 0)


def draws_in_software() -> bool:
    """Whether the current context draws on the processor, where a smaller map is worth the trouble."""
    from OpenGL import GL

    return b"llvmpipe" in GL.glGetString(GL.GL_RENDERER)


def drop_stencil_of_picture(model: Any, context: Any) -> None:
    """Give the picture's depth buffer half the size where its stencil, which only reflections use, is idle.

    The depths are the same bits, the picture too; in software it is some 2 % cheaper.
    """
    from OpenGL import GL

    if model.nmat and model.mat_reflectance.any():
        return
    GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, context.offDepthStencil)
    form, samples, width, height = (
        int(GL.glGetRenderbufferParameteriv(GL.GL_RENDERBUFFER, name))
        for name in (
            GL.GL_RENDERBUFFER_INTERNAL_FORMAT,
            GL.GL_RENDERBUFFER_SAMPLES,
            GL.GL_RENDERBUFFER_WIDTH,
            GL.GL_RENDERBUFFER_HEIGHT,
        )
    )
    depth_alone = {
        GL.GL_DEPTH32F_STENCIL8: GL.GL_DEPTH_COMPONENT32F,
        GL.GL_DEPTH24_STENCIL8: GL.GL_DEPTH_COMPONENT24,
    }.get(form)
    if depth_alone is not None:
        GL.glRenderbufferStorageMultisample(GL.GL_RENDERBUFFER, samples, depth_alone, width, height)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, context.offFBO)
        for attachment, buffer in ((GL.GL_STENCIL_ATTACHMENT, 0), (GL.GL_DEPTH_ATTACHMENT, context.offDepthStencil)):
            GL.glFramebufferRenderbuffer(GL.GL_FRAMEBUFFER, attachment, GL.GL_RENDERBUFFER, buffer)
    GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, 0)


def _only_shadow_light(scene: Any) -> Any:
    """The one light that casts shadows; None where there are more or none, since all share the map."""
    lights = [light for light in scene.lights[: scene.nlight] if light.castshadow]
    return lights[0] if len(lights) == 1 else None


def _same_light(light: Any, pose: tuple[FloatArray, FloatArray]) -> bool:
    return bool(np.array_equal(light.pos, pose[0]) and np.array_equal(light.dir, pose[1]))


def _casters_have_boxes(model: Any, scene: Any) -> bool:
    """Whether everything that may cast a shadow is within `model.geom_aabb`."""
    import mujoco

    if model.nskin or model.nflex or (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE).any():
        return False
    casters = [geom for geom in scene.geoms[: scene.ngeom] if geom.category != mujoco.mjtCatBit.mjCAT_DECOR]
    return all(geom.objtype == mujoco.mjtObj.mjOBJ_GEOM for geom in casters)


def _map_planes() -> FloatArray:
    """(3, 4) from world positions to the map's s, t and q, as the last picture used them.

    OpenGL keeps them in the camera's coordinates; its modelview matrix, in column-major order, is still the camera's.
    """
    from OpenGL import GL

    active = GL.glGetIntegerv(GL.GL_ACTIVE_TEXTURE)
    GL.glActiveTexture(GL.GL_TEXTURE1)
    eye = np.array([GL.glGetTexGenfv(axis, GL.GL_EYE_PLANE) for axis in (GL.GL_S, GL.GL_T, GL.GL_Q)], dtype=np.float64)
    GL.glActiveTexture(active)
    view = np.array(GL.glGetFloatv(GL.GL_MODELVIEW_MATRIX), dtype=np.float64).reshape(4, 4)
    planes: FloatArray = eye @ view.T
    return planes


def _is_orthographic(planes: FloatArray, light: Any, clip: float) -> bool:
    """Whether the planes are those of a directional light: its position in the middle, half the map per `clip`."""
    middle = planes[:, :3] @ np.asarray(light.pos, dtype=np.float64) + planes[:, 3]
    scale = planes[:2, :3] @ planes[:2, :3].T * (2 * clip) ** 2
    return bool(
        np.allclose(planes[2], [0, 0, 0, 1], atol=1e-5)
        and np.allclose(middle[:2], 0.5, atol=1e-4)
        and np.allclose(scale, np.eye(2), atol=1e-3)
        and np.allclose(planes[:2, :3] @ np.asarray(light.dir, dtype=np.float64), 0, atol=1e-4)
    )
