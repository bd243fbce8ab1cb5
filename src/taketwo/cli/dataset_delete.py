"""`taketwo dataset delete-episodes`: take episodes out of a dataset."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taketwo.cli.dataset_output import said_episodes, shown_outcome
from taketwo.cli.dataset_words import dataset_folder, parsed_episodes, read_line
from taketwo.cli.wording import said_count, said_seconds
from taketwo.datasets.reader import Dataset, RecordedEpisode
from taketwo.errors import ConfigError

LISTED = 10
"""More episodes are only counted before the question."""

INTRODUCTION = """Usage: taketwo dataset delete-episodes DATASET --episodes=1,4-6 [--yes]

Takes episodes out of a dataset, for good: their rows, pictures and traces. The
others stay as they were recorded, are not encoded again, and are numbered anew
from 0. Asks before; without a terminal it needs --yes. DATASET is a folder, or
a repo id such as me/cube."""


@dataclass(frozen=True)
class DeleteConfig:
    """Flags of `taketwo dataset delete-episodes`.

    Attributes:
        episodes: which, such as 1,4-6.
        yes: do not ask.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
    """

    episodes: str
    yes: bool = False
    root: Path | None = None


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, DeleteConfig, INTRODUCTION)
    if line is None:
        return 0
    from taketwo.datasets.editing import delete_episodes

    config = line.config
    with Dataset.open(dataset_folder(line.arguments, config.root, "delete-episodes")) as dataset:
        gone = parsed_episodes(config.episodes, len(dataset.episodes), dataset.root)
        left = len(dataset.episodes) - len(gone)
        asks = left and not config.yes  # of all episodes there is nothing to ask: they are not deleted
        if asks and not _confirmed(dataset, [dataset.episode(index) for index in gone]):
            print("nothing was changed")
            return 0
    delete_episodes(dataset.root, gone)
    numbered = f", numbered 0 to {left - 1}" if left > 1 else ""
    print(f"deleted {said_count(len(gone), 'episode')}; {left} left in {dataset.root}{numbered}")
    return 0


def _confirmed(dataset: Dataset, episodes: Sequence[RecordedEpisode]) -> bool:
    """Show what would go, and ask."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            f"this deletes {said_count(len(episodes), 'episode')} of {dataset.root} for good: say so by --yes"
        )
    print(f"These episodes of {dataset.root} would be deleted for good:")
    for episode in episodes[:LISTED]:
        tasks = "; ".join(episode.tasks)
        seconds = said_seconds(episode.length / dataset.fps)
        print(f"  {episode.index:>4}  {shown_outcome(episode):<9}  {seconds:>8}  {tasks}")
    if len(episodes) > LISTED:
        rest = said_episodes([episode.index for episode in episodes[LISTED:]])
        print(f"  and {len(episodes) - LISTED} more: {rest}")
    try:
        return input("Delete them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
