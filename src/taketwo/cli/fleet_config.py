"""The configuration of `taketwo eval`, `taketwo collect` and `taketwo plan`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from taketwo.cli.convert import load_yaml
from taketwo.cli.making import of_one
from taketwo.cli.resolve import Source, holds, to_plain
from taketwo.cli.schema import Choice, Component
from taketwo.control.config import ControlConfig
from taketwo.datasets.sink import DatasetConfig
from taketwo.envs.base import ENVIRONMENTS, EnvironmentConfig
from taketwo.errors import ConfigError
from taketwo.fleet.plan import Plan, trials_of
from taketwo.fleet.ray_cluster import RayConfig, address_of
from taketwo.fleet.suites import tasks_of
from taketwo.fleet.worker import WorkerConfig
from taketwo.policies.base import POLICIES, PolicyConfig
from taketwo.recording.naming import safe_name
from taketwo.recording.video import VideoConfig
from taketwo.session.config import SessionConfig

HOW_IT_RUNS = {
    "workers",
    "cluster",
    "ray",
    "inference",
    "max_attempts",
    "retry_faults",
    "trial_timeout_s",
    "silence_timeout_s",
    "until",
    "output_dir",
    "dataset_dir",
    "run_id_note",
    "log_level",
    "quiet",
}
"""Options that decide nothing of what comes of a trial."""

WHERE_IT_GOES = {"repo_id", "root", "push_to_hub", "private", "tags"}
"""The same of a dataset."""

OF_AN_EPISODE = ("env", "policy", "session", "control", "video", "dataset", "prompt")
"""What recordings keep of the configuration: what `taketwo run` takes, too."""


@dataclass(frozen=True)
class EpisodeConfig:
    """How long an episode is, how fast, and what counts as success.

    Attributes:
        max_episode_steps: actions per episode; the environment's own limit where not given.
        max_hz: actions per second in real time; 0 runs as fast as it goes.
        success: `ever` if the task stood solved at any step, `last` if it did at the last step.
        metrics: figures to keep of each episode, by their names in what the environment tells of a step (`info`) at its
            end; those that it calls metrics are kept anyway.
        step_timeout_s: give a worker up when its environment takes longer than this for a reset, a step or a picture.
    """

    max_episode_steps: int | None = None
    max_hz: float = 0.0
    success: Literal["ever", "last"] = "ever"
    metrics: tuple[str, ...] = ()
    step_timeout_s: float | None = None

    def __post_init__(self) -> None:
        self.as_session()

    def as_session(self) -> SessionConfig:
        """A session of one episode.

        Raises:
            ConfigError: an option does not fit.
        """
        return SessionConfig(
            num_episodes=1,
            max_episode_steps=self.max_episode_steps,
            max_hz=self.max_hz,
            success=self.success,
            metrics=self.metrics,
            step_timeout_s=self.step_timeout_s,
        )


@dataclass(frozen=True)
class FleetConfig:
    """Everything that a run over many episodes needs to know.

    Attributes:
        env: the environment.
        policy: the policy.
        session: an episode.
        control: what stands between policy and environment.
        video: the recording of a camera; session and episode are the same here, a file for each episode.
        dataset: the recording of everything, for training.
        task_suite_name: all tasks of a LIBERO suite, such as libero_object.
        tasks: some tasks of the suite, by number or name, in place of all.
        num_trials_per_task: episodes of each task from each seed; where there are initial states, each begins from the
            next one.
        seed: seeds such as 42,43; each gives every episode its own, as session.seed does for taketwo run.
        prompt: instruction put into each observation; the environment's own where not given.
        workers: how many episodes are run at a time, each in a process of its own; auto for as many as there are cores,
            or room on the cluster, when the command starts.
        cluster: run them on Ray: ray on this machine's cluster, or one that is started for it; ray://HOST:PORT on
            another; on this machine without Ray where not given.
        ray: workers on Ray, where cluster is given.
        inference: process loads the policy in each worker; server loads it once, beside workers on this machine, and
            answers them in batches.
        threads_per_worker: threads that a worker may use for arithmetic; results can depend on it in their last bits.
        max_attempts: how often an episode is begun, where workers die or the environment fails, before it counts as a
            fault.
        retry_faults: run again what ended as a fault in an earlier command.
        trial_timeout_s: give a worker up whose episode takes longer than this; without limit where not given.
        silence_timeout_s: give a worker up that takes no step for so long; loading a policy counts as silence too.
        until: end as soon as enough is known: half_width:0.05 when the success rate is known within 5 points to each
            side, differs:DIR when it is shown to differ from that of another run. A run keeps its rule.
        log_dataset: record a dataset; taketwo collect always does.
        dataset_dir: folder for the dataset, which gets the run's name there; dataset.root names it in full, and
            dataset.repo_id on the Hub.
        run_id_note: added to the run's name.
        output_dir: folder of the run; outputs/ and the run's name where not given. The same command goes on with it.
        log_level: which messages are shown; debug adds tracebacks.
        quiet: no progress and no table, only warnings and errors.
    """

    env: Component[EnvironmentConfig] = field(metadata={"choice": Choice(ENVIRONMENTS, "aloha")})
    policy: Component[PolicyConfig] = field(metadata={"choice": Choice(POLICIES, "scripted")})
    session: EpisodeConfig = field(default_factory=EpisodeConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    video: VideoConfig = field(default_factory=lambda: VideoConfig(mode="off"))
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    task_suite_name: str | None = None
    tasks: tuple[str, ...] = ()
    num_trials_per_task: int = 10
    seed: tuple[int, ...] = (0,)
    prompt: str | None = None
    workers: int | Literal["auto"] = 1
    cluster: str | None = None
    inference: Literal["process", "server"] = "process"
    threads_per_worker: int = 1
    max_attempts: int = 3
    retry_faults: bool = False
    trial_timeout_s: float | None = None
    silence_timeout_s: float = 600.0
    until: str | None = None
    log_dataset: bool = False
    dataset_dir: Path | None = None
    run_id_note: str | None = None
    output_dir: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.workers != "auto" and self.workers < 1:
            raise ConfigError(f"workers must be 1 or more, or auto, not {self.workers}")
        if self.cluster is not None:
            address_of(self.cluster)
        for name in ("threads_per_worker", "max_attempts", "num_trials_per_task"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name in ("trial_timeout_s", "silence_timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be more than 0, not {value:g}")
        if self.dataset_dir is not None and self.dataset.root is not None:
            raise ConfigError("dataset_dir cannot be combined with --dataset.root: give one of them")

    @property
    def records(self) -> bool:
        """Whether a dataset is asked for."""
        return self.log_dataset or self.dataset.wanted or self.dataset_dir is not None

    @property
    def far(self) -> bool:
        """Whether workers run on other machines."""
        return self.cluster is not None and address_of(self.cluster).place is not None

    def num_workers(self, trials: int, room: int | None = None) -> int:
        """How many workers there are to be for so many trials.

        Args:
            room: for how many there is room; this machine's cores where not given.
        """
        if room is None:
            room = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(room if self.workers == "auto" else self.workers, trials))

    def name(self, command: str) -> str:
        """What the run is called."""
        env = to_plain(self.env.options)
        what = self.task_suite_name or env.get("task") or env.get("id") or self.env.type
        if self.env.type == "libero" and self.task_suite_name is None:
            what = f"{env['suite']}_{env['task']}"
        note = f"--{self.run_id_note}" if self.run_id_note else ""
        return safe_name(f"{command}_{what}_{self.policy.type}{note}")

    def folder(self, command: str) -> Path:
        """Where the run is."""
        return self.output_dir if self.output_dir is not None else Path("outputs") / self.name(command)

    def dataset_folder(self, command: str) -> Path:
        """Where the dataset goes."""
        if self.dataset_dir is not None:  # with dataset.repo_id, which is its name on the Hub then
            return self.dataset_dir.expanduser().absolute() / self.name(command)
        if self.dataset.wanted:
            return self.dataset.folder()
        return self.folder(command).absolute() / "dataset"


def source_of(flags: Mapping[str, str | None]) -> Source:
    """What the user gave by flags and by the file that `--config_path` names."""
    given = dict(flags)
    path, content = None, dict[str, Any]()
    if "config_path" in given:
        text = given.pop("config_path")
        if not text:
            raise ConfigError("--config_path needs a value: the path of a YAML file")
        path = Path(text)
        content = load_yaml(path)
        if {"fingerprint", "recipe"} <= content.keys():  # a plan.json, to run that plan again
            content = content["recipe"]
    if "center_crop" in given:
        given["policy.center_crop"] = given.pop("center_crop")
    suite = "task_suite_name" in given or holds(content, "task_suite_name")
    if suite and "env.type" not in given and not holds(content, "env.type"):
        given["env.type"] = "libero"
    return Source(given, content, path)


def plan_of(config: FleetConfig, *, records: bool) -> Plan:
    """What is to be run.

    Args:
        records: whether a dataset is made.

    Raises:
        ConfigError: it would be nothing, or the same twice, or a task that there is not.
        MissingExtraError: the environment's list of tasks is not installed.
    """
    try:
        of_one(config.env)
    except ConfigError as error:
        raise ConfigError(f"--env.{error}") from error
    env = {"type": config.env.type, **to_plain(config.env.options)}
    tasks = tasks_of(env, config.task_suite_name, config.tasks)
    recipe = {name: value for name, value in to_plain(config).items() if name not in HOW_IT_RUNS}
    recipe["log_dataset"] = records
    del recipe["dataset"]
    if records:
        dataset = to_plain(config.dataset)
        recipe["dataset"] = {name: value for name, value in dataset.items() if name not in WHERE_IT_GOES}
    return Plan(trials_of(tasks, config.seed, config.num_trials_per_task), recipe)


def worker_config(config: FleetConfig, folder: Path, *, records: bool) -> WorkerConfig:
    """What its workers have to know.

    Args:
        folder: of the run.
        records: whether a dataset is made.
    """
    plain = to_plain(config)
    filmed = config.video if config.video.mode == "off" else replace(config.video, mode="session")
    return WorkerConfig(
        folder=folder,
        env_type=config.env.type,
        env=of_one(config.env),
        policy=config.policy.options,
        session=config.session.as_session(),
        control=config.control,
        video=filmed,
        dataset=config.dataset if records else None,
        prompt=config.prompt,
        described_as={name: plain[name] for name in OF_AN_EPISODE},
    )
