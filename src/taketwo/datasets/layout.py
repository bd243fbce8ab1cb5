"""Where the files of a LeRobot dataset lie (format v3.0), and where ours lie beside them.

LeRobot reads every Parquet file under `data/` and `meta/episodes/`, so nothing else may be there. What only
we know of a dataset is under `meta/taketwo/` and `traces/`, and what is not finished is under `.taketwo/`.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from taketwo.errors import ConfigError

FORMAT_VERSION = "v3.0"

FILES_PER_CHUNK = 1000
"""LeRobot's default for the files of one folder, as are the next two."""

DATA_FILE_MB = 100
VIDEO_FILE_MB = 200

INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes"
DATA = "data"
VIDEOS = "videos"

NOTES = "meta/taketwo/episodes"
SESSIONS = "meta/taketwo/sessions"
TRACES = "traces"
WORK = ".taketwo"
TAKES = ".taketwo/takes"

DATA_TEMPLATE = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_TEMPLATE = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

LEROBOT_HOME = "HF_LEROBOT_HOME"


@dataclass(frozen=True, order=True)
class FilePlace:
    """The number of a file: its folder and its place there."""

    chunk: int = 0
    file: int = 0

    def following(self, files_per_chunk: int = FILES_PER_CHUNK) -> FilePlace:
        """The next one."""
        return (
            FilePlace(self.chunk + 1, 0) if self.file + 1 >= files_per_chunk else FilePlace(self.chunk, self.file + 1)
        )

    def path(self, folder: str, suffix: str) -> str:
        """Relative path of the file of this number in a folder such as `data`."""
        return f"{folder}/chunk-{self.chunk:03d}/file-{self.file:03d}{suffix}"


def data_path(place: FilePlace) -> str:
    """Rows of episodes."""
    return place.path(DATA, ".parquet")


def video_path(key: str, place: FilePlace) -> str:
    """Pictures of one camera."""
    return place.path(f"{VIDEOS}/{key}", ".mp4")


def episodes_path(place: FilePlace) -> str:
    """What LeRobot knows of episodes."""
    return place.path(EPISODES, ".parquet")


def notes_path(place: FilePlace) -> str:
    """What only we know of the same episodes."""
    return place.path(NOTES, ".jsonl")


def session_path(number: int) -> str:
    """The configuration that episodes were recorded with."""
    return f"{SESSIONS}/session-{number:03d}.json"


def trace_path(episode: int) -> str:
    """Simulator states of one episode."""
    return f"{TRACES}/chunk-{episode // FILES_PER_CHUNK:03d}/episode-{episode:06d}.parquet"


def find_root(repo_id: str | None, root: Path | None) -> Path:
    """The folder of a dataset: `root` itself, or `repo_id` in LeRobot's home.

    Raises:
        ConfigError: neither is given, or the repo id is not one.
    """
    if repo_id is not None:
        check_repo_id(repo_id)
    if root is not None:
        return _absolute(root)
    if repo_id is None:
        raise ConfigError("which dataset? Give its repo_id, such as me/cube, or its root folder")
    return lerobot_home() / repo_id


def said_only_takes(root: Path) -> str:
    """What is wrong with a folder that has unfinished episodes only, and what to do."""
    return (
        f"{root} has no episode yet, but one that is being recorded or was cut off by a crash: taketwo dataset repair "
        f"{shlex.quote(str(root))} --salvage=true makes an episode of it, --discard=true removes it"
    )


def _absolute(root: Path) -> Path:
    try:
        return root.expanduser().absolute()  # an environment may change the current folder
    except RuntimeError as error:
        raise ConfigError(f"root {str(root)!r}: there is no such user") from error


def lerobot_home() -> Path:
    """`$HF_LEROBOT_HOME`, or `lerobot` in the Hugging Face cache."""
    if home := os.environ.get(LEROBOT_HOME):
        return Path(home).expanduser()
    hub = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(hub).expanduser() / "lerobot"


def check_repo_id(repo_id: str) -> None:
    """Refuse what the Hub refuses: it becomes a path here and a URL there.

    Raises:
        ConfigError: it is not `name` or `user/name`, of letters, digits, `-`, `_` and single dots.
    """
    part = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
    if not re.fullmatch(rf"(?:{part}/)?{part}", repo_id) or ".." in repo_id or "--" in repo_id:
        raise ConfigError(
            f"repo_id {repo_id!r} is not a dataset's name: user/name, of letters, digits, '-', '_' and '.', "
            "without '..', '--' or a path; a folder is given by root"
        )
