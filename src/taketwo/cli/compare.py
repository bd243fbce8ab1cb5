"""`taketwo compare`: two runs on the same episodes, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taketwo.cli.dataset_output import new_console, outcome_text, print_facts
from taketwo.cli.dataset_words import read_line
from taketwo.cli.fleet_tables import ALL, TASK_WIDTH, new_table, said_interval, said_rate
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_count
from taketwo.errors import ConfigError, shortened
from taketwo.fleet.comparison import Comparison, Pair, TaskComparison, as_plain, compare
from taketwo.fleet.results import read_results
from taketwo.recording.plain import to_json

if TYPE_CHECKING:
    from rich.console import Console

INTRODUCTION = """Usage: taketwo compare A B [--flag=value ...]

Compares two runs of taketwo eval or taketwo collect on the episodes that both
attempted: those of the same task, seed and number. A and B are folders of runs,
or their results.json. Differences are B minus A, in points of percent.

The interval is Tango's score interval for paired rates; p is that of McNemar's
test (mid-p), in tasks raised by Holm's method, since among many tasks one
differs by chance. Where one of the runs was stopped by its results (--until),
both are replaced by ones that hold at any time.

Exit status: 0 when they were compared, whatever the difference; 1 when they
cannot be; 2 for a wrong flag."""

SHOWN_PAIRS = 20
"""Episodes that differ that are listed; --json has all."""

SHOWN_CHANGES = 20
"""Differences of the configurations that are listed; --json has all."""

VALUE_WIDTH = 60
"""Longer values of options are cut; --json has them whole."""


@dataclass(frozen=True)
class CompareConfig:
    """Flags of `taketwo compare`.

    Attributes:
        confidence: with which the intervals cover the true difference.
        json: for programs.
    """

    confidence: float = 0.95
    json: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.confidence) and 0.5 <= self.confidence < 1):
            raise ConfigError(f"confidence must be from 0.5 to below 1, such as 0.95, not {self.confidence}")


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, CompareConfig, INTRODUCTION, arguments=None)
    if line is None:
        return 0
    if len(line.arguments) < 2:
        raise ConfigError("compare needs two runs, as in: taketwo compare outputs/one outputs/other")
    if len(line.arguments) > 2:
        raise ConfigError(f"compare takes two runs, and {line.arguments[2]!r} would be a third")
    places = [Path(word).expanduser() for word in line.arguments]
    runs = [read_results(place) for place in places]
    comparison = compare(runs[0], runs[1], line.config.confidence)
    if line.config.json:
        told = [
            {"path": place, "name": run.name, "fingerprint": run.fingerprint}
            for place, run in zip(places, runs, strict=True)
        ]
        print(to_json({"a": told[0], "b": told[1], **as_plain(comparison)}, indent=2))
    else:
        _print(places, comparison)
    return 0


def _print(places: Sequence[Path], comparison: Comparison) -> None:
    print_facts([("A", str(places[0])), ("B", str(places[1])), *_changes(comparison)])
    console = new_console()
    console.print()
    level = f"{100 * comparison.confidence:g} % interval"
    table = new_table(("task",), ("pairs", "A", "B", "B - A", level, "only A", "only B", "p"))
    rows = comparison.tasks if len(comparison.tasks) == 1 else [*comparison.tasks, comparison.total]
    for task in rows:
        table.add_row(*_cells(task), style="bold" if task.task is None else "")
    print_table(console, table)
    console.print()
    print_facts(list(_facts(comparison)))
    if comparison.differing:
        console.print()
        _print_differing(console, comparison.differing)


def _cells(task: TaskComparison) -> list[str]:
    return [
        ALL if task.task is None else shortened(task.task, TASK_WIDTH),
        str(task.pairs),
        *map(said_rate, task.rates),
        f"{100 * task.difference:+.1f}",
        said_interval(task.interval, signed=True),
        str(task.only_a),
        str(task.only_b),
        _said_p(task.p),
    ]


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    total = comparison.total
    yield "result", _verdict(comparison)
    if total.test is not None:
        p = f"p {_said_p(total.test.mid_p)} (mid-p), {_said_p(total.test.exact)} (exact)"
        yield "McNemar", f"{p}, from {said_count(total.only_a + total.only_b, 'pair')} that differ"
    if comparison.sequential:
        yield "intervals", "confidence sequences, since results decided when to stop; p holds at any time as well"
    for number, (why, count) in enumerate(comparison.unpaired.items()):
        yield "left out" if not number else "", f"{said_count(count, 'episode')}: {why}"
    if comparison.differing:
        yield "differ", f"{said_count(len(comparison.differing), 'episode')}, which only one of them solved"


def _verdict(comparison: Comparison) -> str:
    total, level = comparison.total, f"{100 * comparison.confidence:g} % confidence"
    if 0.0 in total.interval:
        most = 100 * max(abs(total.interval.low), abs(total.interval.high))
        return f"no difference is shown with {level}; one of up to {most:.1f} points may be there"
    better, worse = ("B", "A") if total.difference > 0 else ("A", "B")
    least, most = sorted(100 * abs(end) for end in (total.interval.low, total.interval.high))
    return f"{better} is better than {worse}, by {least:.1f} to {most:.1f} points with {level}"


def _print_differing(console: Console, pairs: Sequence[Pair]) -> None:
    table = new_table(("task",), ("seed", "number", "A", "B", "episode of A", "of B"))
    for pair in pairs[:SHOWN_PAIRS]:
        outcomes = outcome_text(pair.result_a.outcome), outcome_text(pair.result_b.outcome)
        seed, number = str(pair.a.seed), str(pair.a.number)
        task = shortened(pair.a.task, TASK_WIDTH)
        table.add_row(task, seed, number, *outcomes, str(pair.a.index), str(pair.b.index))
    print_table(console, table)
    if len(pairs) > SHOWN_PAIRS:
        console.print(f"and {len(pairs) - SHOWN_PAIRS} more: --json has all of them")


def _changes(comparison: Comparison) -> Iterator[tuple[str, str]]:
    for number, (name, (a, b)) in enumerate(comparison.changed.items()):
        if number == SHOWN_CHANGES:
            yield "", f"and {len(comparison.changed) - number} more: --json has all of them"
            break
        yield "B has other" if not number else "", f"{name}: {_said(b)} instead of {_said(a)}"


def _said(value: Any) -> str:
    return "none" if value is None else shortened(value if isinstance(value, str) else to_json(value), VALUE_WIDTH)


def _said_p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.001 else f"{p:.3f}"
