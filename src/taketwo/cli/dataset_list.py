"""`taketwo dataset list`: the episodes of a dataset, or the videos of rollouts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taketwo.cli.dataset_output import (
    UNBROKEN_WIDTH,
    new_console,
    outcome_text,
    said_rate,
    shown_outcome,
)
from taketwo.cli.dataset_words import dataset_folder, read_line
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_count
from taketwo.datasets.layout import INFO
from taketwo.datasets.reader import Dataset, RecordedEpisode
from taketwo.datasets.rollout_names import Rollout, list_rollouts
from taketwo.errors import ConfigError, one_of
from taketwo.recording.plain import to_json
from taketwo.types import Outcome

INTRODUCTION = """Usage: taketwo dataset list DATASET [--failed] [--flag=value ...]

Lists the episodes of a dataset, or those that fit. DATASET is a folder, or a
repo id such as me/cube. It may also be a folder of videos whose names tell the
outcome, as OpenVLA's scripts write them:
...--episode=12--success=False--task=pick_up_the_soup.mp4"""


@dataclass(frozen=True)
class ListConfig:
    """Flags of `taketwo dataset list`.

    Attributes:
        failed: only episodes that failed or ran out of time.
        outcome: only episodes that ended so, such as timeout.
        task: only episodes with this instruction.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
        json: for programs.
    """

    failed: bool = False
    outcome: str | None = None
    task: str | None = None
    root: Path | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.outcome is not None and self.outcome not in set(Outcome):
            raise ConfigError(one_of("outcome", self.outcome, map(str, Outcome)))


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, ListConfig, INTRODUCTION)
    if line is None:
        return 0
    config = line.config
    folder = _rollout_folder(line.arguments, config.root)
    if folder is not None:
        rollouts = list_rollouts(folder)
        if rollouts:
            _list_rollouts(folder, rollouts, config)
            return 0
    with Dataset.open(dataset_folder(line.arguments, config.root, "list")) as dataset:
        _list_episodes(dataset, config)
    return 0


def _rollout_folder(arguments: Sequence[str], root: Path | None) -> Path | None:
    """The folder that was named, where it is there and no dataset; one that holds a named dataset is none."""
    if arguments and root is not None:
        return None
    folder = Path(arguments[0]).expanduser() if arguments else root
    return folder if folder is not None and folder.is_dir() and not (folder / INFO).exists() else None


@dataclass(frozen=True)
class Column:
    """A column of the list.

    Attributes:
        value: of an episode; empty where there is nothing to tell. A column that is empty for all is not shown.
    """

    name: str
    value: Callable[[RecordedEpisode], str]
    right: bool = True
    wraps: bool = False


def _list_episodes(dataset: Dataset, config: ListConfig) -> None:
    chosen = dataset.select(failed=config.failed or None, outcome=config.outcome, task=config.task)
    if config.json:
        print(to_json([_plain(dataset, episode) for episode in chosen], indent=2))
        return
    from rich.text import Text

    tasks = {task for episode in chosen for task in episode.tasks}
    console = new_console()
    if chosen:
        columns = [column for column in _columns(dataset, len(tasks) > 1) if any(map(column.value, chosen))]
        _print_table(columns, chosen)
        console.print()
    outcomes = [shown_outcome(episode) for episode in chosen]
    count = said_count(len(chosen), "episode")
    if len(chosen) < len(dataset.episodes):
        count = f"{len(chosen)} of {said_count(len(dataset.episodes), 'episode')}"
    console.print(Text(f"{count}; success {said_rate(outcomes)}" if chosen else count), soft_wrap=True)
    if len(tasks) == 1:
        console.print(Text(f"task: {tasks.pop()}"), soft_wrap=True)


def _columns(dataset: Dataset, several_tasks: bool) -> list[Column]:
    def noted(name: str) -> Callable[[RecordedEpisode], str]:
        def value(episode: RecordedEpisode) -> str:
            found = getattr(episode.note, name, None)
            return "" if found is None else f"{found:g}" if isinstance(found, float) else str(found)

        return value

    def rate(episode: RecordedEpisode) -> str:
        note = episode.note
        return f"{note.measured_hz:.1f} Hz" if note and note.late and note.measured_hz is not None else ""

    def interventions(episode: RecordedEpisode) -> str:
        return str(episode.note.interventions) if episode.note and episode.note.interventions else ""

    def remark(episode: RecordedEpisode) -> str:
        return "cut short by a crash" if episode.note and episode.note.salvaged else ""

    columns = [
        Column("episode", lambda episode: str(episode.index)),
        Column("rows", lambda episode: str(episode.length)),
        Column("seconds", lambda episode: f"{episode.length / dataset.fps:.1f}"),
        Column("outcome", shown_outcome, right=False),
        Column("seed", noted("seed")),
        Column("reward", noted("reward_sum")),
        Column("interventions", interventions),
        Column("real rate", rate),
        Column("remark", remark, right=False),
    ]
    task = Column("task", lambda episode: "; ".join(episode.tasks), right=False, wraps=True)
    return [*columns, task] if several_tasks else columns


def _print_table(columns: Sequence[Column], episodes: Sequence[RecordedEpisode]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.name, justify="right" if column.right else "left", overflow="fold")
        table.columns[-1].no_wrap = not column.wraps
    for episode in episodes:
        texts = [column.value(episode) for column in columns]
        table.add_row(
            *(
                outcome_text(text) if column.name == "outcome" else Text(text)
                for column, text in zip(columns, texts, strict=True)
            )
        )
    print_table(new_console(), table)


def _plain(dataset: Dataset, episode: RecordedEpisode) -> dict[str, Any]:
    known = asdict(episode.note) if episode.note else {}
    return {
        **known,
        "index": episode.index,
        "length": episode.length,
        "seconds": episode.length / dataset.fps,
        "outcome": episode.outcome,
        "success": episode.success,
        "tasks": list(episode.tasks),
    }


def _list_rollouts(folder: Path, rollouts: Sequence[Rollout], config: ListConfig) -> None:
    chosen = [
        rollout
        for rollout in rollouts
        if (not config.failed or rollout.name.success is False)
        and config.outcome in (None, _rollout_outcome(rollout))
        and (config.task is None or _is_task(rollout.name.task, config.task))
    ]
    if config.json:
        plain = [asdict(rollout.name) | {"path": rollout.path} for rollout in chosen]
        print(to_json(plain, indent=2))
        return
    from rich.text import Text

    if chosen:
        _print_rollouts(folder, chosen)
    count = said_count(len(chosen), "video")
    if len(chosen) < len(rollouts):
        count = f"{len(chosen)} of {said_count(len(rollouts), 'video')}"
    rate = said_rate([_rollout_outcome(rollout) for rollout in chosen])
    new_console().print(Text(f"{count}; success {rate}" if chosen else count), soft_wrap=True)


def _print_rollouts(folder: Path, rollouts: Sequence[Rollout]) -> None:
    """The paths are in one piece, also where the terminal breaks them, so that they can be copied."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("episode", justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("video", no_wrap=True)
    for rollout in rollouts:
        path = str(rollout.path.relative_to(folder))
        table.add_row(str(rollout.name.episode), outcome_text(_rollout_outcome(rollout)), Text(path))
    console = Console(highlight=False, width=UNBROKEN_WIDTH)
    print_table(console, table)
    console.print()


def _rollout_outcome(rollout: Rollout) -> str:
    if rollout.name.success is None:
        return Outcome.UNJUDGED
    return Outcome.SUCCESS if rollout.name.success else Outcome.FAILURE


def _is_task(in_name: str, asked: str) -> bool:
    """Names have the task shortened, and with `_` for all that is neither letter nor digit."""
    there, wanted = (re.sub(r"\W+", "_", text).strip("_").lower() for text in (in_name, asked))
    return bool(there) and (wanted.startswith(there) or there.startswith(wanted))
