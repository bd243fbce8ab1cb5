"""Datasets as PyTorch's data loaders take them. Needs torch (`taketwo[torch]`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import BOOKKEEPING
from taketwo.datasets.reader import Dataset
from taketwo.errors import ConfigError, MissingExtraError, one_of

try:
    import torch
    from torch.utils.data import Dataset as TorchBase
except ImportError as error:
    raise MissingExtraError("torch", "torch") from error

TOLERANCE_S = 1e-4
"""LeRobot's default for how far a time may be from a frame's."""


class TorchDataset(TorchBase):  # type: ignore[misc]
    """The rows of a dataset as `LeRobotDataset` has them: one dictionary a row.

    An item has, by column:
        numbers: () or (n,) tensors; real ones float32, whole ones int64, truth values bool.
        `observation.images.<camera>`: (3, H, W) float32, RGB from 0 to 1.
        `task`: the instruction, a str.
    A column of `delta_timestamps` has its values at those times, (k, ...) for k of them, and beside it
    `<column>_is_pad`, (k,) bool: true where the time is outside of the episode, and the value that of its first or last
    row. A single picture out of a video is not stacked, as in LeRobot.

    Numbers are in memory, pictures are decoded as they are asked for. It can be pickled and forked: each worker of a
    `DataLoader` opens files of its own. In one process it is for one thread.
    """

    def __init__(
        self,
        dataset: Dataset,
        columns: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        delta_timestamps: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Read the numbers.

        Args:
            columns: which of `Dataset.numeric_columns`; all by default. The bookkeeping ones are always there.
            cameras: which of `Dataset.cameras`; all by default.
            delta_timestamps: by column, seconds from the row's own time, multiples of 1 / fps.

        Raises:
            ConfigError: an unknown column or camera, or a time between frames.
            DatasetError: rows are missing or damaged.
        """
        self._dataset = dataset
        names = list(dataset.camera_columns) if cameras is None else cameras
        for camera in names:
            if camera not in dataset.camera_columns:
                raise ConfigError(one_of("camera", camera, dataset.camera_columns))
        self._cameras = {dataset.camera_columns[camera]: camera for camera in names}
        wanted = dataset.numeric_columns if columns is None else (*columns, *BOOKKEEPING)
        self._numbers = _read_numbers(dataset, list(dict.fromkeys(wanted)))
        self._ends = np.cumsum([episode.length for episode in dataset.episodes])
        known = [*self._numbers, *self._cameras]
        self._offsets = {
            column: _rows_of(column, times, dataset.fps, known) for column, times in (delta_timestamps or {}).items()
        }

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._ends.size else 0

    def __getitem__(self, row: int) -> dict[str, Any]:
        """The item of a row of the dataset.

        Raises:
            IndexError: there is no such row.
            DatasetError: its pictures are missing or damaged.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no row {row}: the dataset has {len(self)}")
        row %= len(self)
        episode = int(np.searchsorted(self._ends, row, side="right"))
        end = int(self._ends[episode])
        start = end - self._dataset.episodes[episode].length
        item: dict[str, Any] = {}
        for column, camera in self._cameras.items():
            item[column] = self._pictures(episode, column, camera, self._rows(column, row, start, end) - start)
        for column, values in self._numbers.items():
            item[column] = _tensor(values[self._rows(column, row, start, end) if column in self._offsets else row])
        for column, offsets in self._offsets.items():
            at = row + offsets
            item[f"{column}_is_pad"] = torch.from_numpy((at < start) | (at >= end))
        item["task"] = self._dataset.tasks[int(self._numbers["task_index"][row])]
        return item

    def _rows(self, column: str, row: int, start: int, end: int) -> NDArray[np.int64]:
        """The rows whose values an item has of a column."""
        return np.clip(row + self._offsets.get(column, np.zeros(1, np.int64)), start, end - 1)

    def _pictures(self, episode: int, column: str, camera: str, numbers: NDArray[np.int64]) -> Any:
        # In the order of the file, each once: decoding goes on rather than back.
        order, places = np.unique(numbers, return_inverse=True)
        frames = [torch.from_numpy(self._dataset.frame(episode, camera, int(number))) for number in order]
        stacked = torch.stack(frames).permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255
        found = stacked[torch.from_numpy(places)]
        alone = column not in self._offsets or (len(numbers) == 1 and self._dataset.info.features[column].is_video)
        return found[0] if alone else found


def _read_numbers(dataset: Dataset, columns: list[str]) -> dict[str, NDArray[Any]]:
    """By column the values of all rows."""
    parts = [dataset.rows(episode.index, columns) for episode in dataset.episodes]
    return {column: _as_lerobot(np.concatenate([part[column] for part in parts])) for column in columns if parts}


def _as_lerobot(values: NDArray[Any]) -> NDArray[Any]:
    """LeRobot's items are made of Python's numbers, whose types these are."""
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    return values if values.dtype.kind == "b" else values.astype(np.int64, copy=False)


def _tensor(value: NDArray[Any]) -> Any:
    return torch.from_numpy(np.array(value))


def _rows_of(column: str, times: Sequence[float], fps: float, known: Sequence[str]) -> NDArray[np.int64]:
    """Times as numbers of rows."""
    if column not in known:
        raise ConfigError(one_of("column", column, known))
    rows = [round(time * fps) for time in times]
    for time, row in zip(times, rows, strict=True):
        if abs(time - row / fps) > TOLERANCE_S:
            raise ConfigError(f"delta_timestamps of {column!r}: {time} s is no multiple of 1/{fps:g} s")
    return np.array(rows, np.int64)
