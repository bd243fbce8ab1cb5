"""N environments of one simulator, with the interface of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from taketwo.envs.batches import Reader
from taketwo.envs.checking import check_num_envs
from taketwo.envs.gym_spaces import nameless_actions
from taketwo.envs.isaac.building import Factory
from taketwo.envs.isaac.pictures import Capture, Pictures
from taketwo.envs.isaac.simulator import Simulator, Told
from taketwo.envs.isaac.verdicts import Verdicts
from taketwo.envs.unwrapping import find
from taketwo.errors import ConfigError, EnvironmentFault
from taketwo.types import EnvironmentSpec, FloatArray, Observation, StepResult, VectorStep

if TYPE_CHECKING:
    from taketwo.envs.isaac import IsaacConfig

NAMELESS = ("make", "make_env", "create")
"""Names of callables that are no names of environments."""


class IsaacVector:
    """N environments that begin the next episode by themselves, so that the last observation of one is never seen.

    There is one seed for all, that of environment 0; all that comes after, other environments and later episodes,
    follows from it and from the actions. Environments that are given no action get zeros and go on.
    """

    resets_itself = True

    def __init__(self, config: IsaacConfig, num_envs: int) -> None:
        """Build the simulator, and reset it once to see what it shows.

        Raises:
            ConfigError: an option does not fit, or it cannot be built.
        """
        check_num_envs(num_envs)
        self.num_envs = num_envs
        self._config = config
        self._simulator = Simulator(Factory(config, num_envs), num_envs, config.api)
        try:
            first = self._simulator.reset()
            self._reader = Reader(first, num_envs, config.obs_group)
            self._action_shape, low, high = _action_space(self._simulator.env, num_envs, self._reader, config)
            self._connect()
            self.spec = self._make_spec(low, high)
        except BaseException:
            self._simulator.close()
            raise
        self._idle = np.clip(np.zeros(low.size), low, high)
        self._steps = np.zeros(num_envs, int)
        self._observations: list[Observation] = []

    def reset(
        self, seeds: Mapping[int, int], options: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Mapping[int, Observation]:
        """Begin an episode in all of them, by the seed of environment 0. A later call begins everything anew.

        Raises:
            EnvironmentFault: not all are named.
        """
        if set(seeds) != set(range(self.num_envs)):
            raise EnvironmentFault(f"{self.spec.name} resets all of its {self.num_envs} environments, or none")
        env = self._simulator.env
        groups = self._simulator.reset(seeds[0])
        if self._simulator.env is not env:
            self._pictures.close()
            self._connect()
        self._steps[:] = 0
        self._observations = self._observe(groups)
        return dict(enumerate(self._observations))

    def step(self, actions: Mapping[int, FloatArray]) -> VectorStep:
        """Step all of them; results are of those that are given an action.

        Raises:
            EnvironmentFault: nothing has begun, an action has another width, or the simulator answers nothing known.
        """
        if not self._observations:
            raise EnvironmentFault(f"{self.spec.name} has begun no episode: call reset first")
        told = self._simulator.step(self._gathered(actions))
        before = self._observations
        done = told.terminated | told.truncated
        self._steps = np.where(done, 0, self._steps + 1)
        self._observations = self._observe(told.groups)
        ended = [int(env) for env in np.flatnonzero(done)]
        shown = [before[env] if done[env] else self._observations[env] for env in range(self.num_envs)]
        return VectorStep(
            results=self._results(told, list(actions), shown),
            begun={env: self._observations[env] for env in ended},
            unseen=frozenset(env for env in ended if env in actions),
        )

    def close(self) -> None:
        """Close the simulator, where it can be closed."""
        self._observations = []
        self._pictures.close()
        self._simulator.close()

    def _connect(self) -> None:
        """Find what is read beside observations in the environment, which may have been built anew."""
        env, config = self._simulator.env, self._config
        capture = None if config.capture is None else Capture(env, config, self.num_envs)
        self._pictures = Pictures(self.num_envs, self._reader.cameras, capture, config)
        self._verdicts = Verdicts(env, self.num_envs, config.success_key)

    def _gathered(self, actions: Mapping[int, FloatArray]) -> Any:
        gathered = np.tile(self._idle, (self.num_envs, 1))
        for env, action in actions.items():
            if env not in range(self.num_envs):
                raise EnvironmentFault(f"{self.spec.name} has no environment {env}")
            if action.shape != self._idle.shape:
                raise EnvironmentFault(f"{self.spec.name} takes {self._idle.shape} actions, got {action.shape}")
            gathered[env] = action
        return gathered.reshape(self.num_envs, *self._action_shape).astype(np.float32)

    def _observe(self, groups: Mapping[str, Any]) -> list[Observation]:
        states = self._reader.states(groups)
        images = self._pictures.next_instant(dict(self._reader.pictures(groups)))
        times = self._steps / self.spec.control_hz
        return [Observation(states[env], images[env], time_s=float(times[env])) for env in range(self.num_envs)]

    def _results(self, told: Told, envs: list[int], shown: list[Observation]) -> dict[int, StepResult]:
        success = self._verdicts.success(told.extras)
        metrics = self._verdicts.metrics(told.extras)
        return {
            env: StepResult(
                observation=shown[env],
                reward=float(told.rewards[env]),
                terminated=bool(told.terminated[env]),
                truncated=bool(told.truncated[env]),
                success=None if success is None else bool(success[env]),
                info={"metrics": {name: float(values[env]) for name, values in metrics.items()}} if metrics else {},
            )
            for env in envs
        }

    def _make_spec(self, low: FloatArray, high: FloatArray) -> EnvironmentSpec:
        config = self._config
        names, units = nameless_actions(low.size)
        return EnvironmentSpec(
            name=config.name or config.id or _name_of(config.entry or ""),
            action_names=names,
            action_units=units,
            action_low=low,
            action_high=high,
            state_names=self._reader.names,
            control_hz=config.control_hz or _told_hz(self._simulator.env),
            cameras=self._pictures.cameras,
        )


def _name_of(entry: str) -> str:
    """The callable of module:callable, or the last part of the module where the callable tells nothing."""
    module, _, name = entry.partition(":")
    return module.rpartition(".")[2] if name in NAMELESS else name


def _action_space(
    env: Any, num_envs: int, reader: Reader, config: IsaacConfig
) -> tuple[tuple[int, ...], FloatArray, FloatArray]:
    """The shape of one environment's action, and its (D,) limits; one row a robot where observations have that too."""
    space = find(env, "single_action_space", find(env, "action_space"))
    if space is not None and getattr(space, "shape", None):
        shape = tuple(space.shape)
        low, high = getattr(space, "low", np.full(shape, -np.inf)), getattr(space, "high", np.full(shape, np.inf))
        if len(shape) > 1 and shape[0] == num_envs and find(env, "single_action_space") is None:
            shape, low, high = shape[1:], low[0], high[0]
    elif find(env, "num_actions") is not None:
        shape = (int(find(env, "num_actions")),)
        low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    else:
        raise ConfigError("the environment tells neither single_action_space, action_space nor num_actions of numbers")
    robots = find(env, "num_agents", 1)
    seen = reader.state_shape
    if len(shape) == 1 and seen is not None and len(seen) == 3 and seen[1] == robots:
        shape = (robots, *shape)
    limit = config.action_limit or np.inf
    low, high = (np.broadcast_to(np.asarray(side, np.float64), shape).ravel() for side in (low, high))
    return shape, np.where(np.isinf(low), -limit, low), np.where(np.isinf(high), limit, high)


def _told_hz(env: Any) -> float:
    """Actions per second, by what the environment tells of its time steps.

    Isaac Lab's `step_dt` and legged_gym's `dt` are of a control step, and so are products of their configurations. `dt`
    of Isaac Gym's own environments is of the simulation, of which there are `control_freq_inv` in a control step.
    """
    dt = find(env, "step_dt")
    if dt is None and find(env, "dt") is not None:
        dt = find(env, "dt") * find(env, "control_freq_inv", 1)
    if dt is None:
        decimation = find(env, "cfg.decimation", find(env, "cfg.control.decimation"))
        simulated = find(env, "cfg.sim.dt")
        dt = None if decimation is None or simulated is None else decimation * simulated
    if not dt:
        raise ConfigError("control_hz must be given: the environment tells neither step_dt nor dt")
    return float(1 / dt)
