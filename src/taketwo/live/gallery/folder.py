"""What lies below a folder, found anew on every request."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from taketwo.datasets.layout import INFO
from taketwo.errors import TakeTwoError

MOST_FOLDERS = 20_000
"""Folders that are looked into, the nearest first: somebody may name the whole disk."""

DATASET_FOLDERS = {"meta", "data", "videos", "traces", "images"}
"""What a dataset keeps its own files in."""

SESSION_FILE = re.compile(r"session.*\.json")


class NotInGalleryError(TakeTwoError):
    """There is no such session, episode or file below the gallery's folder."""


@dataclass(frozen=True)
class Found:
    """Files below a folder. Links are not followed, and hidden files and folders not looked at.

    Attributes:
        sessions: what may be files of sessions.
        datasets: folders of datasets.
        videos: by folder, the names of its MP4 files.
        rrds: Rerun recordings.
        everything: whether all folders were looked into.
    """

    sessions: list[Path] = field(default_factory=list)
    datasets: list[Path] = field(default_factory=list)
    videos: dict[Path, set[str]] = field(default_factory=dict)
    rrds: list[Path] = field(default_factory=list)
    everything: bool = True


def look_into(top: Path, most_folders: int = MOST_FOLDERS) -> Found:
    """Find what there is; folders that cannot be read are left out."""
    found = Found()
    waiting = deque([top])
    for _ in range(most_folders):
        if not waiting:
            return found
        folder = waiting.popleft()
        folders, files = _entries(folder)
        is_dataset = "meta" in folders and (folder / INFO).is_file()
        if is_dataset:
            found.datasets.append(folder)
        waiting += [folder / name for name in folders if not (is_dataset and name in DATASET_FOLDERS)]
        found.sessions.extend(folder / name for name in files if SESSION_FILE.fullmatch(name))
        found.rrds.extend(folder / name for name in files if name.endswith(".rrd"))
        if videos := {name for name in files if name.endswith(".mp4")}:
            found.videos[folder] = videos
    return Found(found.sessions, found.datasets, found.videos, found.rrds, everything=not waiting)


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of folders and of regular files."""
    folders, files = [], []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                files.append(entry.name)
    return folders, files


def is_inside(path: Path, top: Path) -> bool:
    """Whether a path leads to something that is there, and below a folder.

    Args:
        top: resolved, without links.
    """
    try:
        return path.resolve(strict=True).is_relative_to(top)
    except (OSError, ValueError, RuntimeError):  # too long, NUL in it, links in a circle
        return False


def links_below(folder: Path) -> Iterator[Path]:
    """Every link in a tree; they are not followed."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                yield path


def path_id(path: Path, top: Path) -> str:
    """The path below the folder as ASCII, with `%` for all that is not; file names need not be text."""
    return quote(os.fsencode(path.relative_to(top).as_posix()))


def shown(path: Path) -> str:
    """A path as text that every encoding takes."""
    return os.fsencode(path).decode("utf-8", "replace")
