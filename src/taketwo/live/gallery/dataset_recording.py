"""A dataset that no session's file tells of, such as one that LeRobot recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taketwo.datasets.layout import INFO
from taketwo.datasets.reader import Dataset, RecordedEpisode
from taketwo.errors import DatasetError
from taketwo.live.gallery.folder import NotInGalleryError, shown
from taketwo.live.gallery.links import Links
from taketwo.live.gallery.recording import Listed, Overview, detail
from taketwo.live.gallery.shelf import Card, RecordedSession, Shelf
from taketwo.live.gallery.told import environment_of, policy_of, setting
from taketwo.live.gallery.tracks import Tracks
from taketwo.types import Outcome


@dataclass(frozen=True)
class DatasetRecording:
    """A whole dataset as one entry."""

    id: str
    card: Card
    shelf: Shelf
    links: Links

    def overview(self) -> dict[str, Any]:
        """Its line in the list."""
        try:
            with self.shelf.open(self.card) as dataset:
                return self._overview(dataset).plain()
        except DatasetError as error:
            return Overview(self.id, self._name, complete=False, note=str(error)).plain()

    def detail(self) -> dict[str, Any]:
        """Its episodes, and the videos of its cameras."""
        tracks = Tracks(self.links.media)
        session = self._session
        with self.shelf.open(self.card) as dataset:
            episodes = [self._plain(listed, dataset, tracks) for listed in self._listed(dataset)]
            config = session.config if session else {}
            signals = self.card.signals(session)
            overview = self._overview(dataset).plain()
            return overview | detail(dataset.fps, dataset.fps, config, signals, tracks.videos, episodes)

    def rows(self, episode: int) -> tuple[Card, int]:
        """This dataset."""
        with self.shelf.open(self.card) as dataset:
            if not 0 <= episode < len(dataset.episodes):
                raise NotInGalleryError(f"{self._name} has {len(dataset.episodes)} episodes, and no episode {episode}")
        return self.card, episode

    @property
    def _name(self) -> str:
        return shown(Path(self.card.root.name))

    @property
    def _session(self) -> RecordedSession | None:
        """The first that it was recorded in."""
        return self.card.sessions[0] if self.card.sessions else None

    def _overview(self, dataset: Dataset) -> Overview:
        session = self._session
        config = session.config if session else {}
        seeds = {setting(recorded.config, "session", "seed") for recorded in self.card.sessions}
        (seed,) = seeds if len(seeds) == 1 else (None,)
        return Overview(
            id=self.id,
            name=self._name,
            environment=environment_of(config) or dataset.info.robot_type,
            policy=policy_of(config),
            seed=seed if isinstance(seed, int) else None,
            started=self._started(dataset),
            outcomes=[judged(episode) for episode in dataset.episodes],
            num_envs=1 + max((env_of(episode) for episode in dataset.episodes), default=0),
            duration_s=sum(episode.length for episode in dataset.episodes) / dataset.fps,
            has_video=bool(dataset.info.videos),
            has_signals=bool(dataset.episodes),
        )

    def _started(self, dataset: Dataset) -> float:
        """When its first episode began; where nobody noted that, when it was changed last."""
        if self._session is not None:
            return self._session.started
        note = dataset.episodes[0].note if dataset.episodes else None
        if note is not None:
            return datetime.fromisoformat(note.started_at).timestamp()
        return (self.card.root / INFO).stat().st_mtime

    def _listed(self, dataset: Dataset) -> Sequence[Listed]:
        """The episodes, environment by environment where there are several."""
        several = any(env_of(episode) for episode in dataset.episodes)
        counts: Counter[int] = Counter()
        listed = []
        for episode in dataset.episodes:
            env = env_of(episode)
            listed.append(listed_of_dataset(episode, episode.index, env if several else None, counts[env]))
            counts[env] += 1
        return sorted(listed, key=lambda listed: listed.env or 0)

    def _plain(self, listed: Listed, dataset: Dataset, tracks: Tracks) -> dict[str, Any]:
        spans = list(tracks.of_dataset(self.shelf, self.card, dataset.episodes[listed.index].entry, listed.index))
        rrd = self.links.rerun(self.id, listed.index, self.card, listed.index, (self.card.root.parent,))
        return listed.plain(spans, rrd)


def judged(episode: RecordedEpisode) -> str:
    """How an episode ended; of one that LeRobot recorded, only what its rows tell."""
    if episode.outcome is not None:
        return episode.outcome
    if episode.success is None:
        return Outcome.UNJUDGED.value
    return Outcome.SUCCESS.value if episode.success else Outcome.FAILURE.value


def env_of(episode: RecordedEpisode) -> int:
    """The number of its environment."""
    return episode.note.env if episode.note else 0


def listed_of_dataset(episode: RecordedEpisode, index: int, env: int | None, number: int) -> Listed:
    """An episode as only the dataset tells it.

    Args:
        index: that it gets in the list.
        env: number of its environment, where several step together.
        number: its number among those of its environment.
    """
    return Listed(
        index=index,
        env=env,
        episode=number,
        seed=episode.note.seed if episode.note else None,
        outcome=judged(episode),
        reason=episode.note.reason if episode.note else "",
        steps=episode.length,
        first_frame=episode.entry.first_row,
        frames=episode.length,
        prompts=episode.tasks,
        reward_max=None,
        number=episode.index,
    )
