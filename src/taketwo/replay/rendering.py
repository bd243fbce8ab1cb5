"""New pictures of a recorded episode: each state of its trace is restored and drawn, on one core or on several."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from taketwo.datasets.trace import Trace
from taketwo.datasets.video_files import join_videos
from taketwo.envs.base import MakesOne, Renders
from taketwo.errors import EnvironmentFault, RenderingError, TakeTwoError, blaming, one_line
from taketwo.recording.encoder import FragmentedMp4, H264Encoder
from taketwo.recording.naming import cannot_write, make_folder, reserve
from taketwo.recording.remux import Chapter, finish
from taketwo.types import EnvironmentSpec, Observation, Pixels

PART_S = 1.0
"""Seconds of video that are drawn in one go. Each begins with a key frame, as every second of a recording does."""

WORKER_START_S = 3.0
"""What it takes to start a process and load a simulator in it."""

LOOK_EVERY_S = 0.1
"""How often it is asked, while others draw, whether to stop."""


class Drawable(Renders, Protocol):
    """A simulator that can be put back to an earlier state and drawn there."""

    @property
    def spec(self) -> EnvironmentSpec:
        """What it is."""
        ...

    def restore(self, snapshot: Mapping[str, Any]) -> Observation:
        """Go back to a snapshot."""
        ...


@dataclass(frozen=True)
class Shot:
    """How an episode is to be filmed.

    Attributes:
        cameras: one video each.
        height: in pixels, even.
        width: in pixels, even.
        fps: frames a second.
        crf: x264 quality, 1 (best) to 51 (smallest).
        preset: x264 effort.
    """

    cameras: tuple[str, ...]
    height: int
    width: int
    fps: Fraction
    crf: int
    preset: str


@dataclass(frozen=True)
class Scene:
    """An episode that is to be filmed.

    Attributes:
        trace: the file.
        states: how many it has; as many frames come out.
        stem: how the videos' names begin.
        title: what the videos are called inside.
    """

    index: int
    trace: Path
    states: int
    stem: str
    title: str


@dataclass(frozen=True)
class Part:
    """Frames of one scene that are drawn in one go, from `start` up to before `stop`, into one file a camera."""

    scene: Scene
    start: int
    stop: int
    files: tuple[Path, ...]


def rendered_frames(
    environment: Drawable, trace: Trace, states: Iterable[int], cameras: Sequence[str], height: int, width: int
) -> Iterator[tuple[Pixels, ...]]:
    """Pictures of a trace's states: for each state a tuple with those of the cameras, (height, width, 3) uint8 RGB.

    Args:
        states: their numbers, in any order: k is the one of row k, the last one the end.

    Raises:
        ConfigError: there is no such camera.
        EnvironmentFault: a state is not of this environment.
        RenderingError: a picture cannot be made.
    """
    for number in states:
        restore(environment, trace, number)
        yield tuple(_drawn(environment, camera, height, width) for camera in cameras)


def _drawn(environment: Drawable, camera: str, height: int, width: int) -> Pixels:
    with blaming(RenderingError, f"camera {camera!r} cannot be drawn"):
        return environment.render(camera, height, width)


def restore(environment: Drawable, trace: Trace, number: int) -> None:
    """Put an environment to one of a trace's states.

    Raises:
        EnvironmentFault: the state is not of this environment.
    """
    with blaming(EnvironmentFault, "the recorded state cannot be restored"):
        environment.restore(trace.state(number))


def film(
    config: MakesOne,
    environment: Drawable,
    scenes: Sequence[Scene],
    shot: Shot,
    folder: Path,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda frames: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Scene, list[Path]]]:
    """Film episodes; gives each one's videos, in the order of the cameras, as soon as they are there.

    With several workers, each is a process of its own with an environment of its own.

    Args:
        environment: made of `config`; what draws in this process.
        folder: where the videos go; nothing that is there is replaced.
        workers: how many; by default as many as there are cores, unless it is done sooner without.
        advance: called with the number of pictures made since the last call.
        stopped: asked before each picture; a picture that is under way is made, as drivers do not like to be left.

    Raises:
        KeyboardInterrupt: `stopped` has said so; what was finished before stays.
        RecordingError: a file cannot be written.
        RenderingError: a picture cannot be made, or a worker died.
    """
    make_folder(folder)
    with ExitStack() as stack:
        parts_folder = _temporary_folder(folder)
        stack.callback(shutil.rmtree, parts_folder, ignore_errors=True)
        parts = [part for scene in scenes for part in _parts(scene, shot, parts_folder)]
        done = stack.enter_context(closing(_film_parts(config, environment, parts, shot, workers, stopped)))
        for scene, group in itertools.groupby(done, lambda part: part.scene):
            files = []
            for part in group:
                files.append(part.files)
                advance((part.stop - part.start) * len(shot.cameras))
            yield scene, _finished(scene, files, shot, folder)


def _temporary_folder(folder: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=".render-", dir=folder))
    except OSError as error:
        raise cannot_write(folder, error) from error


def _parts(scene: Scene, shot: Shot, folder: Path) -> Iterator[Part]:
    length = max(1, round(shot.fps * Fraction(PART_S)))
    for start in range(0, scene.states, length):
        files = tuple(folder / f"{scene.index}_{start}_{number}.mp4" for number in range(len(shot.cameras)))
        yield Part(scene, start, min(start + length, scene.states), files)


def _finished(scene: Scene, files: Sequence[tuple[Path, ...]], shot: Shot, folder: Path) -> list[Path]:
    """Join the parts of a scene, camera by camera."""
    paths = []
    for camera, parts in zip(shot.cameras, zip(*files, strict=True), strict=True):
        stem = f"{scene.stem}_{camera}_{shot.width}x{shot.height}"
        partial = reserve(folder, stem, ".partial.mp4")
        try:
            join_videos(parts, partial)
            title = f"{scene.title}, camera {camera}"
            chapters = [Chapter(scene.title, 0, scene.states)]
            paths.append(finish(partial, stem, shot.fps, chapters, {"title": title}))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        for part in parts:
            part.unlink()
    return paths


def _film_part(environment: Drawable, trace: Trace, part: Part, shot: Shot, stopped: Callable[[], bool]) -> None:
    with ExitStack() as stack:
        reels = []
        for path in part.files:
            encoder = H264Encoder(shot.width, shot.height, shot.fps, shot.crf, shot.preset)
            file = FragmentedMp4(path, encoder, 0, {})
            stack.callback(file.close)
            reels.append((encoder, file))
        states = _unless_stopped(range(part.start, part.stop), stopped)
        frames = rendered_frames(environment, trace, states, shot.cameras, shot.height, shot.width)
        for index, pictures in enumerate(frames):
            for pixels, (encoder, file) in zip(pictures, reels, strict=True):
                file.write(encoder.encode(pixels, index, key_frame=index == 0))


def _unless_stopped(states: Iterable[int], stopped: Callable[[], bool]) -> Iterator[int]:
    for number in states:
        if stopped():
            raise KeyboardInterrupt
        yield number


def _film_parts(
    config: MakesOne,
    environment: Drawable,
    parts: Sequence[Part],
    shot: Shot,
    workers: int | None,
    stopped: Callable[[], bool],
) -> Generator[Part, None, None]:
    """Film parts; gives each one when it is done, in order."""
    if workers is None and parts:
        began = _warm(environment, parts[0], shot)
        yield from _film_here(environment, parts[:1], shot, stopped)
        left_s = (time.monotonic() - began) * (len(parts) - 1)
        parts, workers = parts[1:], _worth_starting(left_s)
    if workers is None or workers == 1:
        yield from _film_here(environment, parts, shot, stopped)
    else:
        with _filming_elsewhere(config, parts, shot, workers, stopped) as done:
            yield from done


def _warm(environment: Drawable, part: Part, shot: Shot) -> float:
    """Draw once, since the first picture takes longer; returns the time after it."""
    restore(environment, Trace.load(part.scene.trace), 0)
    environment.render(shot.cameras[0], shot.height, shot.width)
    return time.monotonic()


def _worth_starting(left_s: float) -> int:
    """How many processes to start for what takes so long in one."""
    if left_s < 2 * WORKER_START_S:
        return 1
    return min(len(os.sched_getaffinity(0)), math.ceil(left_s / WORKER_START_S))


def _film_here(environment: Drawable, parts: Sequence[Part], shot: Shot, stopped: Callable[[], bool]) -> Iterator[Part]:
    for path, group in itertools.groupby(parts, lambda part: part.scene.trace):
        trace = Trace.load(path)
        for part in group:
            _film_part(environment, trace, part, shot, stopped)
            yield part


@contextmanager
def _filming_elsewhere(
    config: MakesOne, parts: Sequence[Part], shot: Shot, workers: int, stopped: Callable[[], bool]
) -> Iterator[Iterator[Part]]:
    # Processes that are forked off would share the parent's GL context, which no driver takes well.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(workers, context, _begin_worker, (config, shot, stop)) as pool:
        try:
            with _ignoring_interrupts():  # the workers inherit it: Ctrl-C is for the parent, which then stops them
                futures = [pool.submit(_work, part) for part in parts]
            yield (_result(future, stopped) for future in futures)
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[Part], stopped: Callable[[], bool]) -> Part:
    while not stopped():
        try:
            return future.result(timeout=LOOK_EVERY_S)
        except TimeoutError:
            continue
        except BrokenProcessPool as error:
            raise RenderingError(
                "a process that draws has died; --workers=1 draws in this one and may tell more"
            ) from error
    raise KeyboardInterrupt


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Worker:
    """What a process that draws keeps from part to part."""

    config: MakesOne
    shot: Shot
    stop: Any
    environment: Any = None
    trace: tuple[Path, Trace] | None = None


def _begin_worker(config: MakesOne, shot: Shot, stop: Any) -> None:
    _Worker.config, _Worker.shot, _Worker.stop = config, shot, stop
    os.environ.setdefault("LP_NUM_THREADS", "0")  # the cores are taken by the other workers already
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(part: Part) -> Part:
    """Film one part in a worker. Only a plain error goes back, since not every exception survives the way."""
    try:
        if _Worker.environment is None:
            _Worker.environment = _Worker.config.make()
        if _Worker.trace is None or _Worker.trace[0] != part.scene.trace:
            _Worker.trace = part.scene.trace, Trace.load(part.scene.trace)
        _film_part(_Worker.environment, _Worker.trace[1], part, _Worker.shot, _Worker.stop.is_set)
    except Exception as error:  # noqa: BLE001 - it is told in the parent
        kind = type(error) if isinstance(error, TakeTwoError) else RenderingError
        with suppress(TypeError):  # an error that is not made of its message alone
            raise kind(one_line(error)) from None
        raise RenderingError(one_line(error)) from None
    return part
