"""A policy that plays what was recorded: the actions of a dataset's episodes."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from taketwo.errors import ConfigError, PolicyError
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation

if TYPE_CHECKING:
    from taketwo.datasets.reader import Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplayConfig:
    """Play the actions of a recorded dataset again, whatever is seen.

    Attributes:
        repo_id: name of the dataset, such as me/cube, in LeRobot's home.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
        episode: number of the recorded episode, from 0, that every episode of the session plays; where not given,
            the first plays number 0, the second number 1, and so on.
        chunk_size: actions per answer.
    """

    repo_id: str | None = None
    root: Path | None = None
    episode: int | None = None
    chunk_size: int = 50

    def __post_init__(self) -> None:
        if self.chunk_size < 1:
            raise ConfigError(f"chunk_size must be 1 or more, not {self.chunk_size}")
        if self.episode is not None and self.episode < 0:
            raise ConfigError(f"episode must be 0 or more, not {self.episode}")

    def make(self, spec: EnvironmentSpec) -> ReplayPolicy:
        """Open the dataset and read the first episode that will be played.

        Raises:
            ConfigError: no dataset is named; it has no such episode; or its rate or its actions are not the
                environment's.
            DatasetError: there is no dataset, or it is damaged, or its last writer was interrupted.
        """
        from taketwo.datasets.places import dataset_root
        from taketwo.datasets.reader import Dataset

        if self.repo_id is None and self.root is None:
            raise ConfigError("repo_id or root must name the dataset whose actions are to be played, such as me/cube")
        dataset = Dataset.open(dataset_root(self.repo_id, self.root, "--policy.root"))
        _check_episodes(dataset, self.episode)
        _check_actions(dataset, spec)
        return ReplayPolicy(dataset, self, spec)


class ReplayPolicy:
    """Gives the recorded actions, in time with the observations.

    An observation's step is its `time_s` times the control rate, so that each action comes at the step at which it was
    recorded, however the chunks are executed. After the last action the arms hold it; where actions are no poses they
    are zero then, since a velocity that was held would go on for ever. Pictures, state and prompt are not looked at.
    """

    cameras: tuple[str, ...] = ()

    def __init__(self, dataset: Dataset, config: ReplayConfig, spec: EnvironmentSpec) -> None:
        """Reads the first episode; `dataset` has the environment's actions, and at least this one episode."""
        self._dataset = dataset
        self._config = config
        self._spec = spec
        self._actions = self._load(config.episode or 0)

    def reset(self, episode: EpisodeInfo) -> None:
        """Begin the recorded episode of this number, or the chosen one again.

        Raises:
            PolicyError: the dataset has no more episodes.
            DatasetError: a file is damaged.
        """
        chosen, recorded = self._config.episode, self._dataset.episodes
        if chosen is None and episode.index >= len(recorded):
            raise PolicyError(
                f"there is nothing to play in the session's episode {episode.index + 1}: {self._dataset.root} has "
                f"{len(recorded)}; give --session.num_episodes={len(recorded)}, or one for all by --policy.episode"
            )
        number = episode.index if chosen is None else chosen
        note = recorded[number].note
        if note is not None and note.seed != episode.seed:
            log.info("recorded episode %d began with seed %s, and this one with %d", number, note.seed, episode.seed)
        self._actions = self._load(number)

    def infer(self, observation: Observation) -> ActionChunk:
        """The actions from the observation's step on, (chunk_size, D)."""
        step = round(observation.time_s * self._spec.control_hz)
        steps = np.arange(step, step + self._config.chunk_size)
        return ActionChunk(self._actions[np.minimum(steps, len(self._actions) - 1)])

    def close(self) -> None:
        """Nothing is open."""

    def _load(self, number: int) -> FloatArray:
        """An episode's actions as they were sent, and one more for the time after them: (T + 1, D)."""
        from taketwo.replay.episode import ReplayedEpisode

        with self._dataset as dataset:  # closed again: the next `reset` may come on another thread
            actions = ReplayedEpisode.load(dataset, number).actions
        if self._spec.state_names == self._spec.action_names:
            rest = actions[-1]
        else:
            rest = np.clip(np.zeros(self._spec.action_dim), self._spec.action_low, self._spec.action_high)
        return np.concatenate([actions, rest[np.newaxis]])


def _check_episodes(dataset: Dataset, chosen: int | None) -> None:
    has = len(dataset.episodes)
    if not has:
        raise ConfigError(f"{dataset.root} has no episodes: there is nothing to play")
    if chosen is not None and chosen >= has:
        raise ConfigError(f"episode must be from 0 to {has - 1}, which {dataset.root} has, not {chosen}")


def _check_actions(dataset: Dataset, spec: EnvironmentSpec) -> None:
    """Refuse what would move another robot, or move it at another speed.

    Raises:
        ConfigError: the rate, or the number or the names of the actions' dimensions, are not the environment's.
    """
    from taketwo.datasets.features import ACTION

    if ACTION not in dataset.numeric_columns:
        raise ConfigError(f"{dataset.root} has no column {ACTION!r}: there is nothing to play")
    advice = "choose the environment that it was recorded in"
    if not math.isclose(dataset.fps, spec.control_hz, rel_tol=1e-6):
        raise ConfigError(
            f"{dataset.root} has {dataset.fps:g} actions a second, and {spec.name} takes {spec.control_hz:g}: {advice}"
        )
    names = dataset.info.features[ACTION].dimension_names
    if len(names) != spec.action_dim:
        raise ConfigError(
            f"{dataset.root} has actions of {len(names)} numbers, and {spec.name} takes {spec.action_dim}: {advice}"
        )
    if names == tuple(map(str, range(len(names)))):
        return  # LeRobot datasets need not name them
    for place, (name, expected) in enumerate(zip(names, spec.action_names, strict=True)):
        if name != expected:
            raise ConfigError(
                f"action {place} is {name!r} in {dataset.root}, and {expected!r} in {spec.name}: {advice}"
            )
