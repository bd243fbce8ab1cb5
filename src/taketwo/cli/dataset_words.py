"""The words after `taketwo dataset SUBCOMMAND`: flags, datasets and episodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.resolve import Source, resolve
from taketwo.cli.schema import alternatives, options_of
from taketwo.datasets.layout import INFO, WORK, check_repo_id, lerobot_home
from taketwo.datasets.places import dataset_place, dataset_root
from taketwo.datasets.reader import locate
from taketwo.errors import ConfigError

C = TypeVar("C")

BEGUN = (INFO, WORK)
"""Any of these tells a dataset's folder, also one that has no whole episode yet."""

WHICH = "which dataset? Give its folder or its repo id, as in: taketwo dataset {} me/cube"


@dataclass(frozen=True)
class Line(Generic[C]):
    """What a subcommand was given.

    Attributes:
        arguments: the words that are not flags.
        config: the flags.
    """

    arguments: list[str]
    config: C


def read_line(words: Sequence[str], cls: type[C], introduction: str, arguments: int | None = 1) -> Line[C] | None:
    """Read the words of a subcommand; None where its help was asked for, which is then printed.

    Args:
        cls: the configuration class of its flags.
        arguments: how many other words it takes at most; None for any number.

    Raises:
        ConfigError: a flag is unknown or has a wrong value, or there are too many words.
    """
    options = options_of(cls)
    switches = [name for name, option in options.items() if bool in alternatives(option.type)]
    line = read_flags(words, switches=("help", *switches))
    flags = dict(line.flags)
    if "help" in flags:
        print(f"{introduction}\n\n{options_help(cls, {})}" if options else introduction)
        return None
    if arguments is not None and len(line.arguments) > arguments:
        raise ConfigError(
            f"unexpected word {line.arguments[arguments]!r}; options are flags with '=' before their value, "
            "such as --root=data/cube"
        )
    return Line(line.arguments, resolve(cls, Source(flags), extra_flags=("help",)))


def dataset_folder(arguments: Sequence[str], root: Path | None, command: str) -> Path:
    """The folder of the dataset that DATASET or `--root` names.

    Raises:
        ConfigError: neither is given, or it is neither a folder nor a repo id.
        DatasetError: there is no dataset.
    """
    if arguments:
        return named_folder(arguments[0], root)
    if root is None:
        raise ConfigError(WHICH.format(command))
    return dataset_root(None, root)


def named_folder(text: str, root: Path | None = None) -> Path:
    """The folder of the dataset of this name: a folder, or a repo id.

    Raises:
        ConfigError: it is neither.
        DatasetError: there is no dataset.
    """
    if root is None and is_folder(text):
        return locate(text)
    return dataset_root(text, root)


def begun_folder(arguments: Sequence[str], root: Path | None, command: str) -> Path:
    """The same for a dataset that may have no whole episode yet; whether there is one is not looked at.

    Raises:
        ConfigError: neither is given, or it is neither a folder nor a repo id.
    """
    if not arguments and root is None:
        raise ConfigError(WHICH.format(command))
    if root is None and is_folder(arguments[0]):
        return Path(arguments[0]).expanduser()
    return dataset_place(arguments[0] if arguments else None, root, BEGUN)


def is_folder(text: str) -> bool:
    """Whether a name of a dataset is that of a folder, and not a repo id."""
    folder = Path(text).expanduser()
    return folder.is_absolute() or text.startswith((".", "~")) or any((folder / mark).exists() for mark in BEGUN)


def new_folder(text: str, beside: str) -> Path:
    """The folder of a dataset to be.

    Args:
        text: a folder where it begins with `/`, `.` or `~`, or where the dataset `beside` was named by one;
            otherwise a repo id, for a folder in LeRobot's home.

    Raises:
        ConfigError: it is not a repo id.
    """
    if not text.strip():
        raise ConfigError("the new dataset needs a name, such as me/cube, or a folder")
    if is_folder(text) or is_folder(beside):
        return Path(text).expanduser()
    check_repo_id(text)
    return lerobot_home() / text


def parsed_episodes(text: str, count: int, root: Path) -> list[int]:
    """The episodes that a text such as `1,4-6` names, in order, each once.

    Args:
        count: how many episodes there are.

    Raises:
        ConfigError: it is no such text, or there is no such episode.
    """
    chosen: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", piece)
        if match is None:
            raise ConfigError(f"--episodes: expected numbers and ranges such as 1,4-6, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f"--episodes: the range {piece.strip()} ends before it begins")
        if last >= count:
            from taketwo.datasets.selection import said_range

            raise ConfigError(f"--episodes: there is no episode {last}: {root} has {said_range(count)}")
        chosen.update(range(first, last + 1))
    return sorted(chosen)
