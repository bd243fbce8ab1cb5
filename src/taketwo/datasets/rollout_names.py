"""Outcomes out of the file names that OpenVLA's evaluation scripts give to their videos.

Such a name is `2024_09_01-12_00_00--openvla--episode=12--success=False--task=pick_up_the_soup.mp4`
(`experiments/robot/libero/libero_utils.py` in OpenVLA's repository).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from taketwo.errors import ConfigError

VIDEO_SUFFIXES = (".mp4", ".avi", ".gif", ".mkv", ".mov", ".webm")

VERDICTS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class RolloutName:
    """What a video's name tells.

    Attributes:
        episode: its number, as the script counted.
        success: None where nobody judged.
        task: the instruction as the name has it: shortened, with `_` for blanks; empty where it is not told.
        rest: what else stands between the `--`, in order, such as the date and the policy.
    """

    episode: int
    success: bool | None
    task: str = ""
    rest: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """A video whose name tells its outcome."""

    path: Path
    name: RolloutName


def parse_rollout_name(name: str) -> RolloutName | None:
    """Read a file name, with or without its folder; None where it has no episode number or no verdict.

    The fields may stand in any order and in upper or lower case. A piece without a field's name that follows
    the task belongs to it, since a task may have a `--` in it.
    """
    stem, suffix = os.path.splitext(os.path.basename(name))  # noqa: PTH119, PTH122  (a name, maybe with dots)
    stem = stem if suffix.lower() in VIDEO_SUFFIXES else stem + suffix
    found: dict[str, str] = {}
    rest: list[str] = []
    last = ""
    for piece in stem.split("--"):
        key, equals, value = piece.partition("=")
        key = key.strip().lower()
        if equals and key in ("episode", "success", "task") and key not in found:
            found[key], last = value, key
        elif last == "task" and not equals:
            found["task"] += f"--{piece}"
        else:
            rest.append(piece)
            last = ""
    episode, verdict = found.get("episode", "").strip(), found.get("success", "").strip().lower()
    if not (episode.isascii() and episode.isdigit()) or verdict not in VERDICTS:
        return None
    return RolloutName(int(episode), VERDICTS[verdict], found.get("task", ""), tuple(rest))


def list_rollouts(folder: Path) -> list[Rollout]:
    """The videos below a folder whose names tell an outcome, by folder and then by episode.

    Raises:
        ConfigError: it is not a folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: give the one with the videos")
    found = [
        Rollout(Path(parent) / file, name)
        for parent, _, files in os.walk(folder)
        for file in files
        if file.lower().endswith(VIDEO_SUFFIXES) and (name := parse_rollout_name(file)) is not None
    ]
    return sorted(found, key=lambda rollout: (rollout.path.parent, rollout.name.episode, rollout.path.name))
