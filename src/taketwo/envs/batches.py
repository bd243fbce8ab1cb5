"""What N environments show all at once, as N states and pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from taketwo.envs.tensors import rows
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError, one_of
from taketwo.types import CameraSpec, FloatArray, Pixels

log = logging.getLogger(__name__)

POLICY = "policy"
"""Isaac Lab's name for the group of observations that a policy sees."""

STATE_GROUPS = (POLICY, "obs")
"""The groups that policies see: Isaac Lab's, and that of Isaac Gym's own environments."""


class Reader:
    """Reads the groups of observations.

    Attributes:
        names: one for each number of a state, S of them.
        cameras: the (N, H, W, 3) or (N, H, W, 4) uint8 entries of any group.
        state_shape: the shape of the one array that the state is, (N, ...); None where it is several.
    """

    def __init__(self, first: Mapping[str, Any], num_envs: int, group: str | None) -> None:
        """Look at the first observations.

        Raises:
            ConfigError: there is no such group, or an entry has not a row for each environment.
        """
        if group is not None and group not in first:
            raise ConfigError(f"obs_group: {one_of('group', group, first)}")
        self._count = num_envs
        self._group = group or next((name for name in STATE_GROUPS if name in first), None)
        numbers = dict(self._numbers(first))
        for name, value in _leaves(first):
            if value.ndim == 0 or len(value) != num_envs:
                raise ConfigError(f"observation {name!r} has shape {tuple(value.shape)}, not {num_envs} rows")
            if value.ndim == 4 and not _is_picture(value):
                log.warning("observation %s, of shape %s, is no 8-bit RGB picture and is left out", name, value.shape)
        self.names = tuple(f"{name}_{i}" for name, value in numbers.items() for i in range(_width(value)))
        pictures = dict(self.pictures(first))
        self.cameras = {name: CameraSpec(*map(int, value.shape[1:3])) for name, value in pictures.items()}
        self.state_shape = tuple(next(iter(numbers.values())).shape) if len(numbers) == 1 else None

    def states(self, groups: Mapping[str, Any]) -> FloatArray:
        """(N, S), copied once for each tensor."""
        parts = [rows(value, self._count).astype(np.float64) for _, value in self._numbers(groups)]
        states = np.concatenate(parts, axis=1) if parts else np.zeros((self._count, 0))
        if states.shape[1] != len(self.names):
            raise EnvironmentFault(f"observations have {states.shape[1]} numbers, where they had {len(self.names)}")
        return states

    def pictures(self, groups: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The pictures as they came, named by their dotted keys without the state's group."""
        for name, value in _leaves(groups):
            if _is_picture(value):
                yield self._short(name) or "pixels", value

    def _numbers(self, groups: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in _leaves(groups):
            inside = self._group is None or name == self._group or name.startswith(f"{self._group}.")
            if inside and value.ndim != 4:
                yield self._short(name) or "state", value

    def _short(self, name: str) -> str:
        return name if self._group is None else name.removeprefix(self._group).removeprefix(".")


def as_pixels(values: Any, source: str) -> Pixels:
    """(H, W, 3) uint8 out of 8-bit values with 3 or 4 channels, which may come first and as wider integers.

    Raises:
        RenderingError: it is something else.
    """
    if values.ndim == 3 and values.shape[2] not in (3, 4) and values.shape[0] in (3, 4):
        values = np.moveaxis(values, 0, 2)
    if values.ndim != 3 or values.shape[2] not in (3, 4) or values.dtype.kind not in "iu":
        raise RenderingError(f"{source} gave {values.dtype} of shape {values.shape}, not (H, W, 3) or (H, W, 4) uint8")
    return np.ascontiguousarray(values[..., :3], dtype=np.uint8)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if hasattr(value, "keys"):
        for key in value.keys():  # noqa: SIM118 - a TensorDict goes by its rows
            yield from _leaves(value[key], f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _is_picture(value: Any) -> bool:
    return str(value.dtype).endswith("uint8") and value.ndim == 4 and value.shape[3] in (3, 4)


def _width(value: Any) -> int:
    return int(np.prod(value.shape[1:], dtype=int))
