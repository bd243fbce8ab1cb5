"""Progress of a session: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taketwo.errors import one_line
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeEnd, EpisodeStart, Event, SessionEnd, SessionStart, StepTaken
from taketwo.types import Episode, Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LINE_EVERY_S = 10.0
"""Seconds between plain progress lines."""

REFRESH_HZ = 8.0
"""How often the live line is drawn."""

RATE_WINDOW_S = 3.0
"""Steps per second are counted over the last so many seconds."""

STYLES = {
    Outcome.SUCCESS: "green",
    Outcome.FAILURE: "red",
    Outcome.TIMEOUT: "yellow",
    Outcome.STOPPED: "dim",
    Outcome.DISCARDED: "dim",
    Outcome.FAULT: "bold red",
    Outcome.UNJUDGED: "cyan",
}


@dataclass
class Standing:
    """Where the session stands.

    Attributes:
        limits: the session's configuration.
        num_envs: how many environments step together.
        step_limit: actions per episode; None where nothing limits them.
        under_way: actions of each episode under way, by environment.
        steps_under_way: the same of all together.
        done_steps: actions of the finished episodes.
        frames: frames of the session so far; of several environments, of the one that has shown the most.
    """

    limits: SessionConfig
    num_envs: int = 1
    now: Callable[[], float] = time.monotonic
    step_limit: int | None = None
    control_hz: float = 1.0
    episode: int = 0
    done_steps: int = 0
    frames: int = 0
    under_way: dict[int, int] = field(default_factory=dict)
    steps_under_way: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    running: bool = False
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def take(self, event: Event) -> None:
        """Count one event."""
        match event:
            case SessionStart():
                self.step_limit = self.limits.max_episode_steps or event.spec.max_episode_steps
                self.control_hz = event.control_hz
                self.running = True
            case EpisodeStart(episode):
                self.episode = episode.index
                self._put(episode.env, 0)
                if self.num_envs == 1:
                    self._marks.clear()
            case StepTaken():
                self._put(event.env, event.index + 1)
                self.frames = max(self.frames, event.frame + 1)
                self._mark()
            case EpisodeEnd(episode):  # it counts steps that were dropped for this sink, too
                self._put(episode.env, 0)
                self.done_steps += episode.steps
                self.frames = max(self.frames, episode.first_frame + episode.frames)
                self.outcomes[episode.outcome] += 1
            case SessionEnd():
                self.running = False

    @property
    def steps(self) -> int:
        """Actions of the session so far."""
        return self.done_steps + self.steps_under_way

    @property
    def steps_per_s(self) -> float | None:
        """The rate over the last seconds; None at the beginning."""
        if len(self._marks) < 2:
            return None
        (first, begun), (last, done) = self._marks[0], self._marks[-1]
        return (done - begun) / (last - first) if last > first else None

    @property
    def fraction(self) -> float | None:
        """How much of the session is done, by the nearest limit; None where it is unknown."""
        limits, parts = self.limits, []
        if limits.num_episodes is not None:
            ended = self.outcomes.total()
            kept = ended - self.outcomes[Outcome.DISCARDED]  # discarded ones are done again
            under_way = self.steps_under_way / self.step_limit if self.step_limit else 0.0
            parts.append((kept + under_way) / (limits.num_episodes * self.num_envs))
        if limits.max_total_steps is not None:
            parts.append(self.steps / limits.max_total_steps)
        if limits.total_seconds is not None:
            parts.append(self.frames / (limits.total_seconds * self.control_hz))
        return min(1.0, max(parts)) if parts else None

    @property
    def place(self) -> str:
        """The episode under way, such as `Episode 2/3: step 17/400`; of several, how many are done."""
        if self.num_envs > 1:
            done = self.outcomes.total() - self.outcomes[Outcome.DISCARDED]
            of = f"/{self.limits.num_episodes * self.num_envs}" if self.limits.num_episodes else ""
            return f"{done}{of} episodes in {self.num_envs} environments: step {self.steps:>4}"
        of = f"/{self.step_limit}" if self.step_limit else ""
        return f"Episode {numbered(self.episode, self.limits)}: step {self.under_way.get(0, 0):>4}{of}"

    @property
    def tally(self) -> str:
        """Outcomes so far, such as `2 success, 1 timeout`."""
        return ", ".join(f"{self.outcomes[outcome]} {outcome}" for outcome in Outcome if self.outcomes[outcome])

    def _put(self, env: int, steps: int) -> None:
        """An episode stands at so many; no sum over all environments, as there may be thousands."""
        self.steps_under_way += steps - self.under_way.get(env, 0)
        self.under_way[env] = steps

    def _mark(self) -> None:
        now = self.now()
        if self._marks and now - self._marks[-1][0] < 1 / REFRESH_HZ:
            return
        self._marks.append((now, self.steps))
        while now - self._marks[0][0] > RATE_WINDOW_S and len(self._marks) > 2:
            self._marks.popleft()


def numbered(index: int, limits: SessionConfig) -> str:
    """An episode's number, counted from 1, with the number of episodes where that is known."""
    return f"{index + 1}" if limits.num_episodes is None else f"{index + 1}/{limits.num_episodes}"


def stored(index: int, frames: int, limits: SessionConfig) -> str:
    """One line on an episode whose frames are in the video."""
    return f"Stored episode {numbered(index, limits)} ({frames} frames)"


def verdict(episode: Episode, limits: SessionConfig, num_envs: int = 1) -> str:
    """One line on a finished episode."""
    where = f"Environment {episode.env}, episode" if num_envs > 1 else "Episode"
    number = numbered(episode.index, limits)
    seed = f" (seed {episode.seed})" if episode.seeded else ""
    line = f"{where} {number}: {episode.outcome} in {episode.steps} steps{seed}"
    return line if episode.outcome.is_attempt else f"{line}: {one_line(episode.reason)}"


class PlainProgress:
    """A sink that prints lines, at most one every `LINE_EVERY_S` while an episode goes on."""

    name = "progress"
    lossless = False
    required = False

    def __init__(
        self,
        limits: SessionConfig,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
        num_envs: int = 1,
    ) -> None:
        """Lines go to `say`; `now` gives seconds."""
        self._say = say
        self._limits = limits
        self._now = now
        self._standing = Standing(limits, num_envs, now)
        self._said = now()

    def cameras(self, frame: int) -> Collection[str]:
        """None."""
        return ()

    def on(self, event: Event) -> None:
        """Print a line for a finished episode, and now and then for one that goes on."""
        self._standing.take(event)
        if isinstance(event, EpisodeEnd):
            self._tell(verdict(event.episode, self._limits, self._standing.num_envs))
        elif isinstance(event, StepTaken) and self._now() - self._said >= LINE_EVERY_S:
            rate = self._standing.steps_per_s
            speed = f", {rate:.1f} steps/s" if rate is not None else ""
            self._tell(f"{' '.join(self._standing.place.split())}{speed}")

    def stored(self, index: int, frames: int) -> None:
        """Print that an episode's frames are in the video. Called on the video's thread."""
        self._say(stored(index, frames, self._limits))

    def close(self) -> None:
        """Nothing is open."""

    def _tell(self, line: str) -> None:
        self._say(line)
        self._said = self._now()


class LiveProgress:
    """A sink that keeps one line up to date at the bottom of a terminal, and prints finished episodes above it."""

    name = "progress"
    lossless = False
    required = False

    def __init__(self, limits: SessionConfig, console: Console, num_envs: int = 1) -> None:
        """Draw on `console`, which log messages must use too."""
        from rich.live import Live

        self._limits = limits
        self._console = console
        self._standing = Standing(limits, num_envs)
        self._live = Live(console=console, get_renderable=self._line, refresh_per_second=REFRESH_HZ, transient=True)

    def cameras(self, frame: int) -> Collection[str]:
        """None."""
        return ()

    def on(self, event: Event) -> None:
        """Take the event in; drawing is done at its own rate."""
        from rich.text import Text

        self._standing.take(event)
        if isinstance(event, SessionStart):
            self._live.start()
        elif isinstance(event, EpisodeEnd):
            mark = "+" if event.episode.outcome is Outcome.SUCCESS else "-"
            style = STYLES[event.episode.outcome]
            line = verdict(event.episode, self._limits, self._standing.num_envs)
            self._console.print(Text(f"{mark} {line}", style=style))
        elif isinstance(event, SessionEnd):
            self.close()

    def stored(self, index: int, frames: int) -> None:
        """Print, above the live line, that an episode's frames are in the video. Called on the video's thread."""
        self._console.print(stored(index, frames, self._limits), style="dim", markup=False)

    def close(self) -> None:
        """Take the line away. Safe to call twice."""
        self._live.stop()

    def _line(self) -> Text:
        from rich.text import Text

        standing = self._standing
        if not standing.running:
            return Text("")
        rate = standing.steps_per_s
        speed = f"{rate:5.1f} steps/s" if rate is not None else "  ... steps/s"
        place, _, step = standing.place.partition(":")
        line = Text.assemble((f"{place} ", "bold"), *self._bar(), f"{step}  {speed}")
        if standing.tally:
            line.append(f"  {standing.tally}", style="dim")
        line.no_wrap = True
        line.overflow = "ellipsis"
        return line

    def _bar(self) -> list[tuple[str, str]]:
        fraction = self._standing.fraction
        if fraction is None:
            return []
        width = max(8, min(30, self._console.width - 60))
        full = round(fraction * width)
        return [("━" * full, "green"), ("─" * (width - full), "dim")]


def live_console(quiet: bool) -> Console | None:
    """Where the live line is drawn; None where nothing is to be, or standard error is no terminal."""
    if quiet or not sys.stderr.isatty():
        return None
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def log_to(console: Console | None, level: str) -> None:
    """Send log messages to the terminal, above the live line where there is a console.

    Messages of other packages are shown from WARNING up.
    """
    handler: logging.Handler
    if console is None:
        handler = logging.StreamHandler()
        handler.setFormatter(PlainFormatter())
    else:
        from rich.logging import RichHandler

        handler = RichHandler(console=console, show_time=False, show_path=False, show_level=False, highlighter=None)
        handler.setFormatter(PlainFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("taketwo").setLevel(level.upper())


class PlainFormatter(logging.Formatter):
    """`warning: message`; information stands without a word before it."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text, with a traceback where it carries one."""
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"
