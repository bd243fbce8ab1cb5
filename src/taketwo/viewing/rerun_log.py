"""An episode as a Rerun recording."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from taketwo.datasets.reader import Dataset, RecordedEpisode
from taketwo.errors import DatasetError
from taketwo.viewing.about import about
from taketwo.viewing.blueprint import ABOUT, TASK
from taketwo.viewing.columns import FRAME_INDEX, describe_signal, jpeg, send_signal, time_columns
from taketwo.viewing.signals import Signal, signals_of

if TYPE_CHECKING:
    import rerun as rr

TIMESTAMP = "timestamp"


@dataclass(frozen=True)
class PictureConfig:
    """How pictures are handed to the viewer.

    Attributes:
        codecs: videos of these are handed over as they are; all other pictures as JPEG.
        batch_size: JPEG pictures made and handed over at a time.
        threads: that make JPEG pictures; 0 makes them on the caller's.
    """

    codecs: Collection[str]
    batch_size: int = 32
    threads: int = 4


class EpisodeLog:
    """Logs one episode: entities are called as the dataset's columns, with one below them for each dimension.

    Every row is at its `frame_index` (a sequence) and its `timestamp` (a duration), as the dataset has them.
    """

    def __init__(self, dataset: Dataset, index: int, name: str, pictures: PictureConfig, tolerance_s: float) -> None:
        """Read what is not pictures, and check it.

        Args:
            name: what the dataset is called.
            tolerance_s: by how much a frame's time in its video may differ from its row's timestamp.

        Raises:
            ConfigError: there is no such episode.
            DatasetError: it is damaged, or a frame is off by more than is tolerated.
        """
        self.name = name
        self.dataset = dataset
        self.episode: RecordedEpisode = dataset.episode(index)
        self.cameras = dataset.camera_columns
        self.signals = signals_of(dataset.info.features)
        self._pictures = pictures
        self._rows = dataset.rows(index)
        self._tasks = dataset.row_tasks(index)
        for camera in self.cameras:
            self._check_times(camera, tolerance_s)
        self._videos = {key: video for key in dataset.info.videos if (video := self._video(key)) is not None}

    @property
    def shown_as(self) -> dict[str, str]:
        """Camera to how its pictures are handed over: a codec such as `h264`, or `jpeg`."""
        return {
            camera: self._videos[key].codec if key in self._videos else "jpeg" for camera, key in self.cameras.items()
        }

    @property
    def pictures(self) -> int:
        """How many pictures have to be made into JPEG."""
        return self.episode.length * (len(self.cameras) - len(self._videos))

    def send(self, recording: rr.RecordingStream, made: Callable[[int], None] = lambda number: None) -> None:
        """Log everything.

        Args:
            made: called with the number of JPEG pictures that were handed over since the last call.

        Raises:
            DatasetError: pictures are damaged.
        """
        import rerun as rr

        page = about(self.dataset, self.episode, self.name)
        recording.log(ABOUT, rr.TextDocument(page, media_type="text/markdown"), static=True)
        self._send_tasks(recording)
        for signal in self.signals:
            self._send_signal(recording, signal)
        for camera, key in self.cameras.items():
            if key in self._videos:
                self._send_video(recording, key)
            else:
                self._send_jpeg(recording, camera, key, made)

    def _times(self, rows: slice | Sequence[int] = slice(None)) -> list[rr.TimeColumn]:
        # The column is float32, whose rounding would show as 19.999999 ms.
        return time_columns(self._rows[FRAME_INDEX][rows], self._rows[TIMESTAMP][rows].astype(np.float64))

    def _send_tasks(self, recording: rr.RecordingStream) -> None:
        import rerun as rr

        changes = [row for row, task in enumerate(self._tasks) if row == 0 or task != self._tasks[row - 1]]
        texts = [self._tasks[row] for row in changes]
        recording.send_columns(TASK, self._times(changes), rr.TextLog.columns(text=texts))

    def _send_signal(self, recording: rr.RecordingStream, signal: Signal) -> None:
        values = self._rows[signal.key].reshape(self.episode.length, -1).astype(np.float64)
        describe_signal(recording, signal)
        send_signal(recording, signal, self._times(), values)

    def _send_video(self, recording: rr.RecordingStream, key: str) -> None:
        import rerun as rr

        from taketwo.viewing.clip import cut

        span = self.episode.entry.videos[key]
        clip = cut(self._videos[key].path, span.start_s, span.end_s)
        video = rr.AssetVideo(contents=clip.mp4, media_type="video/mp4")
        entity = rr.new_entity_path([key])
        recording.log(entity, video, static=True)
        shown = np.sort(video.read_frame_timestamps_nanos())
        numbers = clip.numbers(span.start_s + self._rows[TIMESTAMP].astype(np.float64))
        references = rr.VideoFrameReference.columns_nanos(shown[numbers])
        recording.send_columns(entity, self._times(), references)

    def _send_jpeg(self, recording: rr.RecordingStream, camera: str, key: str, made: Callable[[int], None]) -> None:
        import rerun as rr

        entity = rr.new_entity_path([key])
        size = self._pictures.batch_size
        with ThreadPoolExecutor(max(1, self._pictures.threads)) as pool:
            for start in range(0, self.episode.length, size):
                frames = self.dataset.frames(self.episode.index, camera, start, start + size)
                coded = list(pool.map(jpeg, frames) if self._pictures.threads else map(jpeg, frames))
                columns = rr.EncodedImage.columns(blob=coded, media_type=["image/jpeg"] * len(coded))
                recording.send_columns(entity, self._times(slice(start, start + size)), columns)
                made(len(coded))

    def _check_times(self, camera: str, tolerance_s: float) -> None:
        stamps = self._rows[TIMESTAMP]
        # Compared as float32, which the column is, so that its rounding is nobody's fault.
        times = self.dataset.frame_times(self.episode.index, camera).astype(stamps.dtype)
        if len(times) != len(stamps):
            raise DatasetError(
                f"episode {self.episode.index}, camera {camera}: {len(times)} frames for {len(stamps)} rows"
            )
        off = np.abs(stamps - times)
        worst = int(off.argmax()) if off.size else 0
        if off.size and off[worst] > tolerance_s:
            raise DatasetError(
                f"episode {self.episode.index}, camera {camera}: frame {worst} is shown at {times[worst]:.6f} s "
                f"and its row says {stamps[worst]:.6f} s; {tolerance_s:g} s are tolerated (--tolerance-s)"
            )

    def _video(self, key: str) -> _Video | None:
        """The video of a camera, where it can be handed over as it is."""
        from taketwo.viewing.clip import codec_of

        path = self.dataset.root / self.dataset.info.video_file(key, self.episode.entry.videos[key].place)
        codec = codec_of(path)
        return _Video(path, codec) if codec is not None and codec in self._pictures.codecs else None


@dataclass(frozen=True)
class _Video:
    path: Path
    codec: str
