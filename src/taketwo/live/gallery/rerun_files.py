"""Rerun recordings of episodes, made when somebody asks for them, and kept for a while."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable
from pathlib import Path

from taketwo.datasets.reader import Dataset
from taketwo.errors import TakeTwoError
from taketwo.viewing.rerun_log import EpisodeLog, PictureConfig

PLAYED = {"h264", "av1"}
"""Codecs of videos that Rerun's viewers play, so that they are put in as they are."""

LARGEST_BYTES = 1 << 30
KEPT_BYTES = 2 << 30

JPEG_BYTES_PER_PIXEL = 0.5
"""Of a picture with a lot to see in it, at the quality that `EpisodeLog` has; it is 0.1 to 0.3 as a rule."""

TOLERANCE_FRAMES = 0.5


class RerunFiles:
    """Makes them in a temporary folder. For one thread at a time."""

    def __init__(self, largest_bytes: int = LARGEST_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
        """Nothing is made yet.

        Args:
            largest_bytes: an episode that may come out larger is refused.
            kept_bytes: beyond that, those that were not asked for longest are removed.
        """
        self._largest_bytes = largest_bytes
        self._kept_bytes = kept_bytes
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._made: dict[Hashable, Path] = {}

    def of(self, dataset: Dataset, index: int, version: Hashable) -> Path:
        """A recording of an episode, that stays at least until the next one is asked for.

        Args:
            version: another one when the dataset has changed.

        Raises:
            DatasetError: the episode cannot be read.
            MissingExtraError: Rerun's SDK is not installed.
            TakeTwoError: it may come out too large, or cannot be written.
        """
        key = (dataset.root, index, version)
        path = self._made.pop(key, None)
        if path is None or not path.exists():
            path = self._make(dataset, index)
        self._made[key] = path
        self._make_room(path)
        return path

    def close(self) -> None:
        """Remove all."""
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def _folder(self) -> Path:
        if self._temporary is None:
            # Hidden, so that it is not found where the gallery's folder is the one for temporary files.
            self._temporary = tempfile.TemporaryDirectory(prefix=".taketwo-gallery-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    def _make(self, dataset: Dataset, index: int) -> Path:
        from taketwo.viewing.blueprint import blueprint
        from taketwo.viewing.sdk import load_rerun
        from taketwo.viewing.targets import write_rrd

        load_rerun()
        name = dataset.root.resolve().name
        pictures = PictureConfig(PLAYED, threads=1)
        episode = EpisodeLog(dataset, index, name, pictures, TOLERANCE_FRAMES / dataset.fps)
        if _bytes_at_most(episode) > self._largest_bytes:
            raise TakeTwoError(
                f"episode {index} of {name} would be larger than {self._largest_bytes / 1e9:.1f} GB: make it by "
                "taketwo view --save=1"
            )
        layout = blueprint(list(episode.cameras.values()), episode.signals)
        return write_rrd(self._folder, f"{name}_episode_{index}", name, index, layout, episode.send)

    def _make_room(self, newest: Path) -> None:
        sizes = {key: path.stat().st_size for key, path in self._made.items() if path.exists()}
        for key, path in list(self._made.items()):
            if sum(sizes.values()) <= self._kept_bytes or path == newest:
                return
            path.unlink(missing_ok=True)
            del self._made[key]
            sizes.pop(key, None)


def _bytes_at_most(episode: EpisodeLog) -> float:
    """How large a recording can become, by its pictures; the rest is small beside them."""
    dataset, length = episode.dataset, episode.episode.length
    total = 0.0
    for camera, way in episode.shown_as.items():
        if way == "jpeg":
            size = dataset.cameras[camera]
            total += length * size.height * size.width * JPEG_BYTES_PER_PIXEL
        else:
            key = episode.cameras[camera]
            file = dataset.root / dataset.info.video_file(key, episode.episode.entry.videos[key].place)
            total += file.stat().st_size  # other episodes of the file are left out, but it may not be even
    return total
