"""The datasets below a folder: what each says of itself, and its rows."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from taketwo.datasets.features import ACTION, STATE
from taketwo.datasets.layout import INFO, SESSIONS, FilePlace
from taketwo.datasets.metadata import Info
from taketwo.datasets.reader import Dataset
from taketwo.datasets.transaction import commit_pending
from taketwo.errors import DatasetError, TakeTwoError, blaming, one_line
from taketwo.live.gallery.folder import is_inside, links_below
from taketwo.live.gallery.told import LARGEST_BYTES, ToldSession, digest_of

SAME_START_S = 5.0
"""How far the starts of a session may lie apart in its own file, which has whole seconds, and in its dataset."""

Signature = tuple[tuple[str, int, int, int], ...]


class _Spec(msgspec.Struct, frozen=True):
    action_units: list[str] = []
    cameras: dict[str, Any] = {}


class _Described(msgspec.Struct, frozen=True):
    started_at: datetime
    config: dict[str, Any]
    spec: _Spec = _Spec()


@dataclass(frozen=True)
class RecordedSession:
    """A session that a dataset was recorded in.

    Attributes:
        number: its episodes' notes have it.
        started: Unix time, seconds.
        digest: of its configuration, as in `SessionText`.
        units: of the action's dimensions.
        cameras: that its observations carried.
    """

    number: int
    started: float
    digest: str
    config: dict[str, Any]
    units: tuple[str, ...]
    cameras: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """What a dataset says of itself.

    Attributes:
        signature: another one when anything under `meta/` has changed.
        info: None where it cannot be read.
        note: why not.
    """

    root: Path
    signature: Signature
    info: Info | None
    sessions: tuple[RecordedSession, ...] = ()
    note: str | None = None

    def names(self, column: str) -> list[str]:
        """The dimensions of a column; none where the dataset does not have it."""
        feature = self.info.features.get(column) if self.info else None
        return list(feature.dimension_names) if feature else []

    def signals(self, session: RecordedSession | None) -> dict[str, Any] | None:
        """What the columns of action and state are called."""
        action = self.names(ACTION)
        units = session.units if session and len(session.units) == len(action) else ()
        return {"action": {"names": action, "units": list(units)}, "state": {"names": self.names(STATE)}}


class Shelf:
    """Datasets, read again when they change. For one thread at a time."""

    def __init__(self, top: Path) -> None:
        """Args:
        top: the gallery's folder, resolved; nothing outside of it is read.
        """
        self._top = top
        self._cards: dict[Path, Card] = {}
        self._opened: dict[Path, tuple[Signature, Dataset]] = {}

    def look(self, roots: Iterable[Path]) -> list[Card]:
        """What the datasets in these folders say of themselves; others are forgotten."""
        self._cards = {root: self._card(root) for root in roots}
        self._opened = {root: opened for root, opened in self._opened.items() if root in self._cards}
        return list(self._cards.values())

    def open(self, card: Card) -> Dataset:
        """A dataset, for whoever closes it. One that is being changed is as it was before, where that is known.

        Raises:
            DatasetError: it cannot be read, or leads out of the gallery's folder.
        """
        signature, known = self._opened.get(card.root, (None, None))
        if known is None or signature != card.signature:
            try:
                known = self._read(card)
            except DatasetError:
                if known is None or not commit_pending(card.root):
                    raise
            else:
                self._opened[card.root] = card.signature, known
        return Dataset(known.root, known.info, known.tasks, known.episodes)

    def refuse_outside(self, root: Path, relative: str) -> Path:
        """A file of a dataset.

        Raises:
            DatasetError: it is not there, or lies outside of the gallery's folder.
        """
        path = root / relative
        if not is_inside(path, self._top):
            raise DatasetError(f"{relative} of {root.name} is not there, or not in the gallery's folder")
        return path

    def _card(self, root: Path) -> Card:
        try:
            signature = tuple(sorted(_signature(root / "meta")))
            known = self._cards.get(root)
            if known is not None and known.signature == signature:
                return known
            self._refuse_links(root / "meta")
            if (root / INFO).stat().st_size > LARGEST_BYTES:
                raise DatasetError(f"{INFO} is larger than {LARGEST_BYTES >> 20} MB")
            info = Info.load(root)
            _check(info)
        except (TakeTwoError, OSError, RecursionError) as error:
            return Card(root, (), None, note=one_line(error).replace(f"{root}/", ""))
        return Card(root, signature, info, tuple(_sessions(root)))

    def _read(self, card: Card) -> Dataset:
        if card.note is not None:
            raise DatasetError(card.note)
        with blaming(DatasetError, f"{card.root.name} cannot be read"):
            self._refuse_links(card.root)
            return Dataset.open(card.root)

    def _refuse_links(self, folder: Path) -> None:
        for link in links_below(folder):
            if not is_inside(link, self._top):
                raise DatasetError(f"the link {link.name} leads out of the gallery's folder")


Candidates = Sequence[tuple[Card, RecordedSession]]


def sessions_by_digest(cards: Iterable[Card]) -> dict[str, list[tuple[Card, RecordedSession]]]:
    """The sessions that datasets were recorded in, by their configuration."""
    found: dict[str, list[tuple[Card, RecordedSession]]] = {}
    for card in cards:
        for session in card.sessions:
            found.setdefault(session.digest, []).append((card, session))
    return found


def nearest(told: ToldSession, folder: Path, candidates: Candidates) -> tuple[Card, RecordedSession] | None:
    """Where a session was recorded as a dataset: found by its start, since folders may be moved.

    Args:
        folder: of the session's own file. Of several copies of a dataset, the one nearest to it counts.
        candidates: sessions of the same configuration.
    """
    start = told.started_at.timestamp()
    fitting = [found for found in candidates if abs(found[1].started - start) < SAME_START_S]
    if not fitting:
        return None
    return min(
        fitting, key=lambda found: (-_shared(folder, found[0].root), abs(found[1].started - start), found[0].root)
    )


def _shared(one: Path, other: Path) -> int:
    """How many folders two paths have in common."""
    return len(Path(os.path.commonpath([one, other])).parts)


def _signature(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _signature(Path(entry.path))
            else:
                stat = entry.stat(follow_symlinks=False)
                yield entry.path, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _check(info: Info) -> None:
    """Refuse a rate that is none, and paths that lead out of the dataset."""
    if not isinstance(info.fps, int | float) or not 0 < info.fps < math.inf:
        raise DatasetError(f"{INFO} is damaged: fps is {info.fps!r}")
    relatives = [info.data_file(FilePlace()), *(info.video_file(key, FilePlace()) for key in info.videos)]
    for relative in relatives:
        if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts or "\0" in relative:
            raise DatasetError(f"{INFO} is damaged: {relative!r} is not inside of the dataset")


def _sessions(root: Path) -> Iterator[RecordedSession]:
    """What it was recorded with; a file that cannot be read tells nothing."""
    for path in sorted((root / SESSIONS).glob("session-*.json")):
        number = re.fullmatch(r"session-(\d{1,9})\.json", path.name)
        if number is None:
            continue
        try:
            told = msgspec.json.decode(path.read_bytes(), type=_Described)
            yield RecordedSession(
                number=int(number[1]),
                started=told.started_at.timestamp(),
                digest=digest_of(told.config),
                config=told.config,
                units=tuple(told.spec.action_units),
                cameras=tuple(told.spec.cameras),
            )
        except (OSError, ValueError, RecursionError, OverflowError):
            continue
