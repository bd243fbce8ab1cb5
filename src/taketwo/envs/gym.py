"""Any registered Gymnasium environment (https://gymnasium.farama.org)."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.lazy_images import LazyImages
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError
from taketwo.gl import choose_backend, has_display
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Image, Observation, Pixels, StepResult

log = logging.getLogger(__name__)

RENDER_CAMERA = "render"
"""Name of the camera that `render()` makes."""

SUCCESS_KEYS = ("is_success", "success")
"""Where environments put their verdict in `info`."""


@dataclass(frozen=True)
class GymConfig:
    """Any registered Gymnasium environment; Box and Discrete actions, Box, Discrete and Dict observations.

    Attributes:
        id: the registered name, such as CartPole-v1, or module:name to import a module first.
        kwargs: further arguments of gymnasium.make, as a mapping.
        render: offer the environment's own render() as the camera `render`, called only when looked at.
        control_hz: actions per second; the environment's stated render_fps where not given.
        success_key: where info tells success; is_success or success, whichever is there, where not given.
    """

    id: str = "CartPole-v1"
    kwargs: dict[str, Any] = field(default_factory=dict)
    render: bool = True
    control_hz: float | None = None
    success_key: str | None = None

    def __post_init__(self) -> None:
        if self.control_hz is not None and not self.control_hz > 0:
            raise ConfigError(f"control_hz must be more than 0, not {self.control_hz}")

    def make(self) -> GymEnvironment:
        """Make the environment, without Gymnasium's own time limit: the session keeps that."""
        return GymEnvironment(self)


class GymEnvironment:
    """One Gymnasium environment.

    Numbers of the observation become `state`, in the order of the space; (H, W, 3) uint8 entries become
    images named by their keys, `pixels` where the whole observation is one.
    """

    def __init__(self, config: GymConfig) -> None:
        self._env, registered = _make(config)
        self._success_key = config.success_key
        self._discrete = _is_discrete(self._env.action_space)
        self._steps = 0
        rendered = {RENDER_CAMERA: self._probe_render()} if self._env.render_mode == "rgb_array" else {}
        self._rendered = LazyImages(lambda camera, height, width: self._render(), rendered)
        self.spec = self._make_spec(config, registered, rendered)

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode."""
        observation, _ = self._env.reset(seed=seed, options=dict(options) if options else None)
        self._steps = 0
        return self._observe(observation)

    def step(self, action: FloatArray) -> StepResult:
        """Apply (D,) values; those of a Discrete or integer space are rounded.

        Raises:
            EnvironmentFault: there are not D of them.
        """
        space = self._env.action_space
        if action.shape != (self.spec.action_dim,):
            raise EnvironmentFault(f"{self.spec.name} takes ({self.spec.action_dim},) actions, got {action.shape}")
        if self._discrete:
            native: Any = int(np.clip(np.rint(action[0]), space.start, space.start + space.n - 1))
        else:
            values = np.rint(action) if np.issubdtype(space.dtype, np.integer) else action
            native = values.reshape(space.shape).astype(space.dtype)
        observation, reward, terminated, truncated, info = self._env.step(native)
        self._steps += 1
        return StepResult(
            observation=self._observe(observation),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=self._success(info),
            info=info,
        )

    def close(self) -> None:
        """Close the environment."""
        self._rendered.close()
        self._env.close()

    def _success(self, info: Mapping[str, Any]) -> bool | None:
        keys = SUCCESS_KEYS if self._success_key is None else (self._success_key,)
        return next((bool(info[key]) for key in keys if key in info), None)

    def _observe(self, observation: Any) -> Observation:
        parts = list(_parts(observation, ""))
        numbers = [np.asarray(value, dtype=np.float64).ravel() for _, value in parts if not _is_picture(value)]
        images = {
            name or "pixels": Image.of(value.copy(), name or "pixels") for name, value in parts if _is_picture(value)
        }
        return Observation(
            state=np.concatenate(numbers) if numbers else np.zeros(0),
            images=images | self._rendered.next_instant(),
            time_s=self._steps / self.spec.control_hz if self._steps else 0.0,
        )

    def _render(self) -> Pixels:
        pixels: Pixels = np.array(self._env.render())  # a copy: environments use their buffers again
        if not _is_picture(pixels):
            raise RenderingError(f"render() gave {pixels.dtype} of shape {pixels.shape}, not (H, W, 3) uint8")
        return pixels

    def _probe_render(self) -> CameraSpec:
        from gymnasium.error import Error

        try:
            self._env.reset(seed=0)
            height, width, _ = self._render().shape
        except Error as error:
            raise ConfigError(f"its pictures cannot be drawn: {error}; --env.render=false does without them") from error
        return CameraSpec(height, width)

    def _make_spec(self, config: GymConfig, registered: Any, rendered: dict[str, CameraSpec]) -> EnvironmentSpec:
        space = self._env.action_space
        low, high = (space.start, space.start + space.n - 1) if self._discrete else (space.low, space.high)
        low, high = np.ravel(low).astype(np.float64), np.ravel(high).astype(np.float64)
        control_hz = config.control_hz or self._env.metadata.get("render_fps")
        if not control_hz:
            raise ConfigError(f"{config.id} does not state its render_fps; give its rate as env.control_hz")
        sample = self._env.observation_space.sample()
        cameras = {
            name or "pixels": CameraSpec(*value.shape[:2]) for name, value in _parts(sample, "") if _is_picture(value)
        }
        return EnvironmentSpec(
            name=registered.id,
            action_names=tuple(f"action_{i}" for i in range(low.size)),
            action_units=("native",) * low.size,
            action_low=low,
            action_high=high,
            state_names=tuple(_state_names(sample)),
            control_hz=float(control_hz),
            cameras=cameras | rendered,
            max_episode_steps=registered.max_episode_steps,
        )


def _make(config: GymConfig) -> tuple[Any, Any]:
    import gymnasium

    if config.render and find_spec("mujoco") is not None:
        try:
            choose_backend()
        except RenderingError as error:
            log.warning("%s", error)  # most environments draw without OpenGL, and those that cannot will say so
    if config.render and not has_display():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # else pygame complains of the missing display
    module, _, name = config.id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        registered = gymnasium.spec(name)
    except ImportError as error:
        raise ConfigError(f"id {config.id!r}: {error}") from error
    except gymnasium.error.Error as error:
        raise ConfigError(f"id {config.id!r} is not registered with Gymnasium: {error}") from error
    kwargs = dict(config.kwargs)
    if config.render:
        kwargs.setdefault("render_mode", "rgb_array")
    try:
        env = gymnasium.make(registered, max_episode_steps=-1, disable_env_checker=True, **kwargs)
    except (gymnasium.error.Error, TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"id {config.id!r} cannot be made: {error}") from error
    return env, registered


def _is_discrete(space: Any) -> bool:
    from gymnasium import spaces

    if not isinstance(space, spaces.Box | spaces.Discrete):
        raise ConfigError(f"actions must be Box or Discrete, this environment's are {space}")
    return isinstance(space, spaces.Discrete)


def _parts(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaves of an observation, with dotted names."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple):
        yield from _parts(dict(enumerate(value)), name)
    elif np.asarray(value).dtype.kind not in "biuf":
        raise ConfigError(f"observation {name or 'value'!r} is neither a number nor a picture: {type(value).__name__}")
    else:
        yield name, np.asarray(value)


def _is_picture(value: NDArray[Any]) -> bool:
    return value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3


def _state_names(sample: Any) -> Iterator[str]:
    for name, value in _parts(sample, ""):
        if not _is_picture(value):
            yield from (f"{name or 'state'}_{i}" for i in range(value.size))
