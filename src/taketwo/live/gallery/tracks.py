"""The videos of a session, and where in them its episodes are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from taketwo.datasets.features import IMAGE_PREFIX
from taketwo.datasets.metadata import EpisodeEntry
from taketwo.errors import DatasetError
from taketwo.live.gallery.shelf import Card, Shelf


class Tracks:
    """Collects videos as episodes are found in them."""

    def __init__(self, url_of: Callable[[Path], str]) -> None:
        self._url_of = url_of
        self._numbers: dict[tuple[str, Path], int] = {}
        self.videos: list[dict[str, Any]] = []

    def span(self, name: str, path: Path, episode: int, start_s: float, end_s: float) -> dict[str, Any]:
        """An episode is here.

        Args:
            name: of the camera, or of several.
            episode: its index in the session.
            start_s: when its first frame is shown, in seconds from the start of the file.
            end_s: when its last one ends.
        """
        number = self._numbers.setdefault((name, path), len(self.videos))
        if number == len(self.videos):
            self.videos.append({"name": name, "url": self._url_of(path), "episodes": []})
        if episode not in self.videos[number]["episodes"][-1:]:  # a discarded take has the index of the next one
            self.videos[number]["episodes"].append(episode)
        return {"video": number, "start_s": round(start_s, 6), "end_s": round(end_s, 6)}

    def of_dataset(
        self, shelf: Shelf, card: Card, entry: EpisodeEntry, episode: int, without: Collection[str] = ()
    ) -> Iterator[dict[str, Any]]:
        """An episode of a dataset in the videos of its cameras; files that are not there are left out.

        Args:
            episode: its index in the session.
            without: cameras that are not wanted.
        """
        assert card.info is not None
        for key, span in entry.videos.items():
            camera = key.removeprefix(IMAGE_PREFIX)
            if camera in without:
                continue
            try:
                path = shelf.refuse_outside(card.root, card.info.video_file(key, span.place))
            except DatasetError:
                continue
            yield self.span(camera, path, episode, span.start_s, span.end_s)
