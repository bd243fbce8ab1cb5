"""`session.json`: the results of a session, episode by episode."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taketwo import __version__
from taketwo.recording.naming import cannot_write, make_folder, replace_durably, reserve
from taketwo.recording.plain import to_json
from taketwo.recording.video import video_frame
from taketwo.session.events import EpisodeEnd, Event, SessionEnd, SessionStart
from taketwo.session.result import SessionResult
from taketwo.session.tally import success_rate
from taketwo.types import Episode

AT_ONCE = 64
"""Up to so many episodes each is written when it ends."""

EVERY_S = 1.0
"""Beyond, the file is written no more often than this: it is as long as there are episodes."""


class SessionFile:
    """Writes `session.json`, or `session_2.json` and so on where there is one.

    It is written anew after each episode, or in time where there are many, so that a session that is killed leaves
    what was done, with `complete` false.
    """

    name = "session file"
    lossless = True
    required = True

    def __init__(
        self, folder: Path, subsample: int = 1, filmed_env: int = 0, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is written until the session starts.

        Args:
            subsample: the video's, for the episodes' places in it.
            filmed_env: number of the environment that it shows, of several.
            now: gives seconds.
        """
        self.path: Path | None = None
        self._folder = folder
        self._subsample = subsample
        self._filmed_env = filmed_env
        self._episodes: list[Episode] = []
        self._now = now
        self._began = 0.0
        self._written_at = 0.0
        self._untold = False  # whether there is an episode that the file lacks
        self._content: dict[str, Any] = {}

    def cameras(self, frame: int) -> Collection[str]:
        """None."""
        return ()

    def on(self, event: Event) -> None:
        """Take one event.

        Raises:
            RecordingError: the file cannot be written.
        """
        match event:
            case SessionStart():
                self._start(event)
            case EpisodeEnd(episode):
                self._episodes.append(episode)
                self._untold = True
            case SessionEnd(reason):
                self._content["reason"] = reason
        if isinstance(event, SessionStart | SessionEnd) or (self._untold and self._may_write()):
            self._content |= summary(self._episodes, self._subsample, self._filmed_env, self._now() - self._began)
            self._write()
            self._untold, self._written_at = False, self._now()

    def _may_write(self) -> bool:
        return len(self._episodes) <= AT_ONCE or self._now() - self._written_at >= EVERY_S

    def complete(
        self,
        result: SessionResult,
        video: Mapping[str, Any] | None,
        dataset: Mapping[str, Any] | None = None,
        outages_s: Sequence[float] | None = None,
    ) -> None:
        """Write the final content, after the session.

        Args:
            video: what `VideoSink.report` says, or None where nothing was filmed.
            dataset: what the dataset's sink reports, or None where there is none.
            outages_s: how long the policy's server was away each time; None for a policy without one.

        Raises:
            RecordingError: the file cannot be written.
        """
        loop = result.loop
        self._content |= summary(result.episodes, self._subsample, self._filmed_env, loop.wall_s)
        self._content |= {
            "complete": True,
            "reason": result.reason,
            "loop": {
                "overruns": loop.overruns,
                "jitter_ms_p50": loop.jitter_ms_p50,
                "jitter_ms_p99": loop.jitter_ms_p99,
                "stalls": loop.stalls,
                "lost_s": loop.lost_s,
                "paused_s": loop.paused_s,
                "drawn": {camera: asdict(drawn) for camera, drawn in loop.drawn.items()},
                "waited_s": result.waited_s,
                "dropped": result.dropped,
            },
            "video": video,
            "dataset": dataset,
            "policy": None if outages_s is None else {"outages_s": list(outages_s)},
        }
        self._write()

    def _start(self, event: SessionStart) -> None:
        make_folder(self._folder)
        self.path = reserve(self._folder, "session", ".json")
        self._began = self._now()
        self._content = {
            "complete": False,
            "reason": None,
            "success_rate": None,
            "counts": {},
            "steps_per_second": 0.0,
            "episodes": [],
            "video": None,
            "dataset": None,
            "policy": None,
            "loop": None,
            "started_at": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            "taketwo": __version__,
            "environment": event.spec.name,
            "config": event.config,
        }

    def _write(self) -> None:
        if self.path is None:  # the session ended before it began, and that error has been reported
            return
        temporary = self.path.with_name(f".{self.path.name}.new")
        try:
            temporary.write_text(to_json(self._content, indent=2) + "\n", encoding="utf-8")
            replace_durably(temporary, self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise cannot_write(self.path, error) from error


def summary(episodes: Sequence[Episode], subsample: int, filmed_env: int, wall_s: float) -> dict[str, Any]:
    """The parts of `session.json` that follow from the episodes."""
    steps = sum(episode.steps for episode in episodes)
    return {
        "episodes": [described(episode, subsample, filmed_env) for episode in episodes],
        "success_rate": success_rate(episodes),
        "counts": dict(Counter(str(episode.outcome) for episode in episodes)),
        "steps_per_second": steps / wall_s if wall_s > 0 else 0.0,
    }


def described(episode: Episode, subsample: int, filmed_env: int) -> dict[str, Any]:
    """One episode; `first_frame` is the index of its first kept frame in the video, None where that shows another."""
    return {
        "index": episode.index,
        "seed": episode.seed,
        "steps": episode.steps,
        "outcome": str(episode.outcome),
        "reason": episode.reason,
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        "reward_sum": episode.reward_sum,
        "reward_max": episode.reward_max,
        "guarded_steps": episode.guarded_steps,
        "interventions": episode.interventions,
        "prompts": list(episode.prompts),
        "first_frame": video_frame(episode.first_frame, subsample) if episode.env == filmed_env else None,
        "env": episode.env,
        "init_state": episode.init_state,
        "seeded": episode.seeded,
        "metrics": episode.metrics,
    }
