"""The summary of a session, as a table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from textwrap import shorten
from typing import TYPE_CHECKING

from taketwo import gl
from taketwo.cli.gpu_drawing import said_of_drawing
from taketwo.cli.progress import STYLES
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_count
from taketwo.errors import one_line
from taketwo.session.punctuality import KEPT_UP
from taketwo.session.result import LoopStats, SessionResult
from taketwo.session.tally import success_rate
from taketwo.types import Episode, Outcome

if TYPE_CHECKING:
    from rich.table import Table

NOTICED_S = 0.05
"""Waits for a sink shorter than this, over the whole session, are not worth a line."""

REASON_WIDTH = 70
"""Longer reasons are cut in the table; `session.json` has them whole."""

PLAIN_WIDTH = 120
"""Columns where the output is not a terminal."""

FINISHED = "took"

TOLD_OTHERWISE = {"success", "finish_time_s"}
"""Metrics of environments that say what the summary says anyway."""

MOST_ROWS = 64
"""Environments that are told one by one."""


def print_summary(
    result: SessionResult,
    control_hz: float,
    max_hz: float,
    more: Sequence[tuple[str, str]],
    outage_s: float = 0.0,
) -> None:
    """Print the table and the totals.

    Args:
        control_hz: actions a second that the session stands for.
        max_hz: the rate that was asked for; 0 where none was.
        more: further lines, such as what was recorded: a label, and a path or a remark.
        outage_s: how long there was nobody to ask, of the session's time.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    console.print()
    if result.episodes:
        several = any(episode.env for episode in result.episodes)
        print_table(console, _table_of_environments(result.episodes) if several else _table(result.episodes))
        console.print()
    rows = [*_totals(result, max_hz, outage_s), *figures(result.episodes, control_hz), *more]
    width = max(len(label) for label, _ in rows) + 2
    for label, value in rows:
        console.print(Text.assemble((label.ljust(width), "bold"), value), soft_wrap=True)


def successes(episodes: Sequence[Episode]) -> str:
    """Successes among attempts, such as `2/3 (67 %)`; faults, interruptions and unjudged ends are listed apart."""
    counts = Counter(episode.outcome for episode in episodes)
    attempts = sum(count for outcome, count in counts.items() if outcome.is_attempt)
    rate = success_rate(episodes)
    none = "nobody judged it" if counts[Outcome.UNJUDGED] else "no attempt was finished"
    text = none if rate is None else f"{counts[Outcome.SUCCESS]}/{attempts} ({100 * rate:.0f} %)"
    others = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome] and not outcome.is_attempt]
    return f"{text}; not counted: {', '.join(others)}" if others else text


def _table(episodes: Sequence[Episode]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("episode", "seed", "steps"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("max reward", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for episode in episodes:
        table.add_row(
            str(episode.index + 1),
            str(episode.seed),
            str(episode.steps),
            Text(episode.outcome, style=STYLES[episode.outcome]),
            f"{episode.reward_max:g}",
            Text(shorten(episode.reason, REASON_WIDTH, placeholder=" ...")),
        )
    return table


def _table_of_environments(episodes: Sequence[Episode]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("environment", "episodes", "steps", "success"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcomes")
    for env in sorted({episode.env for episode in episodes})[:MOST_ROWS]:
        own = [episode for episode in episodes if episode.env == env]
        rate = success_rate(own)
        outcomes = [Text(episode.outcome, style=STYLES[episode.outcome]) for episode in own]
        table.add_row(
            str(env),
            str(len(own)),
            str(sum(episode.steps for episode in own)),
            "" if rate is None else f"{100 * rate:.0f} %",
            Text(", ").join(outcomes),
        )
    return table


def figures(episodes: Sequence[Episode], control_hz: float) -> list[tuple[str, str]]:
    """Means over all whole episodes: when those that succeeded had done so, and what the environment tells of each."""
    attempts = [episode for episode in episodes if episode.outcome.is_attempt or episode.outcome is Outcome.UNJUDGED]
    times = [episode.steps / control_hz for episode in attempts if episode.outcome is Outcome.SUCCESS]
    values: dict[str, list[float]] = {FINISHED: times}
    for episode in attempts:
        for name in sorted(episode.metrics.keys() - TOLD_OTHERWISE):
            values.setdefault(name, []).append(episode.metrics[name])
    return [
        (name, _mean(numbers, len(attempts), " s to succeed" if name == FINISHED else ""))
        for name, numbers in sorted(values.items(), key=lambda item: item[0] != FINISHED)
        if numbers
    ]


def _mean(numbers: Sequence[float], attempts: int, unit: str) -> str:
    """Mean and standard deviation, with their number where not all episodes have one."""
    text = f"{fmean(numbers):.4g}"
    if len(numbers) > 1:
        text += f" ± {stdev(numbers):.2g}"
    return f"{text}{unit}" if len(numbers) == attempts else f"{text}{unit} in {len(numbers)} of {attempts} episodes"


def _totals(result: SessionResult, max_hz: float, outage_s: float) -> list[tuple[str, str]]:
    steps = sum(episode.steps for episode in result.episodes)
    wall_s = result.loop.wall_s
    rows = [
        ("success", successes(result.episodes)),
        ("steps", f"{steps} in {wall_s:.1f} s ({steps / wall_s:.1f} steps/s)" if wall_s > 0 else str(steps)),
    ]
    if result.fault is None:  # a fault is told last, in full
        rows.append(("ended", one_line(result.reason)))
    if result.loop.paused_s:
        rows.append(("", f"paused for {result.loop.paused_s:.1f} s"))
    interventions = sum(episode.interventions for episode in result.episodes)
    if interventions:
        rows.append(("retries", f"{said_count(interventions, 'intervention')} within episodes"))
    guarded = sum(episode.guarded_steps for episode in result.episodes)
    if guarded:
        rows.append(("guard", f"held the receiving arm back in {guarded} of {steps} steps"))
    if result.loop.overruns:
        rows.append(("timing", f"{result.loop.overruns} steps began late, {result.loop.lost_s:.1f} s were given up"))
    if result.loop.stalls:
        rows.append(("", f"{result.loop.stalls} steps waited for the policy"))
    if wall_s > outage_s and steps / (wall_s - outage_s) < KEPT_UP * max_hz:
        rows.append(("", f"too slow for {max_hz:g} Hz: fewer, smaller or cheaper pictures help"))
    rows += zip(("drawing", ""), drawing(result.loop), strict=False)
    rows += _sinks("waited for", {name: f"{s:.1f} s" for name, s in result.waited_s.items() if s > NOTICED_S})
    return rows


def drawing(loop: LoopStats) -> list[str]:
    """How fast each camera was drawn, by what, and what to do where that was what took the time."""
    if not loop.drawn:
        return []
    rates = [
        f"{camera} {drawn.pictures / drawn.seconds:.0f}/s" for camera, drawn in loop.drawn.items() if drawn.seconds
    ]
    renderer = gl.renderer() if "mujoco" in sys.modules else ""
    kind = "software" if gl.in_software(renderer) else "a GPU"
    by = f", by {kind}: {renderer}" if renderer else ""
    said = said_of_drawing(sum(drawn.seconds for drawn in loop.drawn.values()), loop.wall_s, renderer)
    return [f"{', '.join(rates)}{by}", *([said] if said else [])] if rates else []


def _sinks(label: str, values: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(label, ", ".join(f"{name} {value}" for name, value in values.items()))] if values else []
