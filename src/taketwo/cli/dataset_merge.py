"""`taketwo dataset merge`: put several datasets into a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taketwo.cli.dataset_words import named_folder, new_folder, read_line
from taketwo.cli.wording import said_count
from taketwo.datasets.metadata import Info
from taketwo.errors import ConfigError

INTRODUCTION = """Usage: taketwo dataset merge A B [...] --into=NEW

Puts the episodes of several datasets, one after the other, into a new one. They
have to agree in fps, robot and columns. Nothing is encoded again, and they stay
as they are. A and B are folders, or repo ids such as me/cube. NEW is a folder
where it begins with /, . or ~, or where A was one; otherwise a repo id."""


@dataclass(frozen=True)
class MergeConfig:
    """Flags of `taketwo dataset merge`.

    Attributes:
        into: the new dataset.
    """

    into: str


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, MergeConfig, INTRODUCTION, arguments=None)
    if line is None:
        return 0
    if len(line.arguments) < 2:
        raise ConfigError("merge needs two datasets or more, as in: taketwo dataset merge me/a me/b --into=me/both")
    from taketwo.datasets.editing import merge

    target = new_folder(line.config.into, beside=line.arguments[0])
    merge([named_folder(name) for name in line.arguments], target)
    info = Info.load(target)
    print(f"{said_count(info.total_episodes, 'episode')} with {said_count(info.total_frames, 'row')} in {target}")
    return 0
