"""What `session.json` tells, also of a session that runs or was killed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

LARGEST_BYTES = 64 << 20
"""A session of 100,000 episodes has 40 MB."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class ToldEpisode(msgspec.Struct, frozen=True):
    """An episode, as `taketwo.recording.session_file.described` writes it.

    Attributes:
        index: among the episodes of its environment.
        env: number of its environment, where several step together.
    """

    index: Count
    steps: Count
    outcome: str
    first_frame: Count | None
    seed: int | None = None
    reason: str = ""
    reward_max: float | None = None
    prompts: list[str] = []
    env: Count = 0


class ToldVideo(msgspec.Struct, frozen=True):
    """What was filmed, as `taketwo.recording.video.VideoSink.report` has it."""

    frames: Count
    fps: Annotated[float, msgspec.Meta(ge=0)]
    duration_s: float
    files: list[str]


class ToldSession(msgspec.Struct, frozen=True):
    """The file. `complete` is False while the session runs, and for good where it was killed."""

    complete: bool
    started_at: datetime
    config: dict[str, Any]
    episodes: list[ToldEpisode]
    reason: str | None = None
    environment: str | None = None
    video: ToldVideo | None = None

    def setting(self, section: str, name: str) -> Any:
        """One value of the configuration; None where there is none."""
        return setting(self.config, section, name)

    @property
    def subsample(self) -> int:
        """Every which frame was filmed."""
        kept = self.setting("video", "subsample")
        return kept if isinstance(kept, int) and kept > 0 else 1

    @property
    def num_envs(self) -> int:
        """How many environments step together."""
        told = self.setting("vector", "num_envs")
        seen = 1 + max((episode.env for episode in self.episodes), default=0)
        return max(int(told), seen) if isinstance(told, int) else seen

    @property
    def shown(self) -> list[ToldEpisode]:
        """The episodes of the environment that is filmed, in order."""
        told = self.setting("vector", "shown_env")
        env = told if isinstance(told, int) else 0
        return [episode for episode in self.episodes if episode.env == env]

    @property
    def seed(self) -> int | None:
        """The session's seed."""
        seed = self.setting("session", "seed")
        return seed if isinstance(seed, int) else None


@dataclass(frozen=True)
class SessionText:
    """A file that may be one of a session.

    Attributes:
        told: what it tells; None where it cannot be read, or is something else.
        digest: the same for sessions of the same configuration.
        note: why it cannot be read; None where it is no session's at all.
    """

    told: ToldSession | None = None
    digest: str = ""
    note: str | None = None


def read_session(path: Path) -> SessionText:
    """Read a file. Never fails: a broken one has a note, and a foreign one nothing."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return SessionText(note=f"{path.name} is larger than {LARGEST_BYTES >> 20} MB")
        content = path.read_bytes()
        try:
            told = msgspec.json.decode(content, type=ToldSession)
            told.started_at.timestamp()
        except msgspec.ValidationError as error:
            return SessionText(note=f"{path.name}: {error}") if _is_a_sessions(content) else SessionText()
    except OSError as error:
        return SessionText(note=f"{path.name} cannot be read: {error.strerror}")
    except (ValueError, OverflowError, RecursionError) as error:
        return SessionText(note=f"{path.name} is damaged: {error}")
    return SessionText(told, digest_of(told.config))


def digest_of(config: Any) -> str:
    """A text that is the same for equal plain values."""
    return hashlib.sha256(msgspec.json.encode(config, order="sorted")).hexdigest()


def setting(config: Any, section: str, name: str) -> Any:
    """One value of a configuration; None where there is none."""
    inside = config.get(section) if isinstance(config, dict) else None
    return inside.get(name) if isinstance(inside, dict) else None


def environment_of(config: Any) -> str | None:
    """What the environment is called: its task, its registered name, or its type."""
    names = (setting(config, "env", name) for name in ("task", "id", "type"))
    return next((name for name in names if isinstance(name, str) and name), None)


def policy_of(config: Any) -> str | None:
    """The policy's type."""
    name = setting(config, "policy", "type")
    return name if isinstance(name, str) else None


def _is_a_sessions(content: bytes) -> bool:
    plain = msgspec.json.decode(content)
    return isinstance(plain, dict) and {"config", "episodes"} <= plain.keys()
