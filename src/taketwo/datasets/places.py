"""Which folder is meant by a repo id, a root folder, or both."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from taketwo.datasets.layout import INFO, TAKES, find_root, said_only_takes
from taketwo.errors import DatasetError


def dataset_place(repo_id: str | None, root: Path | None, marks: Sequence[str] = (INFO,)) -> Path:
    """Where a dataset is, or would be: `root` itself, or `repo_id` in it or in LeRobot's home.

    In `root` it is looked for where `root` itself is no dataset.

    Args:
        marks: paths, any of which a dataset's folder has.

    Raises:
        ConfigError: neither is given, or the repo id is not one.
    """
    folder = find_root(repo_id, root)
    if repo_id is None or root is None:
        return folder
    inner = folder / repo_id
    holds = any((inner / mark).exists() for mark in marks) and not any((folder / mark).exists() for mark in marks)
    return inner if holds else folder


def dataset_root(repo_id: str | None, root: Path | None, flag: str = "--root") -> Path:
    """The folder of the dataset that was named, as in `dataset_place`.

    Args:
        flag: the command's for `root`, for messages.

    Raises:
        ConfigError: neither is given, or the repo id is not one.
        DatasetError: there is no dataset of this repo id; with how to get it.
    """
    folder = dataset_place(repo_id, root)
    if repo_id is None or (folder / INFO).exists():
        return folder
    check_not_only_takes(folder)
    target = folder / repo_id if root is not None and folder.exists() else folder
    raise DatasetError(
        f"there is no dataset {repo_id!r} in {folder}: give its folder by {flag}, or download it: "
        f"hf download {repo_id} --repo-type=dataset --local-dir={shlex.quote(str(target))}"
    )


def check_not_only_takes(folder: Path) -> None:
    """Refuse a folder that has no whole episode yet.

    Raises:
        DatasetError: it has unfinished ones only; with what to do about them.
    """
    if (folder / TAKES).exists() and not (folder / INFO).exists():
        raise DatasetError(said_only_takes(folder))
