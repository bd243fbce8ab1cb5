"""What a crash left of a dataset: finding it, and making the best of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pyarrow as pa

from taketwo.datasets.decoding import decode_picture
from taketwo.datasets.features import CAPTURE_TIME, INTERVENTION, REWARD, Feature
from taketwo.datasets.layout import INFO
from taketwo.datasets.metadata import EpisodeNote, Info
from taketwo.datasets.row_log import read_row_log
from taketwo.datasets.statistics import PixelStatistics, Statistics
from taketwo.datasets.take import (
    NOTE,
    REFUSED,
    ROWS,
    TRACE,
    TakeHeader,
    concluded,
    picture_path,
    remove_take,
    unfinished_takes,
)
from taketwo.datasets.trace import logged_steps
from taketwo.datasets.transaction import commit_pending
from taketwo.datasets.video_files import reading
from taketwo.datasets.writer import PLANNED_INFO, DatasetWriter
from taketwo.errors import DatasetError, TakeTwoError
from taketwo.recording.rate import exact_fps
from taketwo.recording.remux import whole_frames
from taketwo.session.punctuality import KEPT_UP
from taketwo.types import Outcome, Pixels


@dataclass(frozen=True)
class UnfinishedTake:
    """An episode that was neither kept nor discarded.

    Attributes:
        folder: its files.
        rows: that can be saved: up to its last whole second, or all of a finished one.
        seconds: that these are.
        note: what became of it, where it was finished.
    """

    folder: Path
    rows: int
    seconds: float
    note: EpisodeNote | None = None


@dataclass(frozen=True)
class Damage:
    """What a crash left.

    Attributes:
        pending: whether a change was interrupted, which only has to be finished.
        takes: episodes that were under way.
    """

    pending: bool
    takes: tuple[UnfinishedTake, ...]


def inspect(root: Path) -> Damage:
    """Look, and change nothing.

    Raises:
        DatasetError: there is neither a dataset nor the beginning of one.
    """
    return Damage(commit_pending(root), tuple(_inspect_take(take, _info(root)) for take in unfinished_takes(root)))


def repair(root: Path, salvage: bool = False, discard: bool = False) -> list[str]:
    """Finish what was interrupted; returns what was done and what is left to do, in lines for a person.

    Args:
        salvage: make an episode of each unfinished take that has a whole second.
        discard: remove the unfinished takes, or those that `salvage` could not use.

    Raises:
        DatasetError: there is nothing to repair it from, or another process writes it.
        RecordingError: the disk does not take it; nothing is lost.
    """
    pending = commit_pending(root)
    if not (root / INFO).exists() and not (root / PLANNED_INFO).exists() and not pending:
        raise DatasetError(f"{root} is no LeRobot dataset: it has no {INFO}")
    writer = DatasetWriter.reopen(root)
    lines = ["finished a change that had been interrupted"] if pending else []
    try:
        if recovered := recover_finished(writer):
            lines.append(f"put {recovered} finished {'episode' if recovered == 1 else 'episodes'} in place")
        for folder in unfinished_takes(root):
            lines.append(_deal_with(writer, folder, salvage, discard))
        writer.close()
    finally:
        writer.release()
    count = writer.info.total_episodes
    return [*lines, f"{count} whole {'episode' if count == 1 else 'episodes'} in {root}"]


def recover_finished(writer: DatasetWriter) -> int:
    """Make episodes of the takes that were finished, and not in their places yet when the process died; how many.

    Raises:
        RecordingError: the disk does not take it; nothing is lost.
    """
    finished = [take for folder in unfinished_takes(writer.root) if (take := _finished(folder, writer.info))]
    for take in finished:
        writer.keep(take.folder, *_measure(writer.info, take))
    return len(finished)


def _finished(folder: Path, info: Info) -> UnfinishedTake | None:
    take = _inspect_take(folder, info)
    return take if take.note is not None and concluded(folder, NOTE) is not None else None


def _deal_with(writer: DatasetWriter, folder: Path, salvage: bool, discard: bool) -> str:
    take = _inspect_take(folder, writer.info)
    if salvage and take.rows:
        note, pictures = _measure(writer.info, take)
        note = writer.keep(folder, note, pictures)
        return f"saved {take.seconds:g} s of an unfinished take as episode {note.index} ({note.length} rows)"
    if discard:
        remove_take(folder)
        return f"removed an unfinished take of {take.seconds:g} s"
    if not take.rows:
        return f"an unfinished take of less than a second is in {folder}; --discard=true removes it"
    return (
        f"an unfinished take of {take.seconds:g} s is in {folder}: --salvage=true makes an episode of it, "
        "--discard=true removes it"
    )


def _info(root: Path) -> Info:
    return Info.load(root) if (root / INFO).exists() else Info.load(root, PLANNED_INFO)


def _inspect_take(folder: Path, info: Info) -> UnfinishedTake:
    fps = exact_fps(info.fps)
    cameras = [picture_path(folder, key, feature) for key, feature in info.features.items() if feature.is_camera]
    try:
        TakeHeader.load(folder)
        rows = min([len(_log(folder / ROWS)), *map(_pictures_there, cameras)])
    except TakeTwoError:  # it was cut off before its files had begun
        rows = 0
    note = concluded(folder, NOTE) or concluded(folder, REFUSED)
    if note is not None and rows >= note.length > 0:
        return UnfinishedTake(folder, note.length, float(note.length / fps), note)
    seconds = math.floor(rows / fps)
    return UnfinishedTake(folder, math.floor(seconds * fps), seconds)


def _pictures_there(path: Path) -> int:
    return whole_frames(path)[0] if path.suffix == ".mp4" else len(_log(path))


def _log(path: Path) -> pa.Table:
    try:
        return read_row_log(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def _measure(info: Info, take: UnfinishedTake) -> tuple[EpisodeNote, dict[str, Statistics]]:
    """What a finished episode has counted while it ran."""
    cameras = {key: feature for key, feature in info.features.items() if feature.is_camera}
    pictures = {key: _statistics(take, key, feature) for key, feature in cameras.items()}
    if take.note is not None:
        return take.note, pictures
    header = TakeHeader.load(take.folder)
    rows = _log(take.folder / ROWS).slice(0, take.rows)
    times = rows[CAPTURE_TIME].to_numpy()
    measured = (len(times) - 1) / (times[-1] - times[0]) if header.paced and times[-1] > times[0] else None
    note = EpisodeNote(
        index=0,  # the writer fills it in
        length=take.rows,
        outcome=str(Outcome.FAULT),
        reason="cut off by a crash; saved up to its last whole second",
        success=None,
        seed=header.seed,
        session=header.session,
        started_at=header.started_at,
        duration_s=float(times[-1] - times[0] + 1 / info.fps),
        reward_sum=float(np.sum(rows[REWARD].to_numpy())),
        interventions=int(np.sum(rows[INTERVENTION].to_numpy(zero_copy_only=False))),
        measured_hz=measured,
        late=measured is not None and measured < KEPT_UP * info.fps,
        traced=_traced(take),
        salvaged=True,
        env=header.env,
        init_state=header.init_state,
        seeded=header.seeded,
    )
    return note, pictures


def _traced(take: UnfinishedTake) -> bool:
    try:
        return logged_steps(take.folder / TRACE) >= take.rows
    except DatasetError:  # the rows and pictures are worth saving without it
        return False


def _statistics(take: UnfinishedTake, key: str, feature: Feature) -> Statistics:
    path = picture_path(take.folder, key, feature)
    statistics = PixelStatistics(feature.shape[0], feature.shape[1])
    for pixels in islice(_decoded(path), take.rows):
        statistics.add(pixels)
    return statistics.result()


def _decoded(path: Path) -> Iterator[Pixels]:
    if path.suffix != ".mp4":
        for png in _log(path)["bytes"]:
            yield decode_picture(png.as_py(), str(path))
        return
    with reading(path), av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
