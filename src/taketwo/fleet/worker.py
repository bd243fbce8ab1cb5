"""Runs trials one after the other: an environment, a policy and a session for each, as `taketwo run` has them."""

from __future__ import annotations

import gc
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from taketwo.control.config import ControlConfig
from taketwo.control.controller import Controller
from taketwo.datasets.sink import DatasetConfig, DatasetSink
from taketwo.envs.base import Environment, MakesOne, Snapshots
from taketwo.errors import (
    ConfigError,
    EnvironmentFault,
    MissingExtraError,
    PolicyError,
    RecordingError,
    TakeTwoError,
    blaming,
    one_line,
)
from taketwo.fleet.episodes import DATASET, Episodes
from taketwo.fleet.executor import MisfitError
from taketwo.fleet.heartbeat import Heartbeat
from taketwo.fleet.timing import Stopwatch, TimedController, TimedEnvironment
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.policies.base import PolicyConfig
from taketwo.policies.prompting import TellsPrompt
from taketwo.recording.naming import cannot_write, make_folder
from taketwo.recording.video import VideoConfig
from taketwo.seeding import episode_seed
from taketwo.session.config import SessionConfig
from taketwo.session.loop import Session
from taketwo.session.patience import end_process
from taketwo.session.result import SessionResult
from taketwo.session.sinks import Sink
from taketwo.types import EnvironmentSpec, Episode, Outcome

log = logging.getLogger(__name__)

EPISODES = "episodes"
WORK = "work"
BEGUN = ".begun"

COLLECT_EVERY_S = 20.0
"""How often a worker looks for garbage among all that there is. A session does before it begins, which takes 30 ms with
a simulator loaded: as much as a fifth of a short episode."""


@dataclass(frozen=True)
class WorkerConfig:
    """What all trials of a plan have in common.

    Attributes:
        folder: of the run; `episodes` in it gets the finished trials, `work` what is under way.
        env_type: the environment's name in the registry.
        env: its options, before those that a trial changes.
        session: limits and rate of an episode; seed and number are the trial's.
        dataset: how every episode is recorded; None where none is.
        prompt: instruction put into each observation; the environment's own where None.
        described_as: the resolved configuration as plain values, credentials masked; `env` are the options above.
        token: of the command. Workers of a command that was killed may live on for a while, and have their own folder.
    """

    folder: Path
    env_type: str
    env: MakesOne
    policy: PolicyConfig
    session: SessionConfig
    control: ControlConfig
    video: VideoConfig
    dataset: DatasetConfig | None
    prompt: str | None
    described_as: Mapping[str, Any]
    token: str = field(default_factory=partial(secrets.token_hex, 4))


class Worker:
    """Keeps environment, policy and controller from trial to trial; after a fault all of them are made anew."""

    def __init__(
        self,
        config: WorkerConfig,
        name: str,
        *,
        stepped: Callable[[int], None] = lambda steps: None,
        on_hang: Callable[[str], None] = lambda reason: end_process(EnvironmentFault(reason)),
    ) -> None:
        """Nothing is made before the first trial.

        Args:
            name: what results call it; a folder of this name is its own.
            stepped: called now and then with the number of actions of the trial under way.
            on_hang: called on another thread with the reason where the environment hangs for longer than
                `session.step_timeout_s`. It has to end the process.
        """
        self._config = config
        self._name = name
        self._stepped = stepped
        self._on_hang = on_hang
        self._episodes = Episodes(config.folder / EPISODES)
        self._made: _Made | None = None
        self._collected = time.monotonic()

    def run(self, trial: Trial) -> TrialResult:
        """Run a trial, and put it among the finished ones unless it ended as a fault.

        Raises:
            MisfitError: an option does not fit.
            MissingExtraError: a library is not installed.
            RecordingError: the disk does not take it; the trial is not among the finished ones then.
        """
        work = self._config.folder / WORK / self._config.token / self._name / f"{trial.index:06d}"
        shutil.rmtree(work, ignore_errors=True)
        began = time.monotonic()
        try:
            made = self._made_for(trial)
            self._set_aside()
            _begin(work)
            result = self._run(trial, made, work)
        except (ConfigError, MissingExtraError, RecordingError):
            self.close()
            raise
        except TakeTwoError as error:
            result = fault_of(trial, one_line(error), time.monotonic() - began)
        result = replace(result, worker=self._name)
        if result.outcome is not Outcome.FAULT:
            _end(work)
            return self._episodes.commit(work, result)
        self.close()
        shutil.rmtree(work, ignore_errors=True)
        return result

    def close(self) -> None:
        """Close environment and policy. Safe to call twice."""
        made, self._made = self._made, None
        if made is not None:
            made.close()

    def _made_for(self, trial: Trial) -> _Made:
        if self._made is not None and self._made.env != trial.env:
            self.close()
        if self._made is None:
            self._made = _Made(self._config, trial.env)
        return self._made

    def _set_aside(self) -> None:
        """Keep the session's collection of garbage from looking at what was there before."""
        if time.monotonic() - self._collected > COLLECT_EVERY_S:
            gc.collect()
            self._collected = time.monotonic()
        gc.freeze()  # the session thaws it at its end

    def _run(self, trial: Trial, made: _Made, work: Path) -> TrialResult:
        config = self._config
        limits = replace(config.session, seed=trial.seed, seed_offset=trial.number, num_episodes=1)
        dataset, sinks = self._sinks(made, limits, work)
        stopwatch = Stopwatch()
        session = Session(
            Heartbeat(TimedEnvironment(made.environment, stopwatch), self._stepped),
            TimedController(made.controller, stopwatch, trial.number),
            limits,
            sinks,
            prompt=lambda: config.prompt,
            described_as=described(config, trial),
            on_hang=lambda result: self._on_hang(result.reason),
        )
        try:
            result = session.run()
        finally:
            if dataset is not None:
                dataset.abandon()  # where it failed without being told
        if isinstance(result.fault, RecordingError):
            raise result.fault
        rows = 0 if dataset is None else dataset.report()["rows"]
        return result_of_session(trial, result, made.environment.spec.control_hz, stopwatch.take(), rows)

    def _sinks(self, made: _Made, limits: SessionConfig, work: Path) -> tuple[DatasetSink | None, list[Sink]]:
        config, spec = self._config, made.environment.spec
        with _misfits("video"):
            video = config.video.make(spec, work)
        if config.dataset is None:
            return None, [] if video is None else [video]
        options = replace(config.dataset, repo_id=None, root=work / DATASET, push_to_hub=False)
        with _misfits("dataset"):
            dataset = options.make(
                spec,
                limits.max_hz or spec.control_hz,
                robot_type=config.env_type,
                task=config.prompt or spec.prompt,
                paced=limits.max_hz > 0,
            )
        return dataset, [dataset] if video is None else [dataset, video]


class _Made:
    """An environment with a controller for it.

    Attributes:
        env: what of the environment's options it was made for.
    """

    def __init__(self, config: WorkerConfig, env: Mapping[str, Any]) -> None:
        self.env = env
        with blaming(EnvironmentFault, "the environment cannot be made"), _misfits("env"):
            environment: Environment = environment_config(config, env).make()
        self.environment, self._close_environment = environment, environment.close
        try:
            if config.dataset is not None and config.dataset.trace and isinstance(environment, Snapshots):
                from taketwo.envs.traced import Traced

                self.environment = Traced(environment)
            self.controller = _make_controller(config, environment.spec)
        except BaseException:
            _closing("the environment", environment.close)
            raise

    def close(self) -> None:
        _closing("the policy", self.controller.close)
        _closing("the environment", self._close_environment)


def _begin(work: Path) -> None:
    """Make the folder of a trial, and a file in it that tells that it is still the same when the trial is over."""
    make_folder(work)
    try:
        (work / BEGUN).touch()
    except OSError as error:
        raise cannot_write(work, error) from error


def _end(work: Path) -> None:
    try:
        (work / BEGUN).unlink()
    except OSError as error:  # another command has cleared what was under way
        raise cannot_write(work, error) from error


def environment_config(config: WorkerConfig, env: Mapping[str, Any]) -> MakesOne:
    """The environment's options with those that a trial changes.

    Args:
        env: the trial's, as plain values. What is as in `described_as` is taken from the options themselves, since
            plain values lack secrets.
    """
    base = config.described_as["env"]
    changed = {name: value for name, value in env.items() if name != "type" and base.get(name) != value}
    changed_config: MakesOne = replace(config.env, **changed) if changed else config.env  # type: ignore[type-var]
    return changed_config


def described(config: WorkerConfig, trial: Trial) -> dict[str, Any]:
    """The configuration of `taketwo run` that has this trial as its only episode, as plain values."""
    session = {
        **config.described_as.get("session", {}),
        "seed": trial.seed,
        "seed_offset": trial.number,
        "num_episodes": 1,
    }
    return {**config.described_as, "env": dict(trial.env), "session": session}


def result_of_session(
    trial: Trial, result: SessionResult, control_hz: float, timings_s: Mapping[str, float], rows: int
) -> TrialResult:
    """What came of a trial, out of the session that ran it."""
    if not result.episodes:
        return fault_of(trial, one_line(result.fault or result.reason), result.loop.wall_s)
    (episode,) = result.episodes
    return TrialResult(
        trial=trial.index,
        outcome=Outcome.FAULT if result.fault is not None else episode.outcome,
        reason=one_line(result.fault if result.fault is not None else episode.reason),
        episode_seed=episode.seed,
        steps=episode.steps,
        sim_s=episode.steps / control_hz,
        wall_s=result.loop.wall_s,
        reward_sum=episode.reward_sum,
        reward_max=episode.reward_max,
        init_state=episode.init_state,
        prompt=_last_prompt(episode),
        metrics=dict(episode.metrics),
        timings_s=timings_s,
        recorded=rows,
    )


def fault_of(trial: Trial, reason: str, wall_s: float = 0.0) -> TrialResult:
    """What came of a trial that took no step, or whose worker was lost."""
    seed = episode_seed(trial.seed, trial.number)
    return TrialResult(trial.index, Outcome.FAULT, reason, seed, steps=0, sim_s=0.0, wall_s=wall_s)


def _make_controller(config: WorkerConfig, spec: EnvironmentSpec) -> Controller:
    with blaming(PolicyError, "the policy cannot be made"), _misfits("policy"):
        policy = config.policy.make(spec)
    try:
        with blaming(PolicyError, "the controller cannot be made"), _misfits("control"):
            return config.control.make(TellsPrompt(policy), spec)
    except BaseException:
        _closing("the policy", policy.close)
        raise


def _last_prompt(episode: Episode) -> str | None:
    return episode.prompts[-1] if episode.prompts else None


@contextmanager
def _misfits(section: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise MisfitError(section, str(error)) from error


def _closing(what: str, close: Callable[[], None]) -> None:
    try:
        close()
    except Exception as error:  # noqa: BLE001 - simulators are known for it, and the trial is over
        log.warning("%s failed to close: %s: %s", what, type(error).__name__, error)
