"""Tables without the blanks that pad their last column, which would be copied along with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_table(console: Console, table: Table) -> None:
    """Print a table, its lines trimmed."""
    from rich.text import Text

    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        text = Text.from_ansi(line)
        text.rstrip()
        console.print(text, soft_wrap=True)
