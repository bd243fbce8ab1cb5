"""What there is below a folder, as the page shows it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taketwo.errors import ConfigError, DatasetError, blaming, one_line
from taketwo.live.gallery.dataset_recording import DatasetRecording
from taketwo.live.gallery.films import FilmRates, films_of
from taketwo.live.gallery.folder import MOST_FOLDERS, Found, NotInGalleryError, look_into, path_id, shown
from taketwo.live.gallery.links import Links
from taketwo.live.gallery.recording import BrokenRecording, Overview, Recording
from taketwo.live.gallery.rerun_files import RerunFiles
from taketwo.live.gallery.session_recording import SessionRecording
from taketwo.live.gallery.shelf import Shelf, nearest, sessions_by_digest
from taketwo.live.gallery.signals import signals_of_episode
from taketwo.live.gallery.told import SessionText, read_session


class Gallery:
    """Finished and running recordings below a folder. It is looked at anew for every answer.

    May be used from several threads.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet.

        Raises:
            ConfigError: there is no such folder.
        """
        self._folder = folder
        try:
            self.top = folder.expanduser().resolve(strict=True)
            next(self.top.iterdir(), None)
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or "it cannot be found"
            raise ConfigError(f"{shown(folder)} cannot be looked into: {why}; give a folder with recordings") from error
        self._lock = threading.Lock()
        self._texts: dict[Path, tuple[tuple[int, int, int], SessionText]] = {}
        self._shelf = Shelf(self.top)
        self._rates = FilmRates()
        self._rerun = RerunFiles()

    def listing(self) -> dict[str, Any]:
        """All entries, the newest first."""
        with self._lock:
            found = look_into(self.top)
            lines = [_overview(recording) for recording in self._recordings(found)]
        lines.sort(key=lambda line: (line["started"] or 0.0, line["id"]), reverse=True)
        note = None if found.everything else f"only the nearest {MOST_FOLDERS} folders were looked into"
        return {"folder": shown(self._folder), "note": note, "sessions": lines}

    def session(self, name: str) -> dict[str, Any]:
        """One entry with its episodes.

        Raises:
            NotInGalleryError: there is none of this id.
            DatasetError: it cannot be read.
        """
        with self._lock, blaming(DatasetError, f"{name} cannot be read"):
            return self._find(name).detail()

    def signals(self, name: str, episode: int) -> dict[str, Any]:
        """The rows of an episode, as `signals_of_episode` gives them.

        Raises:
            NotInGalleryError: there is no such entry or episode, or no dataset has it.
            DatasetError: it cannot be read.
        """
        with self._lock, blaming(DatasetError, f"{name} cannot be read"):
            card, number = self._find(name).rows(episode)
            with self._shelf.open(card) as dataset:
                self._shelf.refuse_outside(card.root, dataset.info.data_file(dataset.episodes[number].entry.data))
                return signals_of_episode(dataset, number)

    def rerun(self, name: str, episode: int) -> Path:
        """A Rerun recording of an episode, which is made where that was not done before. For one thread at a time.

        Raises:
            NotInGalleryError, DatasetError: as `signals`.
            MissingExtraError: Rerun's SDK is not installed.
            TakeTwoError: it would be too large, or cannot be written.
        """
        with self._lock, blaming(DatasetError, f"{name} cannot be read"):
            card, number = self._find(name).rows(episode)
            dataset = self._shelf.open(card)
        with dataset, blaming(DatasetError, f"episode {episode} of {name} cannot be read"):
            entry = dataset.episodes[number].entry
            files = [dataset.info.data_file(entry.data)]
            files += [dataset.info.video_file(key, span.place) for key, span in entry.videos.items()]
            for file in files:
                self._shelf.refuse_outside(card.root, file)
            return self._rerun.of(dataset, number, card.signature)

    def close(self) -> None:
        """Remove what was made."""
        self._rerun.close()

    def _find(self, name: str) -> Recording:
        for recording in self._recordings(look_into(self.top)):
            if recording.id == name:
                return recording
        raise NotInGalleryError(f"there is no recording {one_line(name)!r} in this folder")

    def _recordings(self, found: Found) -> Iterator[Recording]:
        texts = {path: self._text(path) for path in found.sessions}
        self._texts = {path: kept for path, kept in self._texts.items() if path in texts}
        cards = self._shelf.look(found.datasets)
        links = Links(self.top, found.rrds)
        told = {path: text.told for path, text in texts.items() if text.told is not None}
        films = films_of(told, found.videos)
        candidates = sessions_by_digest(cards)
        used: set[tuple[Path, int]] = set()
        for path, text in texts.items():
            name = path_id(path, self.top)
            if text.told is not None:
                recorded = nearest(text.told, path.parent, candidates.get(text.digest, ()))
                if recorded is not None:
                    used.add((recorded[0].root, recorded[1].number))
                yield SessionRecording(name, path, text.told, films[path], recorded, self._shelf, self._rates, links)
            elif text.note is not None:
                yield BrokenRecording(name, path, text.note)
        for card in cards:
            if not card.sessions or any((card.root, session.number) not in used for session in card.sessions):
                yield DatasetRecording(path_id(card.root, self.top), card, self._shelf, links)

    def _text(self, path: Path) -> SessionText:
        """What a session's file tells, read again when it has changed."""
        try:
            found = path.stat()
        except OSError:
            return SessionText()
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._texts.get(path)
        if known is None or known[0] != version:
            known = self._texts[path] = version, read_session(path)
        return known[1]


def _overview(recording: Recording) -> dict[str, Any]:
    """Its line in the list, whatever it is made of."""
    try:
        return recording.overview()
    except Exception as error:  # noqa: BLE001 - files of others may hold anything, and must not hide the rest
        note = f"it cannot be read: {type(error).__name__}: {one_line(error)}"
        return Overview(recording.id, recording.id, complete=False, note=note).plain()
