"""Pictures of a MuJoCo model, by MuJoCo's own renderer, made only when asked for."""

from __future__ import annotations

from typing import Any, Literal

from taketwo.types import Pixels

Quality = Literal["exact", "preview"]


class MujocoRenderer:
    """Draws the cameras of one model. Used from one thread, the one that makes the first picture.

    `exact` gives the pixels that MuJoCo's and dm_control's own renderers give. `preview` leaves out
    shadows and multisampling: some ten times cheaper in software, and a visibly different picture.
    """

    def __init__(self, model: Any, quality: Quality = "exact") -> None:
        self._model = model
        self._quality = quality
        self._renderers: dict[tuple[int, int], Any] = {}

    def render(self, data: Any, camera: str, height: int, width: int) -> Pixels:
        """(height, width, 3) uint8 RGB of `data`, a `mujoco.MjData` of the model."""
        renderer = self._renderers.get((height, width))
        if renderer is None:
            renderer = self._renderers[height, width] = self._new_renderer(height, width)
        renderer.update_scene(data, camera=camera)
        pixels: Pixels = renderer.render()
        return pixels

    def close(self) -> None:
        """Free the GL contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _new_renderer(self, height: int, width: int) -> Any:
        import mujoco

        visual = self._model.vis
        visual.global_.offheight = max(visual.global_.offheight, height)
        visual.global_.offwidth = max(visual.global_.offwidth, width)
        samples = visual.quality.offsamples
        if self._quality == "preview":
            visual.quality.offsamples = 0
        try:
            renderer = mujoco.Renderer(self._model, height, width)
        finally:
            visual.quality.offsamples = samples
        if self._quality == "preview":
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        return renderer
