"""Gymnasium's vector environments (https://gymnasium.farama.org/api/vector).

Where one of their episodes ends they go on in one of three ways (https://farama.org/Vector-Autoreset-Mode), which their
metadata tells: they wait to be reset; the next step begins a new episode; or the same step does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from taketwo.envs.checking import check_num_envs, check_positive
from taketwo.envs.gym import find_registered, rate, refusing
from taketwo.envs.gym_batches import Answer, final_row, info_of, rows_of
from taketwo.envs.gym_processes import Calls, close, hush, unhush, without_interrupts
from taketwo.envs.gym_rendering import RENDER_CAMERA, SharedFrames, make_kwargs, rendered_size
from taketwo.envs.gym_spaces import ActionSpace, ObservationSpace, check_width, nameless_actions, success_of
from taketwo.errors import ConfigError, EnvironmentFault
from taketwo.types import EnvironmentSpec, FloatArray, Observation, StepResult, VectorStep

log = logging.getLogger(__name__)

AUTORESET_MODES = {"disabled": "Disabled", "next_step": "NextStep", "same_step": "SameStep"}
"""Our names of the modes, and Gymnasium's."""


@dataclass(frozen=True)
class GymVectorConfig:
    """Several of a registered Gymnasium environment as one of Gymnasium's vector environments.

    Attributes:
        id: the registered name, such as CartPole-v1, or module:name to import a module first.
        kwargs: further arguments of gymnasium.make_vec, as a mapping.
        vectorization_mode: sync steps them one after the other, async each in a process of its own, vector_entry_point
            is the environment's own simulator for many.
        autoreset_mode: what they do where an episode ends. disabled lets each episode have a seed of its own, and is
            what sync and async do where not given; a vector_entry_point has a mode of its own.
        render: offer the environments' own render() as the camera `render`, called only when looked at.
        control_hz: actions per second; the environment's stated render_fps where not given.
        success_key: where info tells success; is_success or success, whichever is there, where not given.
    """

    id: str = "CartPole-v1"
    kwargs: dict[str, Any] = field(default_factory=dict)
    vectorization_mode: Literal["sync", "async", "vector_entry_point"] = "sync"
    autoreset_mode: Literal["disabled", "next_step", "same_step"] | None = None
    render: bool = True
    control_hz: float | None = None
    success_key: str | None = None

    def __post_init__(self) -> None:
        check_positive(control_hz=self.control_hz)
        own = self.vectorization_mode == "vector_entry_point"
        if self.autoreset_mode is not None and own:
            raise ConfigError("autoreset_mode is the environment's own with vectorization_mode vector_entry_point")
        if self.autoreset_mode in (None, "disabled") and not own and "max_episode_steps" in self.kwargs:
            raise ConfigError("kwargs cannot have max_episode_steps where the session resets: it has its own")

    def make_vector(self, num_envs: int) -> GymVectorEnvironment:
        """Make them; where they are not to reset themselves, without a time limit: the session keeps that."""
        check_num_envs(num_envs)
        environment, registered = _make(self, num_envs)
        try:
            return GymVectorEnvironment(
                environment,
                name=registered.id,
                control_hz=self.control_hz,
                success_key=self.success_key,
                max_episode_steps=self.kwargs.get("max_episode_steps"),
            )
        except BaseException:
            close(environment)
            raise


class GymVectorEnvironment:
    """Any `gymnasium.vector.VectorEnv` with NumPy arrays.

    With autoreset mode `DISABLED` each episode has the seed that it is given. In the others the simulator resets
    itself, and its later episodes follow from the first ones' seeds.

    The simulator steps all of its environments. Those that are given no action get zero, or what is nearest to it. They
    may end so; where they then begin anew by themselves, that is told like any other beginning.

    In mode `SAME_STEP` the simulator draws the next episode where one ends, so with a camera `render` the last
    observation of an episode counts as unseen; it is in `info["final_obs"]`.
    """

    def __init__(
        self,
        env: Any,
        *,
        name: str | None = None,
        control_hz: float | None = None,
        success_key: str | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        """Take it over, and reset it once: closing this closes it.

        Args:
            name: what to call it; the name it is registered with where not given.
            control_hz: actions per second; its `render_fps` where not given.
            success_key: where `info` tells success.
            max_episode_steps: its limit; the registered one where not given.

        Raises:
            ConfigError: its spaces or its autoreset mode are none that can be used.
        """
        from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

        self._env = env
        self.num_envs = int(env.num_envs)
        registered = getattr(env, "spec", None) or getattr(env.unwrapped, "spec", None)
        name = name or getattr(registered, "id", None) or type(env.unwrapped).__name__
        mode = _autoreset_mode(env, name)
        self.resets_itself = mode is not AutoresetMode.DISABLED
        self._same_step = mode is AutoresetMode.SAME_STEP
        self._success_key = success_key
        self._actions = ActionSpace(env.single_action_space)
        self._observations = ObservationSpace(env.single_observation_space)
        self._frames = SharedFrames(env.render, self.num_envs)
        self._steps = np.zeros(self.num_envs, np.int64)
        self._last: dict[int, Observation] = {}
        self._over = set(range(self.num_envs))  # no episode is under way
        self._stale: set[int] = set()  # of those, the ones that the simulator may not step before a reset
        self._begun = False
        self._calls = Calls(env, name)
        self._closed = False
        self._seeds_each = isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        env.reset(seed=0)  # so that it can be drawn, and some be reset before others
        self._rendered = {}
        if env.render_mode == "rgb_array":
            self._rendered = {RENDER_CAMERA: rendered_size(lambda: self._frames.draw(0))}
        limit = max_episode_steps or getattr(registered, "max_episode_steps", None)
        self.spec = self._make_spec(name, rate(name, control_hz, env.metadata), limit)

    def _make_spec(self, name: str, control_hz: float, max_episode_steps: int | None) -> EnvironmentSpec:
        names, units = nameless_actions(self._actions.size)
        return EnvironmentSpec(
            name=name,
            action_names=names,
            action_units=units,
            action_low=self._actions.low,
            action_high=self._actions.high,
            state_names=self._observations.names,
            control_hz=control_hz,
            cameras=self._observations.cameras | self._rendered,
            max_episode_steps=max_episode_steps,
        )

    def reset(
        self, seeds: Mapping[int, int], options: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Mapping[int, Observation]:
        """Begin an episode in some of them; in all of them at once where they reset themselves.

        Gymnasium promises that a simulator for many takes one seed, and only its own sync and async take one for each.
        So a simulator that resets itself gets the seed of the first, and one that does not begins its environments one
        by one.

        Raises:
            EnvironmentFault: there is no such environment, or not all that must be are there.
        """
        self._check_numbers(seeds)
        given = {env: dict(chosen) for env, chosen in (options or {}).items() if env in seeds and chosen}
        rows = self._reset_all(seeds, given) if self.resets_itself else self._reset_some(seeds, given)
        self._frames.moved(seeds)
        self._begun = True
        self._over -= seeds.keys()
        self._stale -= seeds.keys()
        return {env: self._first(env, row) for env, row in rows.items()}

    def step(self, actions: Mapping[int, FloatArray]) -> VectorStep:
        """Apply (D,) values to some of them; those of a Discrete or integer space are rounded.

        Raises:
            EnvironmentFault: an action has another width, or is for one in which no episode is under way.
        """
        self._check_actions(actions)
        if not self.resets_itself and not actions:
            return VectorStep({})
        self._revive()
        with self._calls:
            answer = Answer(*self._env.step(self._batch(actions)))
        rows, ended = rows_of(self._env, answer.observations), answer.ended()
        self._steps += 1
        self._frames.moved(range(self.num_envs))
        hidden = ended & actions.keys() if self._same_step else set()
        finals = {env: final_row(self._env, answer.infos, env) for env in hidden}
        unseen = frozenset(env for env, row in finals.items() if row is None or self._rendered)
        for env in actions.keys() - unseen:
            self._last[env] = self._observe(env, finals.get(env, rows[env]))
        results = {env: self._result(env, answer, final=env in hidden) for env in actions}
        return VectorStep(results, begun=self._begin_anew(ended, rows), unseen=unseen)

    def close(self) -> None:
        """Close it."""
        self._frames.moved(range(self.num_envs))
        if not self._closed:
            self._closed = True
            close(self._env)

    def _check_numbers(self, envs: Iterable[int]) -> None:
        for env in envs:
            if not 0 <= env < self.num_envs:
                raise EnvironmentFault(f"{self.spec.name} has environments 0 to {self.num_envs - 1}, not {env}")

    def _check_actions(self, actions: Mapping[int, FloatArray]) -> None:
        self._check_numbers(actions)
        if self.resets_itself and not self._begun:
            raise EnvironmentFault(f"{self.spec.name} has begun no episode: reset it first")
        for env, action in actions.items():
            check_width(action, self._actions.size, self.spec.name)
            if env in self._over:
                then = "it begins the next by itself" if self.resets_itself else "reset it first"
                raise EnvironmentFault(f"environment {env} of {self.spec.name} has no episode under way: {then}")

    def _reset_all(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]]) -> dict[int, Any]:
        if len(seeds) < self.num_envs:
            raise EnvironmentFault(f"{self.spec.name} resets itself: begin all {self.num_envs} environments at once")
        chosen = [options.get(env) for env in range(self.num_envs)]
        if any(other != chosen[0] for other in chosen):
            raise EnvironmentFault(f"{self.spec.name} resets itself: its environments cannot have options of their own")
        each = [seeds[env] for env in range(self.num_envs)]
        with self._calls:
            given, _ = self._env.reset(seed=each if self._seeds_each else each[0], options=chosen[0])
        return dict(enumerate(rows_of(self._env, given)))

    def _reset_some(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]]) -> dict[int, Any]:
        """One call for all that can be reset together: with a seed each, and without options."""
        together = [env for env in seeds if env not in options] if self._seeds_each else []
        rows: dict[int, Any] = {}
        for envs in ([together] if together else []) + [[env] for env in seeds if env not in together]:
            each = [seeds.get(env) if env in envs else None for env in range(self.num_envs)]
            given = self._reset_masked(envs, each if self._seeds_each else seeds[envs[0]], options.get(envs[0], {}))
            rows.update({env: given[env] for env in envs})
        return rows

    def _reset_masked(self, envs: Iterable[int], seed: Any, options: Mapping[str, Any]) -> Sequence[Any]:
        mask = np.isin(np.arange(self.num_envs), list(envs))
        with self._calls:
            given, _ = self._env.reset(seed=seed, options={**options, "reset_mask": mask})
        return rows_of(self._env, given)

    def _revive(self) -> None:
        """Reset those that nobody waits for, as the simulator steps all of them or none."""
        if self._stale:
            self._reset_masked(self._stale, None, {})
            self._stale.clear()

    def _begin_anew(self, ended: set[int], rows: Sequence[Any]) -> dict[int, Observation]:
        """Keep account of what has ended; the first observations of what has begun by itself."""
        anew: set[int] = set()
        if not self.resets_itself:
            self._stale |= ended
        elif self._same_step:
            anew = ended
        else:
            anew = self._over
        self._over = (self._over | ended) - anew
        return {env: self._first(env, rows[env]) for env in sorted(anew)}

    def _first(self, env: int, row: Any) -> Observation:
        self._steps[env] = 0
        self._last[env] = self._observe(env, row)
        return self._last[env]

    def _observe(self, env: int, row: Any) -> Observation:
        state, images = self._observations.read(row)
        rendered = {name: self._frames.image(env, size) for name, size in self._rendered.items()}
        return Observation(state, images | rendered, time_s=float(self._steps[env] / self.spec.control_hz))

    def _result(self, env: int, answer: Answer, *, final: bool) -> StepResult:
        info = info_of(answer.infos, env, self.num_envs)
        if final:  # the rest is of the episode that has begun
            info = {**info.get("final_info", {}), "final_obs": info.get("final_obs")} if "final_info" in info else info
        return StepResult(
            observation=self._last[env],
            reward=float(answer.rewards[env]),
            terminated=bool(answer.terminated[env]),
            truncated=bool(answer.truncated[env]),
            success=success_of(info, self._success_key),
            info=info,
        )

    def _batch(self, actions: Mapping[int, FloatArray]) -> Any:
        idle = self._actions.idle
        each = [self._actions.native(actions.get(env, idle)) for env in range(self.num_envs)]
        return np.asarray(each, dtype=self._env.action_space.dtype)


def _make(config: GymVectorConfig, num_envs: int) -> tuple[Any, Any]:
    import gymnasium

    registered = find_registered(config.id)
    kwargs = make_kwargs(config.kwargs, render=config.render)
    mode = config.vectorization_mode
    if mode != "vector_entry_point":
        autoreset_mode = config.autoreset_mode or "disabled"
        kwargs = {
            "disable_env_checker": True,
            **kwargs,
            "vector_kwargs": {"autoreset_mode": AUTORESET_MODES[autoreset_mode]},
        }
        if autoreset_mode == "disabled":
            kwargs["max_episode_steps"] = -1
    if mode == "async":
        kwargs["wrappers"] = [without_interrupts()]
    with ExitStack() as stack, refusing(config.id):
        if mode == "async" and not log.isEnabledFor(logging.DEBUG):
            hush()
            stack.callback(unhush)
        environment = gymnasium.make_vec(registered, num_envs=num_envs, vectorization_mode=mode, **kwargs)
        stack.pop_all()
    return environment, registered


def _autoreset_mode(env: Any, name: str) -> Any:
    from gymnasium.vector import AutoresetMode

    told = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(told)
    except ValueError as error:
        known = ", ".join(AUTORESET_MODES.values())
        raise ConfigError(f"{name}: its metadata tell autoreset_mode {told!r}, which must be one of {known}") from error
