"""What the subcommands of `taketwo dataset` print: tables of facts, outcomes and episodes in words."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from taketwo.cli.progress import STYLES
from taketwo.cli.summary import PLAIN_WIDTH
from taketwo.cli.tables import print_table
from taketwo.types import Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from taketwo.datasets.reader import RecordedEpisode

UNBROKEN_WIDTH = 10_000
"""Columns for facts where the output is not a terminal: a path is then in one piece."""


def new_console(unbroken: bool = False) -> Console:
    """For standard output.

    Args:
        unbroken: lines are only wrapped where the output is a terminal.
    """
    from rich.console import Console

    width = UNBROKEN_WIDTH if unbroken else PLAIN_WIDTH
    return Console(highlight=False, width=None if sys.stdout.isatty() else width)


def print_facts(facts: Iterable[tuple[str, str | Text]]) -> None:
    """Print labels and values; a line without a label goes on with the one before."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for label, value in facts:
        table.add_row(Text(label), value if isinstance(value, Text) else Text(value))
    print_table(new_console(unbroken=True), table)


def outcome_text(outcome: str) -> Text:
    """An outcome in its colour."""
    from rich.text import Text

    return Text(outcome, style=STYLES.get(Outcome(outcome), "") if outcome in set(Outcome) else "")


def shown_outcome(episode: RecordedEpisode) -> str:
    """How an episode ended; of one that LeRobot recorded, only what its rows tell."""
    if episode.outcome is not None:
        return episode.outcome
    if episode.success is None:
        return Outcome.UNJUDGED
    return Outcome.SUCCESS if episode.success else Outcome.FAILURE


def attempts(outcomes: Sequence[str]) -> tuple[int, int]:
    """Successes, and the attempts that they are among."""
    counts = Counter(outcomes)
    return counts[Outcome.SUCCESS], sum(counts[outcome] for outcome in Outcome if outcome.is_attempt)


def said_rate(outcomes: Sequence[str]) -> str:
    """Successes among attempts, such as `2/3 (67 %)`."""
    solved, tried = attempts(outcomes)
    return f"{solved}/{tried} ({100 * solved / tried:.0f} %)" if tried else "no episode was judged"


def said_episodes(indices: Sequence[int]) -> str:
    """Indices in order, as `--episodes` takes them: `1,4-6`."""
    pieces: list[str] = []
    start = 0
    for place, index in enumerate(indices):
        if place + 1 == len(indices) or indices[place + 1] != index + 1:
            first = indices[start]
            pieces.append(str(first) if first == index else f"{first}-{index}")
            start = place + 1
    return ",".join(pieces)
