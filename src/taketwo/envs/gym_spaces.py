"""What Gymnasium's spaces hold, as numbers and pictures (https://gymnasium.farama.org/api/spaces)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError, EnvironmentFault
from taketwo.types import CameraSpec, FloatArray, Image

SUCCESS_KEYS = ("is_success", "success")
"""Where environments put their verdict in `info`."""


def nameless_actions(size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and units for (size,) actions of which the environment tells neither."""
    return tuple(f"action_{i}" for i in range(size)), ("native",) * size


class ActionSpace:
    """A Box or Discrete space of actions as D numbers; those of a Discrete or integer space are rounded.

    Attributes:
        low: (D,) the least.
        high: (D,) the greatest.
    """

    def __init__(self, space: Any) -> None:
        """Take the space.

        Raises:
            ConfigError: it is neither Box nor Discrete.
        """
        from gymnasium import spaces

        if not isinstance(space, spaces.Box | spaces.Discrete):
            raise ConfigError(f"actions must be Box or Discrete, this environment's are {space}")
        self._space = space
        self._discrete = isinstance(space, spaces.Discrete)
        low, high = (space.start, space.start + space.n - 1) if self._discrete else (space.low, space.high)
        self.low: FloatArray = np.ravel(low).astype(np.float64)
        self.high: FloatArray = np.ravel(high).astype(np.float64)

    @property
    def size(self) -> int:
        """D."""
        return self.low.size

    @property
    def idle(self) -> FloatArray:
        """(D,) zero, or what is nearest to it in the space."""
        return np.clip(np.zeros(self.size), self.low, self.high)

    def native(self, action: FloatArray) -> Any:
        """(D,) numbers as the environment takes them."""
        if self._discrete:
            return int(np.clip(np.rint(action[0]), self.low[0], self.high[0]))
        values = np.rint(action) if np.issubdtype(self._space.dtype, np.integer) else action
        return values.reshape(self._space.shape).astype(self._space.dtype)


class ObservationSpace:
    """A space of observations: its numbers in the order of the space, its (H, W, 3) uint8 entries as pictures.

    Attributes:
        names: one for each number, such as `joints_0`; `state_0` where the whole observation is one array.
        cameras: the pictures, named by their dotted keys; `pixels` where the whole observation is one.
    """

    def __init__(self, space: Any) -> None:
        """Take the space.

        Raises:
            ConfigError: an entry is neither a number nor a picture.
        """
        leaves = [(name, np.asarray(value)) for name, value in _leaves(space.sample(), "")]
        for name, value in leaves:
            if value.dtype.kind not in "biuf":
                raise ConfigError(f"observation {name or 'value'!r} is neither a number nor a picture: {space}")
        self.cameras = {name or "pixels": CameraSpec(*value.shape[:2]) for name, value in leaves if is_picture(value)}
        self.names = tuple(
            f"{name or 'state'}_{i}" for name, value in leaves if not is_picture(value) for i in range(value.size)
        )

    def read(self, observation: Any) -> tuple[FloatArray, dict[str, Image]]:
        """The (D,) numbers and the pictures of one observation, all of them copies."""
        leaves = [(name, np.asarray(value)) for name, value in _leaves(observation, "")]
        numbers = [value.astype(np.float64).ravel() for _, value in leaves if not is_picture(value)]
        pictures = {name or "pixels": value for name, value in leaves if is_picture(value)}
        images = {name: Image.of(pixels.copy(), name) for name, pixels in pictures.items()}
        return (np.concatenate(numbers) if numbers else np.zeros(0)), images


def is_picture(value: NDArray[Any]) -> bool:
    """Whether it is (H, W, 3) uint8."""
    return value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3


def success_of(info: Mapping[str, Any], key: str | None) -> bool | None:
    """The verdict that `info` has under `key`, or under the usual names; None where it has none."""
    keys = SUCCESS_KEYS if key is None else (key,)
    return next((bool(info[key]) for key in keys if key in info), None)


def check_width(action: FloatArray, size: int, name: str) -> None:
    """Raise `EnvironmentFault` unless the action for environment `name` is (size,)."""
    if action.shape != (size,):
        raise EnvironmentFault(f"{name} takes ({size},) actions, got {action.shape}")


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaves of an observation, with dotted names."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple):
        yield from _leaves(dict(enumerate(value)), name)
    else:
        yield name, value
