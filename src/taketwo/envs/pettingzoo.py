"""PettingZoo's parallel environments (https://pettingzoo.farama.org/api/parallel), all agents as one."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taketwo.envs.checking import check_positive
from taketwo.envs.gym import rate
from taketwo.envs.gym_rendering import RENDER_CAMERA, make_kwargs, rendered_pixels, rendered_size
from taketwo.envs.gym_spaces import ActionSpace, ObservationSpace, check_width, nameless_actions, success_of
from taketwo.envs.lazy_images import LazyImages
from taketwo.errors import ConfigError, EnvironmentFault, MissingExtraError, one_line
from taketwo.types import EnvironmentSpec, FloatArray, Image, Observation, Pixels, StepResult


@dataclass(frozen=True)
class PettingZooConfig:
    """A PettingZoo parallel environment, whose agents act together as one robot.

    Attributes:
        env: a module with a parallel_env, such as mpe2.simple_spread_v3, or module:name of what makes one.
        kwargs: arguments for making it, as a mapping.
        render: offer the environment's own render() as the camera `render`, called only when looked at.
        control_hz: actions per second; the environment's stated render_fps where not given.
        success_key: where an agent's info tells success; is_success or success, whichever is there, where not given.
    """

    env: str = "mpe2.simple_spread_v3"
    kwargs: dict[str, Any] = field(default_factory=dict)
    render: bool = True
    control_hz: float | None = None
    success_key: str | None = None

    def __post_init__(self) -> None:
        check_positive(control_hz=self.control_hz)

    def make(self) -> PettingZooEnvironment:
        """Make the environment."""
        environment = _make(self)
        try:
            return PettingZooEnvironment(
                environment, name=self.env, control_hz=self.control_hz, success_key=self.success_key
            )
        except BaseException:
            environment.close()
            raise


class PettingZooEnvironment:
    """Any `pettingzoo.ParallelEnv` as one environment.

    The action is all agents' actions side by side, named `agent.action_0`, in the order in which the first reset names
    the agents. Box and Discrete ones may stand side by side; those of a Discrete or integer space are rounded. The
    state is all agents' observations in the same order, pictures are named `agent.key`. The reward is the sum of the
    agents'.

    An episode ends when the last agent has; it is terminated where that has happened to any of them. An agent that has
    ended before the others gets no more actions and keeps its last observation.
    """

    def __init__(
        self, env: Any, *, name: str | None = None, control_hz: float | None = None, success_key: str | None = None
    ) -> None:
        """Take it over, and reset it once, which tells the agents: closing this closes it.

        Args:
            name: what to call it; the one in its metadata where there is one.
            control_hz: actions per second; its `render_fps` where not given.
            success_key: where an agent's `info` tells success.

        Raises:
            ConfigError: an agent's spaces are none that can be used.
        """
        self._env = env
        self._success_key = success_key
        told, _ = env.reset(seed=0)
        self.agents: tuple[str, ...] = tuple(env.agents or told)
        if not self.agents:
            raise ConfigError(f"{name or type(env).__name__} begins without agents")
        self._actions, self._observations = _spaces(env, self.agents)
        self._alive: tuple[str, ...] = ()
        self._seen: dict[str, tuple[FloatArray, dict[str, Image]]] = {}
        self._verdicts: dict[str, bool] = {}
        self._terminated = False
        self._steps = 0
        rendered = {}
        if getattr(env, "render_mode", None) == "rgb_array":
            rendered = {RENDER_CAMERA: rendered_size(self._render)}
        self._rendered = LazyImages(lambda camera, height, width: self._render(), rendered)
        name = env.metadata.get("name") or name or type(env).__name__
        self._widths = [space.size for space in self._actions.values()]
        self.spec = EnvironmentSpec(
            name=name,
            action_names=tuple(
                f"{agent}.{action}"
                for agent, space in self._actions.items()
                for action in nameless_actions(space.size)[0]
            ),
            action_units=nameless_actions(sum(self._widths))[1],
            action_low=np.concatenate([space.low for space in self._actions.values()]),
            action_high=np.concatenate([space.high for space in self._actions.values()]),
            state_names=tuple(f"{agent}.{name}" for agent, space in self._observations.items() for name in space.names),
            control_hz=rate(name, control_hz, env.metadata),
            cameras={
                f"{agent}.{camera}": size
                for agent, space in self._observations.items()
                for camera, size in space.cameras.items()
            }
            | rendered,
        )

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        """Begin an episode.

        Raises:
            EnvironmentFault: it has other agents than at first.
        """
        told, _ = self._env.reset(seed=seed, options=dict(options) if options else None)
        agents = tuple(self._env.agents or told)
        if set(agents) != set(self.agents):
            raise EnvironmentFault(
                f"{self.spec.name} has begun with agents {', '.join(agents)}; it had {', '.join(self.agents)}, "
                "and a recording needs the same in all episodes"
            )
        self._alive, self._seen, self._verdicts, self._terminated, self._steps = self.agents, {}, {}, False, 0
        self._see(told)
        if len(self._seen) < len(self.agents):
            unseen = ", ".join(agent for agent in self.agents if agent not in self._seen)
            raise EnvironmentFault(f"{self.spec.name} has begun without an observation for {unseen}")
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """Apply (D,) values.

        Raises:
            EnvironmentFault: there are not D of them, no episode is under way, or an agent has come that was not there.
        """
        check_width(action, len(self.spec.action_names), self.spec.name)
        if not self._alive:
            raise EnvironmentFault(f"{self.spec.name} has no episode under way: reset it first")
        parts = dict(zip(self.agents, np.split(action, np.cumsum(self._widths)[:-1]), strict=True))
        told, rewards, terminated, truncated, infos = self._env.step(
            {agent: self._actions[agent].native(parts[agent]) for agent in self._alive}
        )
        self._steps += 1
        self._see(told)
        self._judge(infos)
        self._terminated = self._terminated or any(bool(terminated.get(agent)) for agent in self._alive)
        self._alive = self._still_alive(terminated, truncated)
        return StepResult(
            observation=self._observe(),
            reward=float(sum(rewards.values())),
            terminated=not self._alive and self._terminated,
            truncated=not self._alive and not self._terminated,
            success=all(self._verdicts.values()) if self._verdicts else None,
            info={
                **_common(infos),
                "rewards": {agent: float(reward) for agent, reward in rewards.items()},
                "agents": dict(infos),
            },
        )

    def close(self) -> None:
        """Close the environment."""
        self._rendered.close()
        self._env.close()

    def _still_alive(self, terminated: Mapping[str, Any], truncated: Mapping[str, Any]) -> tuple[str, ...]:
        over = {agent for agent in self._alive if terminated.get(agent) or truncated.get(agent)}
        new = set(self._env.agents) - set(self.agents)
        if new:
            raise EnvironmentFault(
                f"{self.spec.name}: agent {', '.join(sorted(new))} has come in the middle of an episode"
            )
        return tuple(agent for agent in self._alive if agent in self._env.agents and agent not in over)

    def _see(self, told: Mapping[str, Any]) -> None:
        for agent in self._alive:
            if agent in told:
                self._seen[agent] = self._observations[agent].read(told[agent])

    def _judge(self, infos: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep each agent's last verdict; the task stands solved where all that give one say so."""
        for agent, info in infos.items():
            verdict = success_of(info, self._success_key)
            if verdict is not None:
                self._verdicts[agent] = verdict

    def _observe(self) -> Observation:
        images = {f"{agent}.{camera}": image for agent in self.agents for camera, image in self._seen[agent][1].items()}
        return Observation(
            state=np.concatenate([self._seen[agent][0] for agent in self.agents]),
            images=images | self._rendered.next_instant(),
            time_s=self._steps / self.spec.control_hz,
        )

    def _render(self) -> Pixels:
        return rendered_pixels(self._env.render())


def _make(config: PettingZooConfig) -> Any:
    try:
        from pettingzoo import AECEnv, ParallelEnv
    except ModuleNotFoundError as error:
        raise MissingExtraError("pettingzoo", "pettingzoo") from error
    module, _, name = config.env.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name or "parallel_env")
    except (ImportError, ValueError) as error:
        raise ConfigError(f"env {config.env!r} cannot be imported: {one_line(error)}") from error
    except AttributeError as error:
        raise ConfigError(
            f"env {config.env!r}: {one_line(error)}; give a module with parallel_env, or module:name"
        ) from error
    try:
        environment = factory(**make_kwargs(config.kwargs, render=config.render))
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        said = one_line(error)
        without = "; --env.render=false does without" if config.render and "render_mode" in said else ""
        raise ConfigError(f"env {config.env!r} cannot be made: {said}{without}") from error
    if isinstance(environment, ParallelEnv):
        return environment
    hint = "; pettingzoo.utils.aec_to_parallel makes one of it" if isinstance(environment, AECEnv) else ""
    raise ConfigError(f"env {config.env!r} makes a {type(environment).__name__}, not a parallel environment{hint}")


def _spaces(env: Any, agents: Iterable[str]) -> tuple[dict[str, ActionSpace], dict[str, ObservationSpace]]:
    """The agents' spaces of actions and of observations."""
    actions, observations = {}, {}
    for agent in agents:
        try:
            actions[agent] = ActionSpace(env.action_space(agent))
            observations[agent] = ObservationSpace(env.observation_space(agent))
        except ConfigError as error:
            raise ConfigError(f"agent {agent}: {error}") from error
    return actions, observations


def _common(infos: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all agents are told alike, such as figures of the whole task."""
    first, *others = infos.values() or ({},)
    return {key: value for key, value in first.items() if all(_alike(value, other.get(key)) for other in others)}


def _alike(value: Any, other: Any) -> bool:
    try:
        return bool(np.array_equal(value, other, equal_nan=isinstance(value, float)))
    except (TypeError, ValueError):  # what cannot be compared, such as mappings that hold arrays
        return False
