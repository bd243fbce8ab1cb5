"""`taketwo dataset repair`: make the best of what a crash left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taketwo.cli.dataset_words import begun_folder, read_line

INTRODUCTION = """Usage: taketwo dataset repair DATASET [--salvage=true] [--discard=true]

Finishes a change that a crash interrupted, and deals with episodes that were
being recorded when it came. Without a flag these are only told of: nothing is
removed unasked. DATASET is a folder, or a repo id such as me/cube."""


@dataclass(frozen=True)
class RepairConfig:
    """Flags of `taketwo dataset repair`.

    Attributes:
        salvage: make an episode of an unfinished take, up to its last whole second.
        discard: remove unfinished takes; with salvage, those that cannot be saved.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
    """

    salvage: bool = False
    discard: bool = False
    root: Path | None = None


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, RepairConfig, INTRODUCTION)
    if line is None:
        return 0
    from taketwo.datasets.repair import repair

    root = begun_folder(line.arguments, line.config.root, "repair")
    for said in repair(root, line.config.salvage, line.config.discard):
        print(said)
    return 0
