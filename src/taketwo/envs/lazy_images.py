"""The lazy pictures of an environment, instant by instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from taketwo.types import CameraSpec, Image, Pixels


class LazyImages:
    """Makes the images of each observation. Those of an earlier instant expire unless somebody looked at them."""

    def __init__(self, render: Callable[[str, int, int], Pixels], cameras: Mapping[str, CameraSpec]) -> None:
        """Nothing is rendered yet.

        Args:
            render: camera, height and width to (height, width, 3) uint8 RGB of the environment's present state.
        """
        self._render = render
        self._cameras = cameras
        self._instant = 0

    def next_instant(self) -> dict[str, Image]:
        """The images of the present state; call it at each reset and step."""
        self._instant += 1
        instant = self._instant
        return {
            name: Image(
                partial(self._render, name, size.height, size.width),
                camera=name,
                height=size.height,
                width=size.width,
                expired=lambda: self._instant != instant,
            )
            for name, size in self._cameras.items()
        }

    def close(self) -> None:
        """Let all images expire."""
        self._instant += 1
