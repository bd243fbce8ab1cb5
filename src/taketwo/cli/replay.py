"""`taketwo replay`: play recorded episodes again, and say whether they come out as they were recorded."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.making import check_filmed, closing, made, one
from taketwo.cli.progress import STYLES, log_to
from taketwo.cli.recorded import (
    EpisodeChoice,
    one_or_all,
    only,
    open_dataset,
    resolved,
    source_for,
    stored_environment,
)
from taketwo.cli.resolve import Source, chosen_types, to_plain
from taketwo.cli.schema import Choice, Component
from taketwo.cli.stopping import stopping
from taketwo.datasets.reader import Dataset
from taketwo.envs.base import ENVIRONMENTS, Environment, EnvironmentConfig, Renders
from taketwo.errors import ConfigError, TakeTwoError, one_line
from taketwo.recording.video import VideoConfig, VideoSink
from taketwo.replay.episode import ReplayedEpisode
from taketwo.replay.playback import check_ramp_speed
from taketwo.replay.replay import Replay, Replayed

log = logging.getLogger(__name__)

DIVERGED = 1

INTRODUCTION = """Usage: taketwo replay --dataset.repo_id=me/cube --dataset.episode=3
                      [--flag=value ...]

Plays the actions of a recorded episode again, in the environment that it was
recorded in unless --env.* says otherwise. In a simulator with a trace of its
states, the first one is restored and every later one compared, bit for bit;
otherwise the simulator is reset with the recorded seed, and observation.state
compared. A robot is led from its present pose to the first action, slowly.

Of --env.*, the values in brackets hold only where another --env.type is given;
otherwise the default is what the episode was recorded with.

Exit status: 0 when everything came out as recorded; 1 when it did not, or on
a fault; 2 for a wrong flag; 130 after Ctrl-C and 143 after SIGTERM, by which
no further action is sent."""


@dataclass(frozen=True)
class ReplayedDataset:
    """Which episodes, and how fast.

    Attributes:
        episode: number of the episode, from 0; or all.
        repo_id: name of the dataset, such as me/cube, in LeRobot's home.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
        fps: actions a second in real time; where not given, a simulator runs as fast as it goes, and a robot
            at the recorded rate.
    """

    episode: EpisodeChoice
    repo_id: str | None = None
    root: Path | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ConfigError(f"fps must be a finite number above 0, not {self.fps}")


@dataclass(frozen=True)
class ReplayConfig:
    """Everything that `taketwo replay` needs to know.

    Attributes:
        env: the environment.
        dataset: which episodes, and how fast.
        video: a recording of the replay.
        output_dir: folder for the video; created if it is missing.
        ramp_speed: fastest change of a dimension on the way to the first pose, in its own unit a second (rad/s for
            joints).
        log_level: which messages are shown; debug adds tracebacks.
    """

    env: Component[EnvironmentConfig] = field(metadata={"choice": Choice(ENVIRONMENTS, "aloha")})
    dataset: ReplayedDataset
    video: VideoConfig = field(default_factory=lambda: VideoConfig(mode="off"))
    output_dir: Path = Path("outputs")
    ramp_speed: float = 0.5
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        check_ramp_speed(self.ramp_speed)


@dataclass(frozen=True)
class _DatasetOnly:
    """What has to be known before the rest: the stored environment is the default of `--env.*`."""

    dataset: ReplayedDataset


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_flags(words, switches=("help",))
    if line.arguments:
        raise ConfigError(f"unexpected word {line.arguments[0]!r}; options are flags, such as --dataset.episode=3")
    flags = dict(line.flags)
    if "help" in flags:
        del flags["help"]
        print(f"{INTRODUCTION}\n\n{options_help(ReplayConfig, chosen_types(ReplayConfig, Source(flags)))}")
        return 0
    place = resolved(_DatasetOnly, Source(only(flags, "dataset"))).dataset
    with open_dataset(place.repo_id, place.root) as dataset:
        return replay(dataset, one_or_all(dataset, place.episode), flags)


def replay(dataset: Dataset, episodes: Sequence[int], flags: Mapping[str, str | None]) -> int:
    """Replay episodes one after the other; returns the exit status.

    Raises:
        TakeTwoError: the first one cannot begin.
    """
    with ExitStack() as stack:
        player = _Player(dataset, flags)
        stack.callback(player.close)
        results: dict[int, Replayed | TakeTwoError] = {}
        with stopping(player.stop, "no further action is sent") as signals:
            for index in episodes:
                if signals:
                    break
                try:
                    results[index] = player.play(index)
                except ConfigError:
                    raise
                except TakeTwoError as error:
                    if len(episodes) == 1:
                        raise
                    log.debug("episode %d cannot be replayed", index, exc_info=True)
                    results[index] = error
                print(_line(index, results[index]), flush=True)
    if len(episodes) > 1:
        _print_table(results, len(episodes))
    if signals:
        return 128 + signals[0]
    return 0 if all(isinstance(result, Replayed) and result.as_recorded for result in results.values()) else DIVERGED


class _Player:
    """Plays episodes, in one environment as long as they were recorded in the same."""

    def __init__(self, dataset: Dataset, flags: Mapping[str, str | None]) -> None:
        self._dataset = dataset
        self._flags = flags
        self._environment: Environment | None = None
        self._made_of: Component[EnvironmentConfig] | None = None
        self._replay: Replay | None = None
        self._stop_reason: str | None = None

    def play(self, index: int) -> Replayed:
        """One episode.

        Raises:
            TakeTwoError: it cannot begin.
        """
        source = source_for(self._flags, self._dataset, index)
        config = resolved(ReplayConfig, source)
        log_to(None, config.log_level)
        episode = ReplayedEpisode.load(self._dataset, index)
        stored = stored_environment(self._dataset, index)
        if stored is None or stored["type"] != config.env.type:
            episode = episode.elsewhere()
        environment = self._environment_of(config, source)
        self._replay = Replay(environment, episode, fps=config.dataset.fps, ramp_speed=config.ramp_speed)
        if self._stop_reason is not None:
            self._replay.request_stop(self._stop_reason)
        video = self._video(config, source)
        result = self._replay.run([video] if video is not None else [], to_plain(config))
        if video is not None:
            for path in video.report(result.steps)["files"]:
                log.info("video %s", path)
        return result

    def stop(self, reason: str) -> None:
        """Send no further action."""
        self._stop_reason = reason
        if self._replay is not None:
            self._replay.request_stop(reason)

    def close(self) -> None:
        """Close the environment."""
        if self._environment is not None:
            closing("the environment", self._environment.close)
            self._environment = None

    def _environment_of(self, config: ReplayConfig, source: Source) -> Environment:
        if self._environment is None or self._made_of != config.env:
            self.close()
            self._environment = made("env", config.env.options, source, lambda: one(config.env))
            self._made_of = config.env
        return self._environment

    def _video(self, config: ReplayConfig, source: Source) -> VideoSink | None:
        assert self._environment is not None
        assert self._replay is not None
        if config.video.mode != "off" and isinstance(self._environment, Renders):
            check_filmed(config.video.cameras, self._environment.spec.cameras, self._environment.camera_names())
        spec = self._replay.spec
        return made("video", config.video, source, lambda: config.video.make(spec, config.output_dir))


def _line(index: int, result: Replayed | TakeTwoError) -> str:
    return str(result) if isinstance(result, Replayed) else f"episode {index}: not replayed; {one_line(result)}"


def _print_table(results: Mapping[int, Replayed | TakeTwoError], asked: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from taketwo.cli.summary import PLAIN_WIDTH
    from taketwo.cli.tables import print_table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("episode", "steps"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("outcome", "recorded"):
        table.add_column(name, no_wrap=True)
    table.add_column("comparison", overflow="fold")
    for index, result in results.items():
        if isinstance(result, Replayed):
            said = result.states if result.fault is None else one_line(result.fault)
            outcome = Text(result.outcome, style=STYLES[result.outcome])
            table.add_row(str(index), str(result.steps), outcome, result.recorded or "unknown", Text(said))
        else:
            table.add_row(str(index), "", "not replayed", "", Text(one_line(result)))
    console.print()
    print_table(console, table)
    good = sum(isinstance(result, Replayed) and result.as_recorded for result in results.values())
    console.print(f"\n{good} of {asked} episodes came out as recorded", soft_wrap=True)
