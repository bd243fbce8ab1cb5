"""The camera that `render()` of a Gymnasium or PettingZoo environment makes, with `render_mode` `rgb_array`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from taketwo.envs.gym_spaces import is_picture
from taketwo.errors import ConfigError, RenderingError, one_line
from taketwo.gl import choose_backend, has_display
from taketwo.types import CameraSpec, Image, Pixels

log = logging.getLogger(__name__)

RENDER_CAMERA = "render"
"""Its name."""


def make_kwargs(given: Mapping[str, Any], *, render: bool) -> dict[str, Any]:
    """The arguments for making an environment; where it is to render, with a back-end for it chosen."""
    if not render:
        return dict(given)
    if find_spec("mujoco") is not None:
        try:
            choose_backend()
        except RenderingError as error:
            log.warning("%s", error)  # most environments draw without OpenGL, and those that cannot will say so
    if not has_display():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # else pygame complains of the missing display
    return {"render_mode": "rgb_array", **given}


def rendered_pixels(given: Any) -> Pixels:
    """What `render()` gave, copied, since environments use their buffers again.

    Raises:
        RenderingError: it is no picture.
    """
    pixels: Pixels = np.array(given)
    if not is_picture(pixels):
        raise RenderingError(f"render() gave {pixels.dtype} of shape {pixels.shape}, not (H, W, 3) uint8")
    return pixels


def rendered_size(render: Callable[[], Pixels]) -> CameraSpec:
    """The size of a first picture.

    Raises:
        ConfigError: there is none to be had.
    """
    from gymnasium.error import Error

    try:
        height, width, _ = render().shape
    except (Error, RenderingError) as error:
        raise ConfigError(
            f"its pictures cannot be drawn: {one_line(error)}; --env.render=false does without them"
        ) from error
    return CameraSpec(height, width)


class SharedFrames:
    """The lazy pictures of environments that are all drawn by one call, which is kept while none of them moves on."""

    def __init__(self, render: Callable[[], Sequence[Any]], num_envs: int) -> None:
        """Nothing is drawn yet.

        Args:
            render: gives a picture of each environment's present state.
        """
        self._render = render
        self._instants = [0] * num_envs
        self._frames: Sequence[Any] | None = None

    def moved(self, envs: Iterable[int]) -> None:
        """Let the pictures of these environments expire."""
        self._frames = None
        for env in envs:
            self._instants[env] += 1

    def image(self, env: int, size: CameraSpec) -> Image:
        """The picture of an environment's present state."""
        instant = self._instants[env]
        return Image(
            partial(self.draw, env),
            camera=RENDER_CAMERA,
            height=size.height,
            width=size.width,
            expired=lambda: self._instants[env] != instant,
        )

    def draw(self, env: int) -> Pixels:
        """(H, W, 3) uint8 of an environment's present state.

        Raises:
            RenderingError: there is no picture of it.
        """
        if self._frames is None:
            self._frames = self._render()
        try:
            frame = self._frames[env]
        except (TypeError, IndexError, KeyError) as error:
            raise RenderingError(f"render() gave no picture of environment {env}: {one_line(error)}") from error
        return rendered_pixels(frame)
