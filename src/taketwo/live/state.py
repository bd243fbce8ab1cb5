"""What a viewer is told of a session."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from taketwo import __version__
from taketwo.live.samples import Sample, Samples
from taketwo.live.timing import Timing
from taketwo.session.commands import Commands
from taketwo.session.events import (
    EpisodeEnd,
    EpisodeStart,
    Event,
    Intervention,
    Paused,
    SessionEnd,
    SessionStart,
    StepTaken,
    TerminalObservation,
)
from taketwo.types import Episode, EpisodeInfo, Observation

INTERVENTIONS_KEPT = 1000

MARKS = {None: None, True: "success", False: "failure"}


class EditablePrompt(Protocol):
    """An instruction that may be replaced from any thread; `taketwo.control.prompt.PromptSource` is one.

    Attributes:
        text: the instruction; None leaves the environment's own.
    """

    text: str | None


class LiveState:
    """Follows a session's events on one thread, and is read from others.

    Attributes:
        samples: what plots show.
        commands: what the operator wants.
        prompt: what an edited prompt goes to; None where it cannot be edited.
        prompt_note: why it cannot.
        changes: goes up with whatever a viewer should learn of at once.
    """

    def __init__(self, commands: Commands, prompt: EditablePrompt | None, prompt_note: str | None) -> None:
        """The session has not begun.

        Args:
            prompt: what an edited prompt goes to; None where it cannot be edited.
            prompt_note: why it cannot.
        """
        self.samples = Samples()
        self.changes = 0
        self.commands = commands
        self.prompt = prompt
        self.prompt_note = prompt_note
        self._lock = threading.Lock()
        self._timing = Timing()
        self._start: SessionStart | None = None
        self._began = self._ended = 0.0
        self._end_reason: str | None = None
        self._running = False
        self._episode: EpisodeInfo | None = None
        self._takes = self._step = self._intervened = self._interventions_count = 0
        self._interventions: deque[dict[str, Any]] = deque(maxlen=INTERVENTIONS_KEPT)
        self._episodes: list[dict[str, Any]] = []
        self._episodes_json = msgspec.Raw(b"[]")
        self._prompt_text: str | None = None
        self._prompt_used: str | None = None
        self._prompt_read: bool | None = None

    def take(self, event: Event) -> None:
        """Follow one event."""
        with self._lock:
            match event:
                case StepTaken():
                    self._take_step(event)
                    return
                case TerminalObservation():
                    self._see_prompt(event.observation, self._prompt_used)
                    return
                case Paused():
                    return
                case SessionStart():
                    self._begin(event)
                case EpisodeStart(episode):
                    self._running, self._episode = True, episode
                    self._step = self._intervened = 0
                    self._takes += 1
                    self.samples.begin_episode()
                    self._timing.begin_episode()
                case Intervention():
                    self._intervene(event)
                case EpisodeEnd(episode):
                    self._episode = None
                    self._episodes.append(_episode_told(episode))
                    self._episodes_json = msgspec.Raw(msgspec.json.encode(self._episodes))
                case SessionEnd(reason):
                    self._end(reason)
            self.changes += 1

    def close(self) -> None:
        """Nothing follows, whether or not the session has told its end."""
        with self._lock:
            if not self._ended:
                self._end(self.commands.stop_reason)
                self.changes += 1

    @property
    def ended(self) -> bool:
        """Whether the session is over."""
        return self._ended > 0

    @property
    def interventions_count(self) -> int:
        """Interventions so far."""
        return self._interventions_count

    def wanted(self) -> tuple[object, ...]:
        """What the operator wants now; what differs from last time is a change, which no event tells."""
        commands = self.commands
        return commands.paused, commands.marked, commands.stop_reason

    def sample_range(self, begin: int, end: int) -> list[Sample]:
        """Samples number `begin` to `end` - 1, as far as they are kept."""
        with self._lock:
            return list(self.samples.between(begin, end))

    def interventions_since(self, count: int) -> list[dict[str, Any]]:
        """Messages of those that came after the first `count`, as far as they are kept."""
        with self._lock:
            new = min(self._interventions_count - count, len(self._interventions))
            return list(self._interventions)[len(self._interventions) - new :]

    def describe(self) -> dict[str, Any]:
        """As `/api/state` tells it, without what only the server knows. NaN is left for the encoder."""
        with self._lock:
            return {
                "taketwo": __version__,
                "mode": "live",
                "session": self._session_told(),
                "episode": self._episode_under_way_told(),
                "episodes": self._episodes_json,
                "prompt": {
                    "text": self._prompt_text,
                    "used": self._prompt_used,
                    "read": self._prompt_read,
                    "editable": self.prompt is not None,
                    "note": self.prompt_note,
                },
                "timing": self._timing.describe(),
                **self._spec_told(),
            }

    def _begin(self, start: SessionStart) -> None:
        self._start = start
        self._began = time.monotonic()
        self._prompt_text = start.spec.prompt
        self._timing.paced = (_option(start.config, "session", "max_hz") or 0) > 0

    def _take_step(self, step: StepTaken) -> None:
        if self._start is None or self._episode is None:
            return
        self._step = step.index + 1
        late_ms = step.late_s * 1e3
        self._timing.step(step.index, step.time_s, late_ms)
        told_ms = late_ms if self._timing.paced else None
        self.samples.add(step, self._episode.index, step.frame / self._start.control_hz, told_ms)
        self._prompt_read = step.decision.prompt_read
        self._see_prompt(step.observation, step.decision.prompt_used)

    def _see_prompt(self, observation: Observation, used: str | None) -> None:
        if (observation.prompt, used) != (self._prompt_text, self._prompt_used):
            self._prompt_text, self._prompt_used = observation.prompt, used
            self.changes += 1

    def _intervene(self, event: Intervention) -> None:
        assert self._start is not None
        self._intervened += 1
        self._interventions_count += 1
        self._interventions.append(
            {
                "type": "intervention",
                "time": event.frame / self._start.control_hz,
                "episode": None if self._episode is None else self._episode.index,
                "kind": event.kind,
                "reason": event.reason,
            }
        )

    def _end(self, reason: str | None) -> None:
        self._end_reason = reason
        self._ended = time.monotonic()
        self._episode = None

    def _status(self) -> str:
        if self._ended:
            return "ended"
        if self.commands.paused:
            return "paused"
        return "running" if self._running else "starting"

    def _session_told(self) -> dict[str, Any]:
        start = self._start
        config = {} if start is None else start.config
        return {
            "environment": None if start is None else start.spec.name,
            "policy": _option(config, "policy", "type"),
            "control_hz": None if start is None else start.control_hz,
            "max_hz": _option(config, "session", "max_hz"),
            "seed": None if start is None else start.seed,
            "status": self._status(),
            "reason": self._end_reason if self._ended else self.commands.stop_reason,
            "num_episodes": _option(config, "session", "num_episodes"),
            "total_seconds": _option(config, "session", "total_seconds"),
            "elapsed_s": 0.0 if start is None else (self._ended or time.monotonic()) - self._began,
        }

    def _episode_under_way_told(self) -> dict[str, Any] | None:
        if self._episode is None or self._start is None:
            return None
        return {
            "index": self._episode.index,
            "take": self._takes,
            "seed": self._episode.seed,
            "step": self._step,
            "time_s": self._step / self._start.control_hz,
            "marked": MARKS[self.commands.marked],
            "interventions": self._intervened,
        }

    def _spec_told(self) -> dict[str, Any]:
        if self._start is None:
            return {"signals": {"action": {"names": [], "units": []}, "state": {"names": []}}, "cameras": []}
        spec = self._start.spec
        return {
            "signals": {
                "action": {"names": spec.action_names, "units": spec.action_units},
                "state": {"names": spec.state_names},
            },
            "cameras": [
                {"name": name, "height": size.height, "width": size.width} for name, size in spec.cameras.items()
            ],
        }


def _episode_told(episode: Episode) -> dict[str, Any]:
    return {
        "index": episode.index,
        "seed": episode.seed,
        "outcome": str(episode.outcome),
        "reason": episode.reason,
        "steps": episode.steps,
        "first_frame": episode.first_frame,
        "frames": episode.frames,
        "reward_max": episode.reward_max,
    }


def _option(config: Mapping[str, Any], section: str, name: str) -> Any:
    """An option out of the resolved configuration; None where a caller's own configuration lacks it."""
    options = config.get(section)
    return options.get(name) if isinstance(options, Mapping) else None
