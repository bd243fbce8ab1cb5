"""`taketwo dataset rename`: give a dataset another name or place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taketwo.cli.dataset_words import named_folder, new_folder, read_line
from taketwo.errors import ConfigError

INTRODUCTION = """Usage: taketwo dataset rename OLD NEW

Moves a dataset, as in: taketwo dataset rename me/cube me/cube_day1
OLD is a folder, or a repo id, which is in LeRobot's home. NEW is a folder where
it begins with /, . or ~, or where OLD was one; otherwise a repo id. Nothing
that is there is replaced.

A dataset's files do not hold its name, so that nothing in them changes. What
was sent to the Hub, and its card there, keep the old one: send it again by
taketwo dataset push."""


@dataclass(frozen=True)
class RenameConfig:
    """`taketwo dataset rename` has no flags."""


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, RenameConfig, INTRODUCTION, arguments=2)
    if line is None:
        return 0
    if len(line.arguments) < 2:
        raise ConfigError("rename needs two names, as in: taketwo dataset rename me/cube me/cube_day1")
    from taketwo.datasets.editing import rename

    old, new = line.arguments
    root = named_folder(old)
    target = new_folder(new, beside=old)
    rename(root, target)
    print(f"moved {root} to {target.absolute()}; a copy on the Hub keeps its name")
    return 0
