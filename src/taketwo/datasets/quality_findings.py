"""What a quality check can find, how it is told, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["error", "warning", "note"]
"""An error makes training or loading fail or go wrong; a warning is worth a look; a note is good to know."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""

PLACES_KEPT = 50
"""Places of one finding that are kept for plots; its message counts all of them."""

Place = tuple[int, int]
"""First and last row of a stretch, within the episode."""


@dataclass(frozen=True)
class Kind:
    """One sort of finding.

    Attributes:
        title: what it is called in tables.
        advice: what a person can do about it.
    """

    title: str
    advice: str


KINDS = {
    "damaged": Kind(
        "damaged file", "Copy the file back from where it is whole, or take the episode out with delete-episodes."
    ),
    "rows": Kind(
        "missing rows", "Copy the file back from where it is whole, or take the episode out with delete-episodes."
    ),
    "frames": Kind(
        "missing frames", "Rows would be shown with another moment's picture: take the episode out, or record it again."
    ),
    "frame_times": Kind(
        "frame times", "LeRobot looks frames up by their time and may refuse these: encode the video again at the fps."
    ),
    "timestamps": Kind("timestamps", "Write timestamp = frame_index / fps again, or take the episode out."),
    "not_a_number": Kind("NaN or infinity", "A single one spoils training: find its sensor, and take the episode out."),
    "gap": Kind("capture gaps", "The recorder stalled there: look for a busy disk or core, and record it again."),
    "slow": Kind(
        "slower than fps",
        "Record at a rate that the machine keeps up with (--session.max_hz), or free some of its time.",
    ),
    "blank": Kind("blank pictures", "Look at the camera, its light and its lens cap, or at GL with taketwo doctor."),
    "frozen": Kind("frozen pictures", "The camera's driver or the renderer hung: take the episode out."),
    "blur": Kind(
        "blurred pictures", "Clean and focus the lens, light the scene for shorter exposures, or move slower."
    ),
    "dark": Kind("too dark", "Give the scene more light, or the camera a longer exposure."),
    "bright": Kind("too bright", "Shorten the camera's exposure, or turn lamps away from it."),
    "action_jump": Kind(
        "action jumps", "Look at these moments: a lost leader arm, a slip, or chunks that do not join."
    ),
    "state_jump": Kind("state jumps", "Look at these moments: a loose encoder, a lost message, or a collision."),
    "noise": Kind("shaking values", "Look for a loose sensor cable, or smooth the teleoperation."),
    "constant": Kind("values stand still", "Nothing is learned from it: look whether the robot or its reading hung."),
    "saturated": Kind("actions at their limit", "The commands ask for more than the limit: widen it, or move slower."),
    "success": Kind("no verdict", "Judge the episodes, or record with an environment that reports success."),
    "tasks": Kind("no task", "A policy with instructions needs one: give the rows a task."),
    "length": Kind("unusual length", "Look whether it was cut off, or went on after the task."),
    "salvaged": Kind("cut short by a crash", "It ends in the middle: keep it only if half an episode is of use."),
    "stats": Kind(
        "statistics differ",
        "Policies normalise by meta/stats.json; taketwo dataset merge writes it anew into a new dataset.",
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a dataset, or may be.

    Attributes:
        episode: its index; None for the dataset as a whole.
        kind: a key of `KINDS`.
        severity: how bad it is.
        message: one line.
        rows: first and last row of the worst place, within the episode; None where it has no place.
        camera: the camera that it is about, by its short name.
        column: the column that it is about.
        dimensions: those of the column that it is about, by name; empty where it is about all.
        value: what was measured there.
        threshold: what it was held against, in the same unit.
        places: all places, in order, `PLACES_KEPT` at most.
    """

    episode: int | None
    kind: str
    severity: Severity
    message: str
    rows: Place | None = None
    camera: str | None = None
    column: str | None = None
    value: float | None = None
    threshold: float | None = None
    places: tuple[Place, ...] = ()
    dimensions: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What its kind is called."""
        return KINDS[self.kind].title

    @property
    def advice(self) -> str:
        """What a person can do about its kind."""
        return KINDS[self.kind].advice


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, then as `KINDS` has them, then by episode, the dataset itself first."""
    kinds = list(KINDS)

    def order(finding: Finding) -> tuple[int, int, int]:
        episode = -1 if finding.episode is None else finding.episode
        return SEVERITIES.index(finding.severity), kinds.index(finding.kind), episode

    return sorted(findings, key=order)


def stretches(flags: NDArray[np.bool_]) -> list[Place]:
    """First and last index of each run of True in (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def said(places: Sequence[Place], worst: Place | None = None) -> str:
    """Places in words: `at row 12`, `at rows 3 to 9`, or `in 4 places, the worst at row 12`."""
    first, last = worst if worst is not None else places[0]
    where = f"at row {first}" if first == last else f"at rows {first} to {last}"
    return (
        where if len(places) == 1 else f"in {len(places)} places, {'first' if worst is None else 'the worst'} {where}"
    )
