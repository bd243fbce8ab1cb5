"""What runs over many episodes come to, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from taketwo.cli.dataset_output import new_console, print_facts
from taketwo.cli.progress import STYLES
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_count, said_seconds
from taketwo.errors import one_line, shortened
from taketwo.fleet.results import FleetResults
from taketwo.fleet.statistics import CONFIDENCE, Interval
from taketwo.fleet.summary import Summary, TaskSummary, summarize
from taketwo.types import Outcome

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

TASK_WIDTH = 40
"""Longer names of tasks are cut; `results.json` has them whole."""

REASON_WIDTH = 90
"""Longer reasons are cut; `results.json` has them whole."""

SHOWN_REASONS = 8
"""Reasons that are told, most frequent first."""

ALL = "all tasks"


def print_results(run: FleetResults, confidence: float = CONFIDENCE) -> None:
    """Print the table of tasks, what went wrong and where the time went."""
    summary = summarize(run.trials, run.results, confidence, run.until is not None)
    console = new_console()
    console.print()
    print_table(console, _table(summary))
    console.print()
    print_facts(list(_facts(run, summary)))


def new_table(left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """An empty table whose first columns are words and whose others are numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def said_rate(rate: float | None) -> str:
    """A rate in percent; empty where there is none."""
    return "" if rate is None else f"{100 * rate:.1f} %"


def said_interval(interval: Interval, signed: bool = False) -> str:
    """An interval in percent, or in points of percent where it is signed."""
    low, high = 100 * interval.low, 100 * interval.high
    return f"{low:+.1f} to {high:+.1f}" if signed else f"{low:.1f} to {high:.1f} %"


def _table(summary: Summary) -> Table:
    level = f"{100 * summary.confidence:g} % interval"
    table = new_table(("task",), ("success", "rate", level, "steps", "sim time", "took", "faults"))
    rows = [*summary.tasks, summary.total] if len(summary.tasks) != 1 else summary.tasks
    for task in rows:
        table.add_row(*_cells(task), style="bold" if task.task is None else "")
    return table


def _cells(task: TaskSummary) -> list[str]:
    return [
        ALL if task.task is None else shortened(task.task, TASK_WIDTH),
        f"{task.successes}/{task.attempts}",
        said_rate(task.rate),
        said_interval(task.interval) if task.attempts else "",
        "" if task.mean_steps is None else f"{task.mean_steps:.1f}",
        "" if task.mean_sim_s is None else f"{task.mean_sim_s:.1f} s",
        said_seconds(task.wall_s / task.ended) if task.ended else "",
        str(task.faults) if task.faults else "",
    ]


def _facts(run: FleetResults, summary: Summary) -> Iterator[tuple[str, str | Text]]:
    total = summary.total
    yield "episodes", f"{total.ended} of {said_count(total.planned, 'planned episode')} in {said_seconds(run.wall_s)}"
    if run.ended:
        yield "ended", one_line(run.ended)
    if summary.sequential:
        yield "intervals", "confidence sequences, which hold although the results decided when to stop"
    yield "outcomes", _counted({str(outcome): count for outcome, count in total.outcomes.items()})
    if total.not_attempts:
        kinds = _counted({str(outcome): count for outcome, count in total.not_attempts.items()})
        yield "not counted", f"{kinds}; they are in no success rate"
    if total.tried_again:
        yield "tried again", f"{said_count(total.tried_again, 'episode')}, after a fault or a lost worker"
    for number, ((outcome, reason), count) in enumerate(total.reasons.items()):
        if number == SHOWN_REASONS:
            yield "", f"and {said_count(len(total.reasons) - number, 'other reason')}: results.json has all"
            break
        yield "reasons" if not number else "", _reason(outcome, reason, count)
    if total.timings_s:
        whole = sum(total.timings_s.values())
        yield "time went to", ", ".join(f"{name} {100 * s / whole:.0f} %" for name, s in total.timings_s.items())


def _reason(outcome: Outcome, reason: str, count: int) -> Text:
    from rich.text import Text

    return Text.assemble(f"{count} ", (str(outcome), STYLES[outcome]), f": {shortened(reason, REASON_WIDTH)}")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
