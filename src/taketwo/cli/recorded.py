"""Recorded episodes on the command line: which ones, and the environments that they were recorded in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from taketwo.cli.resolve import Source, resolve
from taketwo.datasets.layout import session_path
from taketwo.datasets.places import dataset_root
from taketwo.datasets.reader import Dataset
from taketwo.errors import ConfigError

T = TypeVar("T")

EpisodeChoice = int | Literal["all"]


def open_dataset(repo_id: str | None, root: Path | None) -> Dataset:
    """The dataset that `--dataset.repo_id` or `--dataset.root` names.

    Raises:
        ConfigError: neither does, or the repo id is not one.
        DatasetError: there is none, or it is damaged.
    """
    if repo_id is None and root is None:
        raise ConfigError("which dataset? Give --dataset.repo_id, such as me/cube, or its folder by --dataset.root")
    return Dataset.open(dataset_root(repo_id, root, "--dataset.root"))


def one_or_all(dataset: Dataset, choice: EpisodeChoice) -> list[int]:
    """The indices of the episodes that were asked for.

    Raises:
        ConfigError: there is no such episode, or none at all.
    """
    if choice == "all" and dataset.episodes:
        return list(range(len(dataset.episodes)))
    return [dataset.episode(0 if choice == "all" else choice).index]


def only(flags: Mapping[str, str | None], *sections: str) -> dict[str, str | None]:
    """The flags of these sections, and those of these names."""
    return {name: text for name, text in flags.items() if name.partition(".")[0] in sections}


def stored_environment(dataset: Dataset, index: int) -> Mapping[str, Any] | None:
    """The environment that an episode was recorded in, as plain values; None where it is not known.

    Raises:
        DatasetError: what is stored is damaged.
    """
    stored = (dataset.session_config(index) or {}).get("env")
    return stored if isinstance(stored, Mapping) and isinstance(stored.get("type"), str) else None


def source_for(flags: Mapping[str, str | None], dataset: Dataset, index: int) -> Source:
    """The environment that an episode was recorded in, and flags over it.

    With another `--env.type` nothing of the stored one is used.

    Raises:
        ConfigError: it is not known, and no `--env.type` is given.
    """
    stored = stored_environment(dataset, index)
    asked = flags.get("env.type")
    if stored is None and not asked:
        raise ConfigError(
            f"episode {index} of {dataset.root} does not tell which environment it was recorded in: give it, "
            "such as --env.type=aloha"
        )
    if stored is None or asked not in (None, stored["type"]):
        return Source(flags)
    note = dataset.episode(index).note
    assert note is not None
    return Source(flags, {"env": stored}, dataset.root / session_path(note.session))


def resolved(cls: type[T], source: Source) -> T:
    """`resolve`, for flags together with a stored environment.

    Raises:
        ConfigError: something that was given is wrong.
    """
    return resolve(cls, source, extra_flags=("help",))
