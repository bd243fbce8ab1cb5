"""One entry of a gallery: a session, a dataset without one, or a file that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from taketwo.live.gallery.films import FilmedPart
from taketwo.live.gallery.folder import NotInGalleryError, shown
from taketwo.live.gallery.shelf import Card
from taketwo.types import Outcome


class Recording(Protocol):
    """An entry of a gallery, at one moment."""

    @property
    def id(self) -> str:
        """Its path below the gallery's folder."""
        ...

    def overview(self) -> dict[str, Any]:
        """Its line in the list. Never fails: where something cannot be read, `note` says so."""
        ...

    def detail(self) -> dict[str, Any]:
        """The same, with its episodes.

        Raises:
            DatasetError: it cannot be read.
        """
        ...

    def rows(self, episode: int) -> tuple[Card, int]:
        """The dataset that has an episode's rows, and its index there.

        Raises:
            NotInGalleryError: there is no such episode, or no dataset has it.
            DatasetError: it cannot be read.
        """
        ...


@dataclass(frozen=True)
class Overview:
    """A line of the list.

    Attributes:
        started: Unix time, seconds.
        num_envs: how many environments step together.
        note: what is wrong with it.
    """

    id: str
    name: str
    environment: str | None = None
    policy: str | None = None
    seed: int | None = None
    started: float | None = None
    complete: bool = True
    reason: str | None = None
    outcomes: Sequence[str] = ()
    num_envs: int = 1
    duration_s: float | None = None
    has_video: bool = False
    has_signals: bool = False
    note: str | None = None

    def plain(self) -> dict[str, Any]:
        """As the list has it."""
        counts = Counter(self.outcomes)
        attempts = sum(counts[outcome] for outcome in Outcome if outcome.is_attempt)
        return {
            "id": self.id,
            "name": self.name,
            "environment": self.environment,
            "policy": self.policy,
            "seed": self.seed,
            "started": self.started,
            "complete": self.complete,
            "reason": self.reason,
            "episodes": len(self.outcomes) - counts[Outcome.DISCARDED],
            "num_envs": self.num_envs,
            "counts": dict(counts),
            "success_rate": counts[Outcome.SUCCESS] / attempts if attempts else None,
            "duration_s": self.duration_s,
            "has_video": self.has_video,
            "has_signals": self.has_signals,
            "note": self.note,
        }


@dataclass(frozen=True)
class BrokenRecording:
    """A file that cannot be read, and why."""

    id: str
    path: Path
    note: str

    def overview(self) -> dict[str, Any]:
        """Its line in the list."""
        return Overview(self.id, shown(Path(self.path.name)), complete=False, note=self.note).plain()

    def detail(self) -> dict[str, Any]:
        """Nothing can be told."""
        return self.overview() | detail()

    def rows(self, episode: int) -> tuple[Card, int]:
        """There are none."""
        raise NotInGalleryError(self.note)


@dataclass(frozen=True)
class Listed:
    """An episode of an entry.

    Attributes:
        index: what addresses call it.
        env: number of its environment, where several step together; None where there is but one.
        episode: its number among those of its environment; a discarded take has that of the one that was kept in its
            place.
        steps: actions applied.
        first_frame: where it begins in the session's film, or in the dataset's rows; None where it is in neither.
        frames: how many it has there.
        number: its index in the dataset; None where that does not have it.
        part: where it is in the session's film, if that shows it.
    """

    index: int
    env: int | None
    episode: int
    seed: int | None
    outcome: str
    reason: str
    steps: int
    first_frame: int | None
    frames: int | None
    prompts: Sequence[str]
    reward_max: float | None
    number: int | None
    part: FilmedPart | None = None

    def plain(self, spans: Sequence[Mapping[str, Any]], rrd: str | None) -> dict[str, Any]:
        """As the list of episodes has it.

        Args:
            spans: where its videos are.
            rrd: address of its Rerun recording.
        """
        return {
            "index": self.index,
            "env": self.env,
            "episode": self.episode,
            "seed": self.seed,
            "outcome": self.outcome,
            "reason": self.reason,
            "steps": self.steps,
            "frames": self.frames,
            "first_frame": self.first_frame,
            "prompts": list(self.prompts),
            "reward_max": self.reward_max,
            "spans": list(spans),
            "has_signals": self.number is not None,
            "rrd": rrd,
        }


def detail(
    control_hz: float | None = None,
    fps: float | None = None,
    config: Mapping[str, Any] | None = None,
    signals: Mapping[str, Any] | None = None,
    videos: Sequence[Mapping[str, Any]] = (),
    episodes: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What an entry has besides its line in the list.

    Args:
        control_hz: actions a second.
        fps: pictures a second of its videos.
        signals: what the numbers of its rows are called.
    """
    return {
        "control_hz": control_hz,
        "fps": fps,
        "config": dict(config or {}),
        "signals": signals,
        "videos": list(videos),
        "list": list(episodes),
    }
