"""One picture of several environments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from taketwo.envs.base import VectorEnvironment
from taketwo.errors import RenderingError
from taketwo.images import resize_with_pad
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Image, Observation, Pixels, VectorStep

GRID = "grid"
"""The camera that shows several environments."""

MOST_TILES = 16

LABEL_PART = 10
"""Part of a tile's height that its number is high, within these limits in pixels."""

SMALLEST_LABEL, LARGEST_LABEL = 10, 24


class WithGrid:
    """A `VectorEnvironment` of which one environment has one more camera: what the first camera of each shows.

    The picture is as large as that of the camera, and has each one's number in the corner of its tile. The others are
    seen as they stand at the same instant; one that has done its episodes, as it stood when it was last drawn.

    Attributes:
        shown_spec: the spec of the environment that has the camera.
    """

    def __init__(self, environment: VectorEnvironment, shown_env: int) -> None:
        self._environment = environment
        self._shown = shown_env
        self.spec = environment.spec
        self.num_envs = environment.num_envs
        self.resets_itself = environment.resets_itself
        self.shown_spec = _with_grid(self.spec) if self.spec.cameras else self.spec
        self._tiles = range(min(self.num_envs, MOST_TILES))
        self._latest: dict[int, Observation] = {}
        self._drawn: dict[int, Pixels] = {}
        self._instant = 0

    def reset(
        self, seeds: Mapping[int, int], options: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Mapping[int, Observation]:
        """Begin an episode in some of them."""
        begun = self._environment.reset(seeds, options)
        self._latest |= begun
        return self._added_to(begun)

    def step(self, actions: Mapping[int, FloatArray]) -> VectorStep:
        """Step those that are given an action."""
        self._instant += 1
        step = self._environment.step(actions)
        self._latest |= {env: result.observation for env, result in step.results.items() if env not in step.unseen}
        self._latest |= step.begun
        results = dict(step.results)
        if self._shown in results:
            result = results[self._shown]
            results[self._shown] = replace(result, observation=self._with_picture(result.observation))
        return replace(step, results=results, begun=self._added_to(step.begun))

    def close(self) -> None:
        """Close the environments."""
        self._environment.close()

    def _added_to(self, observations: Mapping[int, Observation]) -> Mapping[int, Observation]:
        if self._shown not in observations:
            return observations
        return {**observations, self._shown: self._with_picture(observations[self._shown])}

    def _with_picture(self, observation: Observation) -> Observation:
        if not self.spec.cameras:
            return observation
        size, instant = self.shown_spec.cameras[GRID], self._instant
        picture = Image(
            lambda: self._draw(observation),
            camera=GRID,
            height=size.height,
            width=size.width,
            expired=lambda: self._instant != instant,
        )
        return replace(observation, images={**observation.images, GRID: picture})

    def _draw(self, shown: Observation) -> Pixels:
        """The others may have been reset since; the shown one stands as it says, also at its end."""
        latest = {**self._latest, self._shown: shown}
        camera, size = next(iter(self.spec.cameras.items()))
        columns = math.ceil(math.sqrt(len(self._tiles)))
        rows = math.ceil(len(self._tiles) / columns)
        height, width = size.height // rows, size.width // columns
        picture = np.zeros((size.height, size.width, 3), np.uint8)
        for env in self._tiles:
            top, left = height * (env // columns), width * (env % columns)
            picture[top : top + height, left : left + width] = self._tile(env, latest.get(env), camera, height, width)
        return picture

    def _tile(self, env: int, seen: Observation | None, camera: str, height: int, width: int) -> Pixels:
        try:
            if seen is not None:
                tile = resize_with_pad(seen.images[camera].pixels, height, width)
                self._drawn[env] = numbered(tile, env) if len(self._tiles) > 1 else tile
        except RenderingError:
            if env == self._shown:
                raise  # another one may wait, and cannot be drawn any more
        return self._drawn.setdefault(env, np.zeros((height, width, 3), np.uint8))


def numbered(tile: Pixels, env: int) -> Pixels:
    """A copy with the number of its environment in the upper left corner, white on black."""
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    picture = Picture.fromarray(tile)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(min(max(tile.shape[0] // LABEL_PART, SMALLEST_LABEL), LARGEST_LABEL))
    _, _, right, bottom = draw.textbbox((2, 0), str(env), font)
    draw.rectangle((0, 0, right + 1, bottom + 1), "black")
    draw.text((2, 0), str(env), "white", font)
    return np.array(picture)


def _with_grid(spec: EnvironmentSpec) -> EnvironmentSpec:
    size = next(iter(spec.cameras.values()))
    return replace(spec, cameras={**spec.cameras, GRID: CameraSpec(size.height, size.width)})
