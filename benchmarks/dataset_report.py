"""What came out of the dataset benchmark, as a table."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sections import put_section

OURS, FINE = "taketwo", "taketwo crf=25"
VERSIONS = ("0.6.1", "0.4.4")
DEFAULT = tuple(f"{version} default" for version in VERSIONS)
BEST = tuple(f"{version} best" for version in VERSIONS)
PEERS = tuple(f"{version} {mode}" for version in VERSIONS for mode in ("default", "best"))
COLUMNS = (OURS, FINE, *PEERS)
COMPARISONS = (("default", FINE, DEFAULT), ("best", OURS, BEST))
"""With what we have pictures at least as good: LeRobot's AV1 is finer, and three times as large, than its h264."""

READERS = tuple(f"{version} {backend}" for version in VERSIONS for backend in ("pyav", "torchcodec"))

Turn = Mapping[str, Any]
Rounds = Sequence[Mapping[str, Turn]]
"""What each contender's turn gave, by name, round by round."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        figures: by contender.
        result: what is to be compared with the target.
        target: what is promised.
        met: whether it is kept.
    """

    what: str
    figures: Mapping[str, str]
    result: str
    target: str
    met: bool


def rows_of(measured: Mapping[str, Any]) -> list[Row]:
    """Medians over the rounds, and a ratio's median over the rounds' ratios."""
    return [
        *_speed(measured["unpaced"]),
        *_psnr(measured["quality"]),
        *_size(measured["quality"]),
        _missing(measured["quality"]),
        _memory(measured["unpaced"]),
        _step(measured["at_rate"]),
        _end(measured["at_rate"]),
        *_reading(measured["reading"]),
    ]


def _speed(rounds: Rounds) -> list[Row]:
    rates = _medians(rounds, _rows_per_s)
    rows = []
    for (mode, ours, peers), target in zip(COMPARISONS, (5, 2), strict=True):
        what = f"rows recorded as fast as it goes, against the {mode} mode"
        figures = {name: f"{rates[name]:.0f}/s" for name in (ours, *peers)}
        ratio = _ratio(rounds, ours, peers, _rows_per_s)
        rows.append(Row(what, figures, f"{ratio:.1f} x", f">= {target} x", ratio >= target))
    return rows


def _psnr(quality: Mapping[str, Any]) -> list[Row]:
    rows = []
    for mode, ours, peers in COMPARISONS:
        values = {name: quality[name]["psnr"] for name in (ours, *peers)}
        ahead = values[ours] - max(values[name] for name in peers)
        figures = {name: f"{value:.2f} dB" for name, value in values.items()}
        rows.append(Row(f"mean PSNR, against the {mode} mode", figures, f"{ahead:+.2f} dB", ">= 0 dB", ahead >= 0))
    return rows


def _size(quality: Mapping[str, Any]) -> list[Row]:
    rows = []
    for (mode, ours, peers), target in zip(COMPARISONS, (1, 1.3), strict=True):
        values = {name: quality[name]["mb"] for name in (ours, *peers)}
        ratio = values[ours] / min(values[name] for name in peers)
        figures = {name: f"{value:.2f} MB" for name, value in values.items()}
        what = f"size of the videos, against the {mode} mode"
        rows.append(Row(what, figures, f"{ratio:.2f} x", f"<= {target:g} x", ratio <= target))
    return rows


def _missing(quality: Mapping[str, Any]) -> Row:
    figures = {name: str(quality[name]["missing"]) for name in COLUMNS}
    missing = quality[OURS]["missing"] + quality[FINE]["missing"]
    return Row("frames that are missing in them", figures, str(missing), "0", missing == 0)


def _memory(rounds: Rounds) -> Row:
    values = _medians(rounds, lambda turn: turn["growth_mb"])
    figures = {name: f"{value:.0f} MB" for name, value in values.items()}
    most = max(values[OURS], values[FINE])
    return Row("memory over that before the dataset", figures, f"{most:.0f} MB", "<= 60 MB", most <= 60)


def _step(rounds: Rounds) -> Row:
    p50 = _medians(rounds, lambda turn: np.percentile(turn["step_ms"], 50))
    p99 = _medians(rounds, lambda turn: np.percentile(turn["step_ms"], 99))
    figures = {name: f"p50 {_ms(p50[name])}, p99 {_ms(p99[name])}" for name in COLUMNS}
    return Row("a step on the loop's thread, at 50 Hz", figures, f"p99 {_ms(p99[OURS])}", "p99 < 1 ms", p99[OURS] < 1)


def _end(rounds: Rounds) -> Row:
    worst = _medians(rounds, lambda turn: max(turn["end_ms"]))
    after = _medians(rounds, lambda turn: max(turn["after_end_ms"]))
    figures = {name: f"{_ms(worst[name])}, then a step of {_ms(after[name])}" for name in COLUMNS}
    longest = max(worst[OURS], after[OURS])
    return Row("the end of an episode blocks the loop", figures, _ms(longest), "< 20 ms", longest < 20)


def _reading(rounds: Rounds) -> list[Row]:
    """Our reader on our file against LeRobot's ways: its PyAV on its own file, its torchcodec on our file."""
    rows = []
    for way, told, target in (
        ("pyav own", "PyAV on its own file", 2),
        ("torchcodec taketwo", "torchcodec on taketwo's file", 1),
    ):
        peers = {f"{version} default": f"{version} {way}" for version in VERSIONS}
        rates = _medians(rounds, _frames_per_s, (OURS, *peers.values()))
        figures = {name: f"{rates[key]:.0f}/s" for name, key in {OURS: OURS, **peers}.items()}
        ratio = _ratio(rounds, OURS, tuple(peers.values()), _frames_per_s)
        what = f"frames read at random, against {told}"
        rows.append(Row(what, figures, f"{ratio:.1f} x", f">= {target} x", ratio >= target))
    return rows


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def _rows_per_s(turn: Turn) -> float:
    return float(turn["rows_per_s"])


def _frames_per_s(turn: Turn) -> float:
    return float(turn["frames_per_s"])


def _medians(rounds: Rounds, value: Callable[[Turn], float], names: Sequence[str] | None = None) -> dict[str, float]:
    """Of a figure, over the rounds, by contender."""
    return {name: float(statistics.median(value(turns[name]) for turns in rounds)) for name in names or rounds[0]}


def _ratio(rounds: Rounds, ours: str, peers: Sequence[str], value: Callable[[Turn], float]) -> float:
    """Ours over the largest of some peers, round by round."""
    return statistics.median(value(turns[ours]) / max(value(turns[peer]) for peer in peers) for turns in rounds)


def machine() -> str:
    """What it was measured on, and how busy that was."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"{cpu}, {cores} cores, load {load:.1f} before; Python {platform.python_version()}"


def print_table(rows: list[Row], about_machine: str) -> None:
    """To the terminal."""
    table = Table("", OURS, FINE, *(f"LeRobot {name}" for name in PEERS), "", "target", "", title=about_machine)
    for row in rows:
        verdict = "[green]met[/]" if row.met else "[red]missed[/]"
        figures = (row.figures.get(name, "") for name in COLUMNS)
        table.add_row(row.what, *figures, row.result, row.target, verdict)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def write_section(
    path: Path, command: str, about_machine: str, rows: list[Row], measured: Mapping[str, Any], plan: Any
) -> None:
    """Put the table between its marks in a Markdown file, or at its end; the rest stays as it is."""
    put_section(path, "benchmarks/dataset.py", _markdown(command, about_machine, rows, measured, plan))


def _markdown(command: str, about_machine: str, rows: list[Row], measured: Mapping[str, Any], plan: Any) -> str:
    lines = "\n".join(
        f"| {row.what} | {' | '.join(row.figures.get(name, '') for name in COLUMNS)} "
        f"| {row.result} | {row.target} | {'yes' if row.met else '**no**'} |"
        for row in rows
    )
    return TEMPLATE.format(
        command=command,
        machine=about_machine,
        heads=" | ".join((OURS, FINE, *(f"LeRobot {name}" for name in PEERS))),
        rule="|".join(["---"] * (len(COLUMNS) + 4)),
        lines=lines,
        reading=_reading_table(measured["reading"]),
        ours=_versions(measured["about"][OURS]),
        new=_versions(measured["about"]["0.6.1 default"]),
        old=_versions(measured["about"]["0.4.4 default"]),
        **asdict(plan),
    )


def _reading_table(rounds: Rounds) -> str:
    files = ("own", "taketwo")
    rates = _medians(rounds, _frames_per_s, (OURS, *(f"{reader} {whose}" for reader in READERS for whose in files)))
    lines = [
        f"| LeRobot {reader} | " + " | ".join(f"{rates[f'{reader} {whose}']:.0f}/s" for whose in files) + " |"
        for reader in READERS
    ]
    return "\n".join([*lines, f"| taketwo | | {rates[OURS]:.0f}/s |"])


def _versions(about: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in about.items())


TEMPLATE = """\
## Datasets

Made by

    {command}

on: {machine}.

| | {heads} | result | target | met |
|{rule}|
{lines}

| frames read at random by | from the file of LeRobot's default mode | from taketwo's file |
|---|---|---|
{reading}

- taketwo: {ours}. The peers: {new}; {old}; each in an environment of its own, with FFmpeg as PyAV's wheel has it.
- `default` is LeRobot as `lerobot-record` opens it: pictures as PNG files first, on four threads a camera, then AV1 by
  SVT-AV1 when the episode is over. `best` is `streaming_encoding` with `vcodec` h264, all else as it comes.
  taketwo: `DatasetConfig` as it comes, behind the session's sink thread; and with `crf=25` beside the default mode,
  whose AV1 is finer, and three times as large, than the h264 of the best. That figure was chosen on this very
  rollout, so that the pictures are no worse than the AV1.
- The pictures are {rows} steps of a real rollout: `gym_aloha`'s transfer cube with the scripted policy, cameras `top`
  and `angle`, 640x480. They are rendered beforehand, and every row gets fresh copies. A turn is {episodes} episodes of
  {rows} rows in a new process; all take turns in {rounds} rounds, and figures are medians. taketwo's rows have six
  columns more than LeRobot's, which are state and action.
- As fast as it goes: from before the dataset is created until it is finalised; the ends of the episodes
  and taketwo's packing into larger files included. Against the faster of the two versions, round by round.
- PSNR: all files decoded by PyAV and compared with what was rendered, frame by frame. Size: the MP4 files.
- Memory: peak resident memory, with the private memory of child processes, over that when the pictures are there and
  two episodes of ten rows were recorded into another dataset, in the turns as fast as it goes.
- At 50 Hz: the time of `add_frame`, and of publishing a step to taketwo's sink thread; of `save_episode`, and of
  publishing the end of an episode; the largest of a turn. Then: the dearest step of the second that follows it.
- Read at random: {reads} frames of one camera out of {episodes} episodes in one file, as the functions give them that a
  dataset's items come from: LeRobot's `decode_video_frames` (float tensors), taketwo's `Dataset.frame` (uint8).
"""
