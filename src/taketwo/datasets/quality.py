"""The quality check of a dataset: what could spoil training, and where.

Two passes: one over the rows, to learn what is usual; one over rows and pictures, to find what is not. Pictures
are decoded once, in order, and measured as they come, so memory does not grow with the dataset but for a few
numbers per picture looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import ACTION, CAPTURE_TIME, STATE, SUCCESS
from taketwo.datasets.layout import STATS
from taketwo.datasets.quality_findings import SEVERITIES, Finding, Severity, worst_first
from taketwo.datasets.quality_pictures import (
    SAMPLED_HZ,
    PictureGauge,
    PictureMeasures,
    blur_findings,
    frame_findings,
    picture_findings,
    usual_sharpness,
)
from taketwo.datasets.quality_rows import EpisodeRows, JumpWatch, length_findings, row_findings, usual_length
from taketwo.datasets.quality_survey import Extremes, Scale, Survey, flat
from taketwo.errors import DatasetError, one_line
from taketwo.types import FloatArray

if TYPE_CHECKING:
    from taketwo.datasets.reader import Dataset, RecordedEpisode

STATS_TOLERANCE = 1e-4
"""Part of a column's largest magnitude by which `stats.json` may differ: it is rounded, and columns are float32."""

Progress = Callable[[int, int], None]
"""Told after each episode: how many are done, of how many."""


@dataclass(frozen=True)
class EpisodeMeasures:
    """What was measured in one episode.

    Attributes:
        length: its rows.
        outcome: how it ended; None where nothing tells.
        success: None where nobody judged.
        cameras: by short name; empty where no picture could be read.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    outcome: str | None
    success: bool | None
    cameras: Mapping[str, PictureMeasures] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        findings: worst first.
        episodes: those that were checked, in order.
        every: a picture was looked at every so many rows.
        sharpness: usual sharpness by camera, squared grey levels; None where the scene is too plain to tell blur.
        skipped: what could not be judged, and why, one line each.
    """

    findings: tuple[Finding, ...]
    episodes: tuple[EpisodeMeasures, ...]
    every: int
    sharpness: Mapping[str, float | None]
    skipped: tuple[str, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The gravest severity; None where nothing was found."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), None)

    def of_episode(self, index: int) -> list[Finding]:
        """The findings in one episode, worst first."""
        return [finding for finding in self.findings if finding.episode == index]


def check(dataset: Dataset, episodes: Sequence[int] | None = None, progress: Progress | None = None) -> CheckResult:
    """Look for what is wrong with a dataset. A damaged episode is a finding, and the check goes on.

    About `SAMPLED_HZ` pictures a second are looked at.

    Args:
        episodes: indices of those to check; all where None. What is usual is learned from the same ones.
        progress: told after each episode.

    Raises:
        ConfigError: an episode is out of range.
    """
    indices = range(len(dataset.episodes)) if episodes is None else sorted(set(episodes))
    chosen = [dataset.episode(index) for index in indices]
    return _Check(dataset, chosen, max(1, round(dataset.fps / SAMPLED_HZ))).run(progress)


class _Check:
    """One run of the check."""

    def __init__(self, dataset: Dataset, chosen: Sequence[RecordedEpisode], every: int) -> None:
        self._dataset = dataset
        self._chosen = chosen
        self._every = every
        self._findings: list[Finding] = []
        self._measured: list[EpisodeMeasures] = []
        self._skipped: list[str] = []
        self._survey = Survey(dataset.info.features, sum(episode.length for episode in chosen))
        self._unread = 0
        self._usual_length = usual_length([episode.length for episode in dataset.episodes])
        self._has_verdicts = SUCCESS in dataset.info.features or any(each.note for each in dataset.episodes)
        self._scales: dict[str, Scale] = {}

    def run(self, progress: Progress | None) -> CheckResult:
        for episode in self._chosen:
            self._learn(episode)
        self._scales = self._survey.scales()
        jumps = JumpWatch(self._dataset.info.features, self._scales)
        for done, episode in enumerate(self._chosen, start=1):
            self._judge(episode, jumps)
            if progress is not None:
                progress(done, len(self._chosen))
        self._findings += jumps.findings()
        usual = self._judge_blur()
        self._judge_dataset()
        findings = tuple(worst_first(self._findings))
        return CheckResult(findings, tuple(self._measured), self._every, usual, tuple(self._skipped))

    def _learn(self, episode: RecordedEpisode) -> None:
        try:
            self._survey.look(self._dataset.rows(episode.index))
        except (DatasetError, OSError):
            self._unread += 1  # told of when it is judged

    def _judge(self, episode: RecordedEpisode, jumps: JumpWatch) -> None:
        self._findings += _told_by_metadata(episode, self._has_verdicts)
        self._findings += length_findings(episode, self._dataset.fps, self._usual_length)
        moving: FloatArray | None = None
        try:
            rows = EpisodeRows(
                episode, self._dataset.rows(episode.index), self._dataset.info.features, self._dataset.fps
            )
        except (DatasetError, OSError) as error:
            self._findings.append(Finding(episode.index, "damaged", "error", f"its rows: {one_line(error)}"))
        else:
            self._findings += row_findings(rows, self._scales, self._dataset.tasks)
            jumps.look(rows)
            moving = _motion(rows.columns)
        cameras = {camera: self._look(episode, camera, moving) for camera in self._dataset.cameras}
        self._measured.append(
            EpisodeMeasures(
                episode.index, episode.length, tuple(episode.tasks), episode.outcome, episode.success, cameras
            )
        )

    def _look(self, episode: RecordedEpisode, camera: str, moving: FloatArray | None) -> PictureMeasures:
        """Measure a camera's pictures as far as they can be read."""
        gauge = PictureGauge(episode.length, self._every, self._dataset.fps, moving)
        missing: list[Finding] = []
        try:
            if self._dataset.camera_columns[camera] in self._dataset.info.videos:
                times = self._dataset.frame_times(episode.index, camera)
                missing += frame_findings(episode.index, camera, episode.length, self._dataset.fps, times)
            for row, pixels in enumerate(self._dataset.frames(episode.index, camera, step=self._every)):
                gauge.look(row * self._every, pixels)
        except (DatasetError, OSError) as error:
            if not any(finding.kind == "frames" for finding in missing):  # which says it already
                message = f"camera {camera!r}: {one_line(error)}"
                missing.append(Finding(episode.index, "damaged", "error", message, camera=camera))
        self._findings += missing
        measured = gauge.measures()
        self._findings += picture_findings(episode.index, camera, self._dataset.fps, measured)
        return measured

    def _judge_blur(self) -> dict[str, float | None]:
        usual = {}
        for camera in self._dataset.cameras:
            episodes = {measured.index: measured.cameras[camera] for measured in self._measured}
            usual[camera] = usual_sharpness(episodes.values())
            self._findings += blur_findings(camera, episodes, usual[camera], self._dataset.fps)
            if usual[camera] is None:
                self._skipped.append(f"blur of camera {camera!r}: what it shows is too plain to tell")
        return usual

    def _judge_dataset(self) -> None:
        features = self._dataset.info.features
        if not self._has_verdicts:
            message = f"no column {SUCCESS}, and no notes: nothing tells which episodes succeeded"
            self._findings.append(Finding(None, "success", "warning", message, column=SUCCESS))
        if CAPTURE_TIME not in features:
            self._skipped.append(f"capture gaps and the real rate: there is no column {CAPTURE_TIME}")
        if not {STATE, ACTION} & set(features):
            self._skipped.append(f"frozen pictures: neither {STATE} nor {ACTION} tells whether the robot moves")
        if len(self._chosen) < len(self._dataset.episodes) or self._unread:
            self._skipped.append("the dataset's statistics: not all rows were read")
        else:
            self._findings += _statistics(self._dataset, self._survey.extremes)


def _motion(columns: Mapping[str, NDArray[Any]]) -> FloatArray | None:
    """(T, D) by which it is known whether the robot moves: its state, or its action where it has none."""
    return next((flat(columns[key]) for key in (STATE, ACTION) if key in columns), None)


def _told_by_metadata(episode: RecordedEpisode, judged: bool) -> Iterator[Finding]:
    if judged and episode.success is None:
        how = f": it ended as {episode.outcome}" if episode.outcome else ""
        yield Finding(episode.index, "success", "warning", f"nobody judged whether it succeeded{how}", column=SUCCESS)
    if not episode.tasks or not all(task.strip() for task in episode.tasks):
        yield Finding(episode.index, "tasks", "warning", "it has no task, or an empty one")
    if episode.note is not None and episode.note.salvaged:
        yield Finding(episode.index, "salvaged", "note", "a crash cut it short, and it was mended")


def _statistics(dataset: Dataset, extremes: Mapping[str, Extremes]) -> Iterator[Finding]:
    path = dataset.root / STATS
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        told = {key: {name: _numbers(value) for name, value in told[key].items()} for key in told if key in extremes}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        yield Finding(None, "stats", "error", f"{STATS} cannot be read: {one_line(error)}")
        return
    for key, found in extremes.items():
        if key not in told:
            yield Finding(None, "stats", "warning", f"{STATS} has no {key}", column=key)
            continue
        if not (np.isfinite(found.low).all() and np.isfinite(found.high).all()):
            continue  # told of as not a number
        tolerance = STATS_TOLERANCE * max(1e-6, float(np.abs([found.low, found.high]).max()))
        right = {"min": found.low, "max": found.high, "count": np.array([found.rows])}
        for name, value in right.items():
            there = told[key].get(name)
            if there is None or there.shape != value.shape or not np.allclose(there, value, rtol=0, atol=tolerance):
                yield _statistic_finding(key, name, there, value)


def _numbers(value: Any) -> FloatArray:
    return np.asarray(value, np.float64).reshape(-1)


def _statistic_finding(key: str, name: str, there: FloatArray | None, value: FloatArray) -> Finding:
    if there is None or there.shape != value.shape:
        return Finding(None, "stats", "warning", f"{STATS} has no {name} of {key} that fits it", column=key)
    worst = int(np.argmax(np.nan_to_num(np.abs(there - value), nan=np.inf)))
    message = f"{STATS} has {name} {there[worst]:.6g} for {key}, and the rows have {value[worst]:.6g}"
    return Finding(None, "stats", "warning", message, None, None, key, float(there[worst]), float(value[worst]))
