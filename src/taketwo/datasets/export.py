"""Datasets as plain files, for programs that know nothing of LeRobot: CSV or NumPy archives, and MP4 or PNG."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.reader import Dataset, RecordedEpisode
from taketwo.datasets.row_files import RowFile
from taketwo.datasets.video_cuts import Cut, cut_video
from taketwo.errors import ConfigError
from taketwo.recording.naming import cannot_write, make_folder, safe_name
from taketwo.recording.rate import exact_fps

Format = Literal["csv", "npz"]

Progress = Callable[[int, int], None]
"""Told after each episode: how many are done, of how many."""

JPEG = b"\xff\xd8"

EPISODE_COLUMNS = (
    "episode_index",
    "length",
    "seconds",
    "task",
    "outcome",
    "success",
    "reason",
    "seed",
    "reward_sum",
    "interventions",
    "measured_hz",
    "started_at",
)
"""Of `episodes.csv`. What is not known is left empty; several tasks are joined by `; `."""


def export(
    dataset: Dataset,
    target: Path,
    episodes: Sequence[int] | None = None,
    format: Format = "csv",  # noqa: A002 - the flag's word
    progress: Progress | None = None,
) -> None:
    """Write episodes as plain files into a new folder, which appears when all of them are there.

    For episode 3 and camera `top`: `episode_000003.csv` with a line for each row, its columns in the dataset's order,
    vectors spread as `action.<dimension>`, and the task's text; or `episode_000003.npz` with an array for each column,
    (T,) or (T, n), and `task` (T,) text. `episode_000003_top.mp4` holds the packets of the dataset's video, not
    encoded again; where pictures are in the rows, the folder `episode_000003_top` has them as they are stored, named
    by row. `episodes.csv` tells of each episode what is known of it.

    Args:
        target: the folder; it has to be missing or empty.
        episodes: indices of those to write; all where None.
        format: of the rows.
        progress: told after each episode.

    Raises:
        ConfigError: no such episode, or something is in `target` already.
        DatasetError: a file is damaged, or an episode's video does not begin with a key frame.
        RecordingError: the disk does not take it. Nothing is left behind in any case.
    """
    chosen = [dataset.episode(index) for index in (range(len(dataset.episodes)) if episodes is None else episodes)]
    with _new_folder(target) as folder:
        _write_csv(folder / "episodes.csv", EPISODE_COLUMNS, (_facts(dataset, episode) for episode in chosen))
        for done, episode in enumerate(chosen, start=1):
            stem = folder / f"episode_{episode.index:06d}"
            columns = dataset.rows(episode.index) | {"task": np.array(dataset.row_tasks(episode.index), np.str_)}
            if format == "csv":
                _write_rows(stem.with_suffix(".csv"), dataset, columns)
            else:
                _write_npz(stem.with_suffix(".npz"), columns)
            for camera, key in dataset.camera_columns.items():
                place = folder / f"{stem.name}_{safe_name(camera)}"
                if dataset.info.features[key].is_video:
                    _write_video(place.with_name(f"{place.name}.mp4"), dataset, episode, key)
                else:
                    _write_pictures(place, dataset, episode, key)
            if progress is not None:
                progress(done, len(chosen))


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, which takes its name when the body is done."""
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(f"{target} is there already, and nothing of it was touched: choose a new folder")
    make_folder(target.parent)
    try:
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp's are for their owner only
        folder.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _facts(dataset: Dataset, episode: RecordedEpisode) -> list[Any]:
    note = episode.note
    told = (
        [note.reason, note.seed, note.reward_sum, note.interventions, note.measured_hz, note.started_at] if note else []
    )
    seconds = f"{episode.length / dataset.fps:.3f}"
    facts = [episode.index, episode.length, seconds, "; ".join(episode.tasks), episode.outcome, episode.success, *told]
    facts += [None] * (len(EPISODE_COLUMNS) - len(facts))
    return [str(fact).lower() if isinstance(fact, bool) else fact for fact in facts]


def _write_rows(path: Path, dataset: Dataset, columns: Mapping[str, NDArray[Any]]) -> None:
    names: list[str] = []
    spread: list[NDArray[np.str_]] = []
    for key, values in columns.items():
        text = _as_text(values).reshape(len(values), -1)
        spread.append(text)
        several = values.ndim > 1
        names += [f"{key}.{name}" for name in dataset.info.features[key].dimension_names] if several else [key]
    _write_csv(path, names, np.concatenate(spread, axis=1))


def _as_text(values: NDArray[Any]) -> NDArray[np.str_]:
    """The shortest text that gives the same number again."""
    if values.dtype == np.bool_:
        return np.where(values, "true", "false")
    return values.astype(np.str_)


def _write_csv(path: Path, names: Sequence[str], lines: Any) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(lines)
    except OSError as error:
        raise cannot_write(path, error) from error


def _write_npz(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    arrays: dict[str, Any] = dict(columns)
    try:
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise cannot_write(path, error) from error


def _write_video(path: Path, dataset: Dataset, episode: RecordedEpisode, key: str) -> None:
    span = episode.entry.videos[key]
    source = dataset.root / dataset.info.video_file(key, span.place)
    cut_video(source, path, [Cut(span.start_s, episode.length)], exact_fps(dataset.fps))


def _write_pictures(folder: Path, dataset: Dataset, episode: RecordedEpisode, key: str) -> None:
    file = RowFile(dataset.root / dataset.info.data_file(episode.entry.data))
    try:
        make_folder(folder)
        for row, picture in enumerate(file.pictures(episode.index, key, 0)):
            path = folder / f"{row:06d}{'.jpg' if picture.startswith(JPEG) else '.png'}"
            try:
                path.write_bytes(picture)
            except OSError as error:
                raise cannot_write(path, error) from error
    finally:
        file.close()
