"""Bars that show how far a command is: in a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many are done, of how many."""
    with _bar(what, None) as update:
        yield lambda done, total: update(completed=done, total=total)


@contextmanager
def picture_bar(pictures: int) -> Iterator[Callable[[int], None]]:
    """A bar that is told how many more of so many pictures are made; none where there are none to make."""
    if not pictures:
        yield lambda number: None
        return
    with _bar("pictures", pictures) as update:
        yield lambda number: update(advance=number)


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Yields `rich.progress.Progress.update` of its one task; any thread may call it."""
    if not sys.stderr.isatty():
        yield lambda **values: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield partial(bar.update, bar.add_task(what, total=total))
