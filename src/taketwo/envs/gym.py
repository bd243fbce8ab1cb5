"""Any registered Gymnasium environment (https://gymnasium.farama.org)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from taketwo.envs.checking import check_positive
from taketwo.envs.gym_rendering import RENDER_CAMERA, make_kwargs, rendered_pixels, rendered_size
from taketwo.envs.gym_spaces import ActionSpace, ObservationSpace, check_width, nameless_actions, success_of
from taketwo.envs.lazy_images import LazyImages
from taketwo.errors import ConfigError, one_line
from taketwo.types import CameraSpec, EnvironmentSpec, FloatArray, Observation, Pixels, StepResult


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
        check_positive(control_hz=self.control_hz)

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
        try:
            self._look(config, registered)
        except BaseException:
            self._env.close()
            raise

    def _look(self, config: GymConfig, registered: Any) -> None:
        """See what there is; where it is to be drawn, by a first reset."""
        self._success_key = config.success_key
        self._actions = ActionSpace(self._env.action_space)
        self._observations = ObservationSpace(self._env.observation_space)
        self._steps = 0
        rendered = {RENDER_CAMERA: self._probe_render()} if self._env.render_mode == "rgb_array" else {}
        self._rendered = LazyImages(lambda camera, height, width: self._render(), rendered)
        names, units = nameless_actions(self._actions.size)
        self.spec = EnvironmentSpec(
            name=registered.id,
            action_names=names,
            action_units=units,
            action_low=self._actions.low,
            action_high=self._actions.high,
            state_names=self._observations.names,
            control_hz=rate(config.id, config.control_hz, self._env.metadata),
            cameras=self._observations.cameras | rendered,
            max_episode_steps=registered.max_episode_steps,
        )

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
        check_width(action, self._actions.size, self.spec.name)
        observation, reward, terminated, truncated, info = self._env.step(self._actions.native(action))
        self._steps += 1
        return StepResult(
            observation=self._observe(observation),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=success_of(info, self._success_key),
            info=info,
        )

    def close(self) -> None:
        """Close the environment."""
        self._rendered.close()
        self._env.close()

    def _observe(self, observation: Any) -> Observation:
        state, images = self._observations.read(observation)
        return Observation(
            state=state,
            images=images | self._rendered.next_instant(),
            time_s=self._steps / self.spec.control_hz if self._steps else 0.0,
        )

    def _render(self) -> Pixels:
        return rendered_pixels(self._env.render())

    def _probe_render(self) -> CameraSpec:
        self._env.reset(seed=0)
        return rendered_size(self._render)


def _make(config: GymConfig) -> tuple[Any, Any]:
    import gymnasium

    registered = find_registered(config.id)
    kwargs = make_kwargs(config.kwargs, render=config.render)
    with refusing(config.id):
        env = gymnasium.make(registered, max_episode_steps=-1, disable_env_checker=True, **kwargs)
    return env, registered


def find_registered(name: str) -> Any:
    """The `EnvSpec` of a registered name, which may say what module to import first.

    Raises:
        ConfigError: there is none.
    """
    import gymnasium

    module, _, registered = name.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gymnasium.spec(registered)
    except ImportError as error:
        raise ConfigError(f"id {name!r}: {one_line(error)}") from error
    except gymnasium.error.Error as error:
        raise ConfigError(f"id {name!r} is not registered with Gymnasium: {one_line(error)}") from error


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Tell in a line why an environment cannot be made."""
    import gymnasium

    try:
        yield
    except (gymnasium.error.Error, TypeError, ValueError, ImportError) as error:
        raise ConfigError(f"id {name!r} cannot be made: {one_line(error)}") from error


def rate(name: str, control_hz: float | None, metadata: Mapping[str, Any]) -> float:
    """Actions per second: what is given, else what the environment states.

    Raises:
        ConfigError: neither tells.
    """
    control_hz = control_hz or metadata.get("render_fps")
    if not control_hz:
        raise ConfigError(f"{name} does not state its render_fps; give its rate as env.control_hz")
    return float(control_hz)
