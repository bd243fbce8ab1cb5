"""Addresses of what a gallery serves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from taketwo.live.gallery.folder import path_id
from taketwo.live.gallery.shelf import Card
from taketwo.live.gallery.told import setting

RRD_FILE = re.compile(r"(?P<name>.+)_episode_(?P<episode>\d{1,9})(_(?P<number>\d{1,9}))?\.rrd")
"""As `taketwo view --save=1` calls them."""


@dataclass(frozen=True)
class Links:
    """Makes addresses.

    Attributes:
        top: the gallery's folder, resolved.
        rrds: the Rerun recordings below it.
    """

    top: Path
    rrds: Sequence[Path] = ()

    def media(self, path: Path) -> str:
        """A file."""
        return f"/media/{path_id(path, self.top)}"

    def rerun(self, recording: str, episode: int, card: Card, number: int, beside: Iterable[Path]) -> str | None:
        """An episode for Rerun: a file that is there, or one that will be made; None without Rerun's SDK.

        Args:
            recording: id of the session.
            episode: its index there.
            number: its index in the dataset.
            beside: folders below which files of this name are the dataset's.
        """
        names = _names(card)
        there = [
            (int(match["number"] or 1), path)
            for path in self.rrds
            if (match := RRD_FILE.fullmatch(path.name))
            and match["name"] in names
            and int(match["episode"]) == number
            and any(path.is_relative_to(folder) for folder in beside)
        ]
        if there:
            return self.media(max(there)[1])
        if find_spec("rerun") is None:
            return None
        return f"/api/gallery/rrd?id={quote(recording, safe='')}&episode={episode}"


def _names(card: Card) -> set[str]:
    """What the dataset may be called in a file's name: its folder, or its repo id."""
    repo_ids = [setting(session.config, "dataset", "repo_id") for session in card.sessions]
    said = {repo_id.replace("/", "_") for repo_id in repo_ids if isinstance(repo_id, str)}
    return {card.root.name, f"{card.root.parent.name}_{card.root.name}"} | said
