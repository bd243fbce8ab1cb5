"""`taketwo render`: make new videos of recorded episodes, from any camera at any size."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from taketwo.cli.bars import picture_bar
from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.making import closing, made, of_one
from taketwo.cli.progress import log_to
from taketwo.cli.recorded import (
    EpisodeChoice,
    one_or_all,
    only,
    open_dataset,
    resolved,
    source_for,
)
from taketwo.cli.resolve import Source, chosen_types
from taketwo.cli.schema import Choice, Component
from taketwo.cli.stopping import stopping
from taketwo.datasets.layout import trace_path
from taketwo.datasets.reader import Dataset
from taketwo.envs.base import ENVIRONMENTS, Environment, EnvironmentConfig, Renders, Snapshots
from taketwo.errors import ConfigError, one_of
from taketwo.recording.naming import safe_name
from taketwo.recording.video import PRESETS
from taketwo.replay.episode import load_trace
from taketwo.types import CameraSpec, EnvironmentSpec

if TYPE_CHECKING:
    from taketwo.replay.rendering import Drawable, Scene

LARGEST_SIZE = 8192

DEFAULT_SIZE = CameraSpec(height=480, width=640)
"""Where nothing was asked for and observations carry no camera."""

INTRODUCTION = """Usage: taketwo render --dataset.repo_id=me/cube --episode=3 --camera=angle
                      --size=1280x720 [--flag=value ...]

Makes a new video of a recorded episode: every state of its simulator trace is
restored and drawn. Frame k shows row k of the dataset, and the last one the end
of the episode. All cores draw. Several cameras give a file each.

Of --env.*, the values in brackets hold only where another --env.type is given;
otherwise the default is what the episode was recorded with.

Exit status: 0 when all videos are made; 1 on a fault; 2 for a wrong flag; 130
after Ctrl-C and 143 after SIGTERM, by which finished videos stay, and of the
others nothing is left."""


@dataclass(frozen=True)
class RenderedDataset:
    """Which dataset.

    Attributes:
        repo_id: name of the dataset, such as me/cube, in LeRobot's home.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
    """

    repo_id: str | None = None
    root: Path | None = None


@dataclass(frozen=True)
class RenderConfig:
    """Everything that `taketwo render` needs to know.

    Attributes:
        env: the environment.
        dataset: which dataset.
        episode: number of the episode, from 0; or all.
        camera: cameras, each of which gets its own video; the environment's first one where none is named.
        size: width and height in pixels, such as 1280x720; the environment's own where not given.
        output_dir: folder for the videos; created if it is missing.
        workers: processes that draw; auto takes every core where there is enough to draw.
        crf: x264 quality, 1 (best) to 51 (smallest).
        preset: x264 effort, `ultrafast` to `veryslow`.
        log_level: which messages are shown; debug adds tracebacks.
    """

    env: Component[EnvironmentConfig] = field(metadata={"choice": Choice(ENVIRONMENTS, "aloha")})
    episode: EpisodeChoice
    dataset: RenderedDataset = field(default_factory=RenderedDataset)
    camera: tuple[str, ...] = ()
    size: str | None = None
    output_dir: Path = Path("outputs")
    workers: int | Literal["auto"] = "auto"
    crf: int = 23
    preset: str = "veryfast"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        if self.size is not None:
            parsed_size(self.size)
        if self.workers != "auto" and self.workers < 1:
            raise ConfigError(f"workers must be 1 or more, or auto, not {self.workers}")
        if not 1 <= self.crf <= 51:
            raise ConfigError(f"crf must be 1 (best) to 51 (smallest), not {self.crf}")
        if self.preset not in PRESETS:
            raise ConfigError(one_of("preset", self.preset, PRESETS))
        if len(set(self.camera)) != len(self.camera):
            raise ConfigError(f"camera names one twice: {', '.join(self.camera)}")


@dataclass(frozen=True)
class _EpisodeOnly:
    """What has to be known before the rest: the stored environment is the default of `--env.*`."""

    episode: EpisodeChoice
    dataset: RenderedDataset = field(default_factory=RenderedDataset)


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_flags(words, switches=("help",))
    if line.arguments:
        raise ConfigError(f"unexpected word {line.arguments[0]!r}; options are flags, such as --episode=3")
    flags = dict(line.flags)
    if "help" in flags:
        del flags["help"]
        print(f"{INTRODUCTION}\n\n{options_help(RenderConfig, chosen_types(RenderConfig, Source(flags)))}")
        return 0
    place = resolved(_EpisodeOnly, Source(only(flags, "dataset", "episode")))
    with open_dataset(place.dataset.repo_id, place.dataset.root) as dataset:
        groups = _alike(dataset, one_or_all(dataset, place.episode), flags)
        with stopping(lambda reason: None, "stopping after this picture") as signals:
            try:
                for group in groups:
                    _render(dataset, group, lambda: bool(signals))
            except KeyboardInterrupt:
                print("error: interrupted", file=sys.stderr)
                return 128 + signals[0]
    return 0


def parsed_size(text: str) -> CameraSpec:
    """`1280x720` as width and height.

    Raises:
        ConfigError: it is not a size that a video can have.
    """
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if match is None:
        raise ConfigError(f"size must be width x height in pixels, such as 1280x720, not {text!r}")
    width, height = int(match[1]), int(match[2])
    if width % 2 or height % 2 or not (16 <= width <= LARGEST_SIZE and 16 <= height <= LARGEST_SIZE):
        raise ConfigError(f"size must be of even numbers from 16 to {LARGEST_SIZE}, such as 1280x720, not {text}")
    return CameraSpec(height, width)


@dataclass(frozen=True)
class _Group:
    """Episodes that were recorded in the same environment."""

    config: RenderConfig
    source: Source
    episodes: list[int]


def _alike(dataset: Dataset, episodes: Sequence[int], flags: Mapping[str, str | None]) -> list[_Group]:
    """Groups of neighbours; what was given wrongly is told before anything is drawn."""
    groups: list[_Group] = []
    for index in episodes:
        source = source_for(flags, dataset, index)
        config = resolved(RenderConfig, source)
        if groups and groups[-1].config == config:
            groups[-1].episodes.append(index)
        else:
            groups.append(_Group(config, source, [index]))
    return groups


def _render(dataset: Dataset, group: _Group, stopped: Callable[[], bool]) -> None:
    from taketwo.replay.rendering import Shot, film

    config = group.config
    log_to(None, config.log_level)
    options = made("env", config.env.options, group.source, lambda: of_one(config.env))
    environment = made("env", options, group.source, options.make)
    try:
        cameras, size = _cameras(config, environment), _size(config, environment.spec)
        fps = Fraction(dataset.fps).limit_denominator(1001)
        shot = Shot(cameras, size.height, size.width, fps, config.crf, config.preset)
        drawable = cast("Drawable", environment)
        scenes = [_scene(dataset, index, drawable) for index in group.episodes]
        pictures = sum(scene.states for scene in scenes) * len(cameras)
        workers = None if config.workers == "auto" else config.workers
        began = time.monotonic()
        with picture_bar(pictures) as advance:
            films = film(options, drawable, scenes, shot, config.output_dir, workers, advance, stopped)
            for scene, paths in films:
                for camera, path in zip(cameras, paths, strict=True):
                    said = f"{scene.states} frames of {camera} at {size.width}x{size.height}"
                    print(f"episode {scene.index}: {said}: {path}", flush=True)
        seconds = time.monotonic() - began
        print(f"{pictures} pictures in {seconds:.1f} s ({pictures / seconds:.1f} a second)", flush=True)
    finally:
        closing("the environment", environment.close)


def _scene(dataset: Dataset, index: int, environment: Drawable) -> Scene:
    from taketwo.replay.rendering import Scene, restore

    trace = load_trace(dataset, index)
    restore(environment, trace, 0)  # a state of another simulator is told before anything is drawn
    stem = f"{safe_name(dataset.root.resolve().name)}_ep{index:03d}"
    title = f"{environment.spec.name}, episode {index}"
    return Scene(index, dataset.root / trace_path(index), trace.states, stem, title)


def _cameras(config: RenderConfig, environment: Environment) -> tuple[str, ...]:
    spec = environment.spec
    if not (isinstance(environment, Renders) and isinstance(environment, Snapshots)):
        raise ConfigError(f"{spec.name} cannot be drawn from a trace: it does not draw earlier states")
    known = environment.camera_names()
    cameras = config.camera or tuple(spec.cameras)[:1] or known[:1]
    for camera in cameras:
        if camera not in known:
            raise ConfigError(f"--camera: {one_of('camera', camera, known)}")
    return cameras


def _size(config: RenderConfig, spec: EnvironmentSpec) -> CameraSpec:
    """What was asked for; otherwise that of the first of the cameras that observations carry."""
    if config.size is not None:
        return parsed_size(config.size)
    own = [spec.cameras[camera] for camera in (*config.camera, *spec.cameras) if camera in spec.cameras]
    return parsed_size(f"{own[0].width}x{own[0].height}") if own else DEFAULT_SIZE
