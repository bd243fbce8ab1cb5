"""The pictures of N environments: those among observations, and those that the environment's own call takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from taketwo.envs.batches import as_pixels
from taketwo.envs.lazy_images import LazyImages
from taketwo.envs.tensors import to_numpy
from taketwo.envs.unwrapping import find_method
from taketwo.errors import ConfigError, RenderingError, one_of
from taketwo.types import CameraSpec, Image, Pixels

if TYPE_CHECKING:
    from taketwo.envs.isaac import IsaacConfig

PARAMETERS = {
    "env": ("env", "env_id", "env_idx", "env_index", "index"),
    "camera": ("camera", "camera_name", "name"),
    "height": ("height",),
    "width": ("width",),
}
"""What a capture call may ask for, by the names that its parameters have."""


class Capture:
    """The environment's own method that takes a picture.

    One that is told no environment may give pictures of all, with N rows; else it shows environment 0.
    """

    def __init__(self, env: Any, config: IsaacConfig, num_envs: int) -> None:
        """Find the method.

        Raises:
            ConfigError: there is none, or it wants to know something else.
        """
        path = config.capture or ""
        method = find_method(env, path)
        if method is None:
            raise ConfigError(f"capture: the environment has no method {path!r}, under any of its wrappers")
        self._method = method
        self._path = path
        self._num_envs = num_envs
        self._names = _asked_for(method, path)
        if len(config.cameras) > 1 and "camera" not in self._names:
            raise ConfigError(f"cameras names {len(config.cameras)}, but {path} has no parameter for one of several")
        self._taken: dict[str, Any] = {}

    @property
    def sized(self) -> bool:
        """Whether it can be told a size."""
        return {"height", "width"} <= self._names.keys()

    def next_instant(self) -> None:
        """Forget what was taken."""
        self._taken.clear()

    def take(self, env: int, camera: str, height: int, width: int) -> Pixels:
        """(H, W, 3) uint8 RGB of one environment as it is now.

        Raises:
            RenderingError: it gives no picture of this environment.
        """
        told = {"env": env, "camera": camera, "height": height, "width": width}
        kwargs = {name: told[what] for what, name in self._names.items()}
        if "env" in self._names:
            return self._pixels(self._method(**kwargs), env)
        if camera not in self._taken:
            self._taken[camera] = self._method(**kwargs)
        return self._pixels(self._taken[camera], env)

    def _pixels(self, taken: Any, env: int) -> Pixels:
        if taken is None:
            raise RenderingError(f"{self._path} gave no picture")
        several = isinstance(taken, list | tuple) or taken.ndim == 4
        if several and len(taken) == self._num_envs:
            taken = taken[env]
        elif several and len(taken) == 1:
            taken = taken[0]
        elif env != 0 and "env" not in self._names:
            raise RenderingError(f"{self._path} shows environment 0 only, and not {env}")
        return as_pixels(to_numpy(taken), self._path)


class Pictures:
    """The lazy pictures of each environment."""

    def __init__(self, num_envs: int, seen: Mapping[str, CameraSpec], capture: Capture | None, config: IsaacConfig):
        """Measure what cannot be told its size.

        Args:
            seen: the pictures among observations.
        """
        self._seen: Mapping[str, Any] = {}
        self._capture = capture
        self.cameras = dict(seen)
        for camera in config.cameras if capture is not None else ():
            assert capture is not None
            size = (config.height, config.width)
            if not capture.sized:
                size = capture.take(0, camera, *size).shape[:2]
            self.cameras[camera] = CameraSpec(*size)
        self._lazy = [LazyImages(partial(self._render, env), self.cameras) for env in range(num_envs)]

    def next_instant(self, seen: Mapping[str, Any]) -> list[dict[str, Image]]:
        """The pictures of each environment at the present instant; those before expire.

        Args:
            seen: the pictures among observations, (N, H, W, C) each.
        """
        self._seen = seen
        if self._capture is not None:
            self._capture.next_instant()
        return [lazy.next_instant() for lazy in self._lazy]

    def close(self) -> None:
        """Let all expire."""
        for lazy in self._lazy:
            lazy.close()

    def _render(self, env: int, camera: str, height: int, width: int) -> Pixels:
        if camera in self._seen:
            return as_pixels(to_numpy(self._seen[camera][env]), camera)
        assert self._capture is not None
        pixels = self._capture.take(env, camera, height, width)
        if pixels.shape[:2] != (height, width):
            raise RenderingError(f"camera {camera!r} gave {pixels.shape[:2]} pixels, not {(height, width)}")
        return pixels


def _asked_for(method: Callable[..., Any], path: str) -> dict[str, str]:
    """Of `PARAMETERS` those that a method has, with its names for them."""
    names: dict[str, str] = {}
    for parameter in inspect.signature(method).parameters.values():
        what = next((what for what, known in PARAMETERS.items() if parameter.name in known), None)
        if what is not None and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            names[what] = parameter.name
        elif parameter.default is parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            known = [name for alike in PARAMETERS.values() for name in alike]
            raise ConfigError(
                f"capture: {path} needs what cannot be told: {one_of('parameter', parameter.name, known)}"
            )
    return names
