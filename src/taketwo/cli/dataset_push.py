"""`taketwo dataset push`: send a dataset to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taketwo.cli.dataset_words import dataset_folder, is_folder, read_line
from taketwo.errors import ConfigError

INTRODUCTION = """Usage: taketwo dataset push DATASET [--repo_id=me/cube] [--flag=value ...]

Sends a dataset to the Hugging Face Hub, with a card that tells what it is. What
is there already is not sent again, so that a push that broke off goes on where
it was. DATASET is a folder, or a repo id such as me/cube."""


@dataclass(frozen=True)
class PushConfig:
    """Flags of `taketwo dataset push`.

    Attributes:
        repo_id: its name on the Hub, user/name; the same as DATASET where that is a repo id.
        private: make the repository a private one; one that is there already is not changed.
        tags: for the card, besides LeRobot and taketwo.
        license: for the card, its identifier on the Hub.
        branch: send to this branch, made where it is missing; the main one where not given.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
    """

    repo_id: str | None = None
    private: bool = False
    tags: tuple[str, ...] = ()
    license: str = "apache-2.0"
    branch: str | None = None
    root: Path | None = None


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, PushConfig, INTRODUCTION)
    if line is None:
        return 0
    config = line.config
    root = dataset_folder(line.arguments, config.root, "push")
    repo_id = config.repo_id
    if repo_id is None and line.arguments and not is_folder(line.arguments[0]):
        repo_id = line.arguments[0]
    if repo_id is None:
        raise ConfigError("under which name? Give it by --repo_id, such as --repo_id=me/cube")
    from taketwo.datasets.hub import push_to_hub

    url = push_to_hub(
        root,
        repo_id,
        private=config.private,
        tags=config.tags,
        license=config.license,
        branch=config.branch,
    )
    print(f"sent to {url}")
    return 0
