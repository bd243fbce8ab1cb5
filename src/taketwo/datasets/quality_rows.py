"""What can be wrong with the numbers of an episode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import ACTION, CAPTURE_TIME, STATE, Feature
from taketwo.datasets.quality_findings import PLACES_KEPT, Finding, Place, said, stretches
from taketwo.datasets.quality_survey import Scale, flat, motion_columns
from taketwo.recording.frame_watch import STATE_MOVED
from taketwo.session.punctuality import KEPT_UP
from taketwo.types import FloatArray

if TYPE_CHECKING:
    from taketwo.datasets.reader import RecordedEpisode

TIMESTAMP_TOLERANCE_S = 1e-4
"""LeRobot's default `tolerance_s` for the time of a frame."""

GAP_PERIODS = 1.5
"""Control periods between two captures over which one is missing, rather than late."""

JUMP_STANDS_OUT = 5.0
"""How many times the median step of the rows around it a jump is: a fast motion has fast neighbours."""

JUMP_NEIGHBOURS = 5
"""Rows on each side that are looked at for that."""

ANGLES_FROM = (-np.pi, 0.0)
"""Where angles in radians begin that are kept within one turn; what stays within may wrap: from pi to -pi is no way."""

ANGLE_TOLERANCE = 1e-3
"""In radians, for what rounding adds to these limits."""

JUMP_USUAL = 0.5
"""Part of the episodes from which on a dimension's jumps are noted only: it seems to be made so."""

JUMP_USUAL_EPISODES = 4
"""Fewer episodes do not tell what is usual."""

NOISE_FLIPS = 0.5
"""Part of the rows in which a value turns round. White noise has 2/3, smooth motion a few per cent."""

NOISE_SPAN = 0.02
"""Part of its span by which a shaking value changes from row to row, as the median."""

NOISE_ROWS = 20
"""Fewer rows do not tell noise from motion."""

STILL_S = 1.0
"""An action or a state that never changes is told of in episodes that last this long, in seconds."""

LIMIT_PART = 0.1
"""Part of an episode's rows at the very limit of an action's values over which it is told of."""

LIMIT_VISITS = 3
"""Times that an action comes back to the limit; one that rests at its home pose comes there once or twice."""

SHORT_S = 0.5
"""Seconds below which an episode can hardly show a task."""

LENGTH_RATIO = 4.0
"""How many times longer or shorter than the median an episode is noted."""

LENGTH_EPISODES = 5
"""Fewer episodes do not tell what length is usual."""


@dataclass(frozen=True)
class EpisodeRows:
    """An episode's rows, with what is needed to judge them.

    Attributes:
        columns: column to (T,) or (T, ...).
        fps: rows a second.
    """

    recorded: RecordedEpisode
    columns: Mapping[str, NDArray[Any]]
    features: Mapping[str, Feature]
    fps: float

    @property
    def index(self) -> int:
        """The episode's."""
        return self.recorded.index

    @property
    def length(self) -> int:
        """T, the rows that are there."""
        return len(next(iter(self.columns.values()), ()))

    def numbers(self, column: str) -> FloatArray | None:
        """(T, D) float64, infinity as NaN; None where there is no such column or row."""
        values = self.columns.get(column)
        return flat(values) if values is not None and len(values) else None


def row_findings(rows: EpisodeRows, scales: Mapping[str, Scale], tasks: Sequence[str]) -> Iterator[Finding]:
    """All that is wrong with an episode's numbers, but for jumps, which `JumpWatch` finds."""
    yield from _bookkeeping(rows, tasks)
    yield from _timestamps(rows)
    yield from _capture_times(rows)
    yield from _rate(rows)
    yield from _not_numbers(rows)
    for column in motion_columns(rows.features):
        values, scale = rows.numbers(column), scales.get(column)
        if values is not None and scale is not None:
            yield from _noise(rows, column, values, scale)
            if column.startswith(ACTION):
                yield from _limits(rows, column, values, scale)
    yield from _stillness(rows)


def _bookkeeping(rows: EpisodeRows, tasks: Sequence[str]) -> Iterator[Finding]:
    counted = np.arange(rows.length)
    wanted = {
        "frame_index": counted,
        "index": rows.recorded.entry.first_row + counted,
        "episode_index": counted * 0 + rows.index,
    }
    for column, right in wanted.items():
        values = rows.columns.get(column)
        if values is not None and (wrong := stretches(np.not_equal(values.reshape(-1), right))):
            message = f"{column} is not as it should be {said(wrong)}"
            yield Finding(rows.index, "rows", "error", message, wrong[0], column=column, places=_kept(wrong))
    number = rows.columns.get("task_index")
    if number is not None and (wrong := stretches(~np.isin(number.reshape(-1), range(len(tasks))))):
        message = f"task_index points to no task {said(wrong)}: there are {len(tasks)}"
        yield Finding(rows.index, "tasks", "error", message, wrong[0], column="task_index", places=_kept(wrong))


def _timestamps(rows: EpisodeRows) -> Iterator[Finding]:
    values = rows.numbers("timestamp")
    if values is None:
        return
    # The column is float32, whose steps are as large as the tolerance after half an hour.
    tolerance = TIMESTAMP_TOLERANCE_S + float(np.spacing(np.float32(rows.length / rows.fps)))
    off = np.abs(values[:, 0] - np.arange(rows.length) / rows.fps)
    if places := stretches(np.logical_not(off <= tolerance)):
        worst = _worst(places, off)
        value = float(off[worst[0] : worst[1] + 1].max())
        message = f"timestamp is not frame_index / fps {said(places, worst)}: {value:.4g} s off"
        yield Finding(
            rows.index, "timestamps", "error", message, worst, None, "timestamp", value, tolerance, _kept(places)
        )


def _capture_times(rows: EpisodeRows) -> Iterator[Finding]:
    values = rows.numbers(CAPTURE_TIME)
    if values is None or len(values) < 2:
        return
    steps = np.diff(values[:, 0])
    if places := _between(steps <= 0):
        message = f"capture_time goes back or stands still {said(places)}"
        yield Finding(rows.index, "gap", "error", message, places[0], column=CAPTURE_TIME, places=_kept(places))
    if not _is_paced(rows):
        return
    # Where the whole episode is slow, that is told once, and a gap is what stands out of it.
    limit = GAP_PERIODS * max(1 / rows.fps, float(np.median(steps)))
    if places := _between(steps > limit):
        worst = _worst(places, steps, shorter=1)
        value = float(steps[worst[0] : worst[1]].max())
        message = (
            f"no row for {1000 * value:.0f} ms {said(places, worst)}, where one comes every {1000 / rows.fps:.0f} ms"
        )
        yield Finding(rows.index, "gap", "warning", message, worst, None, CAPTURE_TIME, value, limit, _kept(places))


def _is_paced(rows: EpisodeRows) -> bool:
    """Whether its capture times were to follow a clock; one that ran as fast as it could has no such rate."""
    return rows.recorded.note is None or rows.recorded.note.measured_hz is not None


def _rate(rows: EpisodeRows) -> Iterator[Finding]:
    note, times = rows.recorded.note, rows.numbers(CAPTURE_TIME)
    if note is not None:
        measured = note.measured_hz
    elif times is not None and len(times) > 1 and times[-1, 0] > times[0, 0]:
        measured = (len(times) - 1) / float(times[-1, 0] - times[0, 0])
    else:
        measured = None
    if measured is not None and measured < KEPT_UP * rows.fps:
        message = f"recorded at {measured:.3g} rows a second, and played at {rows.fps:g}"
        yield Finding(rows.index, "slow", "warning", message, value=measured, threshold=KEPT_UP * rows.fps)


def _not_numbers(rows: EpisodeRows) -> Iterator[Finding]:
    for column in rows.columns:
        if rows.columns[column].dtype.kind == "f" and (values := rows.numbers(column)) is not None:
            bad = np.isnan(values)
            spoilt = np.asarray(bad.any(axis=1))
            if places := stretches(spoilt):
                names = _chosen(rows.features[column], np.flatnonzero(bad.any(axis=0)))
                message = f"{_subject(column, rows.features[column], names)} is NaN or infinite {said(places)}"
                yield Finding(
                    rows.index,
                    "not_a_number",
                    "error",
                    message,
                    places[0],
                    column=column,
                    value=float(spoilt.sum()),
                    threshold=0.0,
                    places=_kept(places),
                    dimensions=names,
                )


def _noise(rows: EpisodeRows, column: str, values: FloatArray, scale: Scale) -> Iterator[Finding]:
    if len(values) < NOISE_ROWS:
        return
    steps = np.diff(values, axis=0)
    flips = (steps[1:] * steps[:-1] < 0).mean(axis=0)
    size = np.median(np.abs(steps), axis=0)
    shaking = (flips > NOISE_FLIPS) & (size > np.maximum(STATE_MOVED, NOISE_SPAN * scale.span)) & ~scale.switch
    if shaking.any():
        worst = int(np.argmax(np.where(shaking, flips, 0)))
        names = _chosen(rows.features[column], np.flatnonzero(shaking))
        message = (
            f"{_subject(column, rows.features[column], names)} turns round in {100 * flips[worst]:.0f} % of the rows, "
            f"by {size[worst]:.3g} at a time"
        )
        yield Finding(
            rows.index,
            "noise",
            "warning",
            message,
            column=column,
            value=float(flips[worst]),
            threshold=NOISE_FLIPS,
            dimensions=names,
        )


def _limits(rows: EpisodeRows, column: str, values: FloatArray, scale: Scale) -> Iterator[Finding]:
    judged = (scale.span > STATE_MOVED) & ~scale.switch
    for limit, word in ((scale.low, "lowest"), (scale.high, "highest")):
        for dimension in np.flatnonzero(judged):
            there = np.abs(values[:, dimension] - limit[dimension]) <= 1e-6 * scale.span[dimension]
            places, part = stretches(there), float(there.mean())
            if len(places) >= LIMIT_VISITS and part > LIMIT_PART:
                names = _chosen(rows.features[column], [int(dimension)])
                message = (
                    f"{_subject(column, rows.features[column], names)} is at its {word} value, "
                    f"{limit[dimension]:.3g}, in {100 * part:.0f} % of the rows"
                )
                yield Finding(
                    rows.index,
                    "saturated",
                    "note",
                    message,
                    places[0],
                    column=column,
                    value=part,
                    threshold=LIMIT_PART,
                    places=_kept(places),
                    dimensions=names,
                )


def _stillness(rows: EpisodeRows) -> Iterator[Finding]:
    action, state = rows.numbers(ACTION), rows.numbers(STATE)
    if action is None or rows.length < STILL_S * rows.fps:
        return
    moved = np.ptp(action, axis=0).max(initial=0.0)
    if moved == 0:
        yield Finding(rows.index, "constant", "warning", "action is the same in every row", column=ACTION)
    elif state is not None and moved > STATE_MOVED and not np.ptp(state, axis=0).any():
        message = f"{STATE} is the same in every row, while the action changes by {moved:.3g}"
        yield Finding(rows.index, "constant", "warning", message, column=STATE, value=float(moved))


@dataclass(frozen=True)
class _Jumps:
    """Jumps of one column in one episode: (n,) rows before the step, dimensions and sizes, in order of rows."""

    episode: int
    column: str
    rows: NDArray[np.intp]
    dimensions: NDArray[np.intp]
    sizes: FloatArray


class JumpWatch:
    """Gathers steps that stand out, and tells of them when it is known which dimensions always make them."""

    def __init__(self, features: Mapping[str, Feature], scales: Mapping[str, Scale]) -> None:
        self._features = features
        self._scales = scales
        self._found: list[_Jumps] = []
        self._episodes = 0

    def look(self, rows: EpisodeRows) -> None:
        """Take an episode."""
        self._episodes += 1
        for column, scale in self._scales.items():
            values = rows.numbers(column)
            if values is None or len(values) < 2:
                continue
            steps = _steps(values, scale)
            where = [place for place in np.argwhere(steps > scale.jump) if _stands_out(steps, *place)]
            if where:
                first, dimension = np.array(where).T
                self._found.append(_Jumps(rows.index, column, first, dimension, steps[first, dimension]))

    def findings(self) -> Iterator[Finding]:
        """One for each episode and column that jumps."""
        episodes: dict[tuple[str, int], int] = defaultdict(int)
        for jumps in self._found:
            for dimension in set(jumps.dimensions.tolist()):
                episodes[jumps.column, dimension] += 1
        for jumps in self._found:
            count = max(episodes[jumps.column, dimension] for dimension in set(jumps.dimensions.tolist()))
            rare = min(episodes[jumps.column, dimension] for dimension in set(jumps.dimensions.tolist()))
            usual = self._episodes >= JUMP_USUAL_EPISODES and rare >= JUMP_USUAL * self._episodes
            yield self._finding(jumps, f", as in {count} of {self._episodes} episodes" if usual else "")

    def _finding(self, jumps: _Jumps, usual: str) -> Finding:
        scale, feature = self._scales[jumps.column], self._features[jumps.column]
        excess = jumps.sizes / scale.jump[jumps.dimensions]
        worst = int(np.argmax(excess))
        row, dimension = int(jumps.rows[worst]), int(jumps.dimensions[worst])
        worst_first = list(dict.fromkeys(jumps.dimensions[np.argsort(-excess)].tolist()))
        names = _chosen(feature, worst_first)
        places = _merged(jumps.rows)
        place = next(place for place in places if place[0] <= row < place[1])
        size = float(jumps.sizes[worst])
        subject = _subject(jumps.column, feature, names)
        message = f"{subject} jumps by {size:.3g} from row to row, {said(places, place)}{usual}"
        return Finding(
            jumps.episode,
            "action_jump" if jumps.column.startswith(ACTION) else "state_jump",
            "note" if usual else "warning",
            message,
            (row, row + 1),
            column=jumps.column,
            value=size,
            threshold=float(scale.jump[dimension]),
            places=_kept(places),
            dimensions=names,
        )


def _steps(values: FloatArray, scale: Scale) -> FloatArray:
    """(T - 1, D) how far each value goes from row to row; for an angle that wraps, without the turn."""
    steps = np.abs(np.diff(values, axis=0))
    is_angle = np.zeros(values.shape[1], bool)
    for low in ANGLES_FROM:
        is_angle |= (scale.low >= low - ANGLE_TOLERANCE) & (scale.high <= low + 2 * np.pi + ANGLE_TOLERANCE)
    return np.where(is_angle, np.minimum(steps, np.abs(2 * np.pi - steps)), steps)


def _stands_out(steps: FloatArray, row: int, dimension: int) -> bool:
    around = steps[max(0, row - JUMP_NEIGHBOURS) : row + JUMP_NEIGHBOURS + 1, dimension]
    return bool(steps[row, dimension] > JUMP_STANDS_OUT * np.nanmedian(around))


def length_findings(episode: RecordedEpisode, fps: float, usual: float | None) -> Iterator[Finding]:
    """Whether it is unusually long or short; `usual` is as `usual_length` gives it."""
    if episode.length < SHORT_S * fps:
        seconds = episode.length / fps
        message = f"{episode.length} rows are {seconds:.2g} s"
        yield Finding(episode.index, "length", "note", message, value=seconds, threshold=SHORT_S)
    elif usual is not None and not usual / LENGTH_RATIO <= episode.length <= usual * LENGTH_RATIO:
        limit = usual * LENGTH_RATIO if episode.length > usual else usual / LENGTH_RATIO
        message = f"{episode.length} rows, where the median is {usual:g}"
        yield Finding(episode.index, "length", "note", message, value=episode.length, threshold=limit)


def usual_length(lengths: Sequence[int]) -> float | None:
    """Median of the episodes' rows; None where they are too few to tell."""
    return float(np.median(lengths)) if len(lengths) >= LENGTH_EPISODES else None


def _between(flags: NDArray[np.bool_]) -> list[Place]:
    """Stretches of rows for flags on the steps between them."""
    return [(first, last + 1) for first, last in stretches(flags)]


def _merged(rows: NDArray[np.intp]) -> list[Place]:
    """Stretches of rows for the rows before steps, in order, maybe more than once."""
    flags = np.zeros(int(rows.max()) + 1, bool)
    flags[rows] = True
    return _between(flags)


def _worst(places: Iterable[Place], badness: FloatArray, shorter: int = 0) -> Place:
    """The place with the largest value; `shorter` by one where values are of the steps between rows."""
    return max(places, key=lambda place: float(np.nan_to_num(badness[place[0] : place[1] + 1 - shorter]).max()))


def _kept(places: Sequence[Place]) -> tuple[Place, ...]:
    return tuple(places[:PLACES_KEPT])


def _chosen(feature: Feature, dimensions: Iterable[int]) -> tuple[str, ...]:
    """Some dimensions of a column by name."""
    names = feature.dimension_names
    return tuple(names[number] for number in dimensions)


def _subject(column: str, feature: Feature, chosen: Sequence[str]) -> str:
    """A column and some of its dimensions in words, such as `action waist, elbow and 3 more`."""
    if np.prod(feature.shape) == 1:
        return column
    return f"{column} " + (
        ", ".join(chosen) if len(chosen) <= 3 else f"{', '.join(chosen[:2])} and {len(chosen) - 2} more"
    )
