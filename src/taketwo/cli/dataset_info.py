"""`taketwo dataset info`: what a dataset holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taketwo.cli.dataset_output import (
    attempts,
    outcome_text,
    print_facts,
    said_rate,
    shown_outcome,
)
from taketwo.cli.dataset_words import dataset_folder, read_line
from taketwo.cli.wording import said_bytes, said_count, said_seconds
from taketwo.datasets.reader import Dataset
from taketwo.recording.plain import to_json
from taketwo.types import Outcome

if TYPE_CHECKING:
    from rich.text import Text

    from taketwo.datasets.repair import UnfinishedTake

INTRODUCTION = """Usage: taketwo dataset info DATASET [--flag=value ...]

Tells what a dataset holds. DATASET is a folder, or a repo id such as me/cube."""

TASKS_SHOWN = 10
"""More tasks are only counted."""


@dataclass(frozen=True)
class InfoConfig:
    """Flags of `taketwo dataset info`.

    Attributes:
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
        json: for programs.
    """

    root: Path | None = None
    json: bool = False


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, InfoConfig, INTRODUCTION)
    if line is None:
        return 0
    from taketwo.datasets.repair import inspect

    root = dataset_folder(line.arguments, line.config.root, "info")
    with Dataset.open(root) as dataset:
        takes = inspect(root).takes
        if line.config.json:
            print(to_json(_plain(dataset, takes), indent=2))
        else:
            print_facts(_facts(dataset, takes))
    return 0


def _plain(dataset: Dataset, takes: Sequence[UnfinishedTake]) -> dict[str, Any]:
    outcomes = [shown_outcome(episode) for episode in dataset.episodes]
    solved, tried = attempts(outcomes)
    return {
        "root": str(dataset.root.resolve()),
        "robot_type": dataset.info.robot_type,
        "fps": dataset.fps,
        "episodes": len(dataset.episodes),
        "rows": dataset.info.total_frames,
        "seconds": dataset.info.total_frames / dataset.fps,
        "cameras": {
            camera: {"width": size.width, "height": size.height, "codec": _codec(dataset, camera)}
            for camera, size in dataset.cameras.items()
        },
        "columns": {key: list(dataset.info.features[key].shape) for key in dataset.numeric_columns},
        "tasks": _tasks(dataset),
        "outcomes": dict(Counter(outcomes)),
        "successes": solved,
        "attempts": tried,
        "success_rate": solved / tried if tried else None,
        "bytes": _size(dataset.root),
        "unfinished_takes": [{"folder": str(take.folder), "seconds": take.seconds} for take in takes],
    }


def _facts(dataset: Dataset, takes: Sequence[UnfinishedTake]) -> Iterator[tuple[str, str | Text]]:
    rows = dataset.info.total_frames
    outcomes = [shown_outcome(episode) for episode in dataset.episodes]
    yield "dataset", str(dataset.root.resolve())
    yield "robot", dataset.info.robot_type or "not told"
    yield "fps", f"{dataset.fps:g}"
    yield "episodes", f"{len(dataset.episodes):,}".replace(",", " ")
    yield "rows", f"{rows:,} ({said_seconds(rows / dataset.fps)})".replace(",", " ")
    cameras = [
        f"{camera}: {size.width}x{size.height}, {_codec(dataset, camera)}" for camera, size in dataset.cameras.items()
    ]
    yield from _under("cameras", cameras or ["none"])
    tasks = _tasks(dataset)
    shown = [f"{task!r} in {said_count(count, 'episode')}" for task, count in list(tasks.items())[:TASKS_SHOWN]]
    more = len(tasks) - len(shown)
    yield from _under("tasks", [*shown, *([f"and {more} more"] if more else [])] or ["none"])
    yield "outcomes", _said_outcomes(outcomes)
    yield "success", said_rate(outcomes)
    late = [episode.index for episode in dataset.episodes if episode.note and episode.note.late]
    if late:
        yield "timing", f"{said_count(len(late), 'episode')} ran slower than {dataset.fps:g} Hz; see dataset list"
    yield "size", said_bytes(_size(dataset.root))
    for take in takes:
        yield "unfinished", _said_take(dataset.root, take)


def _said_take(root: Path, take: UnfinishedTake) -> str:
    repair = f"taketwo dataset repair {root}"
    if not take.seconds:
        return f"a take of less than a second: {repair} --discard=true removes it"
    return (
        f"a take of {take.seconds} s, left by a crash or still being recorded: {repair} --salvage=true makes an "
        "episode of it, --discard=true removes it"
    )


def _under(label: str, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, value in enumerate(values):
        yield "" if number else label, value


def _said_outcomes(outcomes: Sequence[str]) -> Text:
    from rich.text import Text

    counts = Counter(outcomes)
    words = [
        Text.assemble(f"{counts[outcome]} ", outcome_text(outcome))
        for outcome in [*Outcome, *sorted(counts.keys() - set(Outcome))]
        if counts[outcome]
    ]
    return Text(", ").join(words) if words else Text("none")


def _tasks(dataset: Dataset) -> dict[str, int]:
    """Episodes by task, in the dataset's order."""
    counts = Counter(task for episode in dataset.episodes for task in episode.tasks)
    return {task: counts[task] for task in dataset.tasks}


def _codec(dataset: Dataset, camera: str) -> str:
    feature = dataset.info.features[dataset.camera_columns[camera]]
    if not feature.is_video:
        return "pictures in the rows"
    return str(feature.info.get("video.codec") or feature.info.get("codec") or "video")


def _size(root: Path) -> int:
    """Bytes of all its files."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 (many files: no object for each)
        for folder, _, names in os.walk(root)
        for name in names
    )
