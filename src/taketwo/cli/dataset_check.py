"""`taketwo dataset check`: look for what could spoil training, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taketwo.cli.bars import progress_bar
from taketwo.cli.dataset_output import new_console
from taketwo.cli.dataset_words import dataset_folder, parsed_episodes, read_line
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_count
from taketwo.datasets.reader import Dataset
from taketwo.errors import ConfigError
from taketwo.recording.naming import make_folder, reserve, safe_name

if TYPE_CHECKING:
    from taketwo.datasets.quality import CheckResult

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}

FOUND_ERRORS = 1

AUTO, NONE = "auto", "none"

INTRODUCTION = """Usage: taketwo dataset check DATASET [--episodes=0,4-6] [--report=check.html]

Looks for missing and damaged files, gaps in time, jumps of actions, blurred,
dark and frozen pictures, missing verdicts and more; prints what was found, and
writes a page with plots and pictures. DATASET is a folder, or a repo id such as
me/cube.

Exit status: 0 when nothing worse than a warning was found; 1 for errors; 2 for
a wrong flag."""


@dataclass(frozen=True)
class CheckConfig:
    """Flags of `taketwo dataset check`.

    Attributes:
        episodes: which, such as 0,4-6; all where not given.
        report: the page to write; auto is NAME_check.html in the current folder, none writes no page. A file that is
            there is not replaced; the new one gets a number.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
    """

    episodes: str | None = None
    report: str = AUTO
    root: Path | None = None

    def __post_init__(self) -> None:
        if not self.report:
            raise ConfigError("report needs a value: a file such as check.html, auto or none")


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, CheckConfig, INTRODUCTION)
    if line is None:
        return 0
    from taketwo.datasets.quality import check
    from taketwo.datasets.quality_report import write_report

    config = line.config
    with Dataset.open(dataset_folder(line.arguments, config.root, "check")) as dataset:
        episodes = None
        if config.episodes is not None:
            episodes = parsed_episodes(config.episodes, len(dataset.episodes), dataset.root)
        page = _page(config.report, dataset)
        try:
            with progress_bar("episodes") as advance:
                result = check(dataset, episodes, advance)
            _print_findings(result)
            if page is not None:
                write_report(page, dataset, result)
                print(f"report: {page}")
        except BaseException:
            if page is not None:
                page.unlink(missing_ok=True)
            raise
    return FOUND_ERRORS if result.worst == "error" else 0


def _page(report: str, dataset: Dataset) -> Path | None:
    """The file for the report, which nobody else gets."""
    if report == NONE:
        return None
    path = Path(f"{safe_name(dataset.root.resolve().name)}_check.html") if report == AUTO else Path(report).expanduser()
    if path.is_dir():
        raise ConfigError(f"--report: {path} is a folder; give a file such as {path / 'check.html'}")
    make_folder(path.parent)
    return reserve(path.parent, path.stem, path.suffix)


def _print_findings(result: CheckResult) -> None:
    from rich.table import Table
    from rich.text import Text

    from taketwo.datasets.quality_report import summary_rows

    console = new_console()
    rows = summary_rows(result)
    if rows:
        table = Table(box=None, padding=(0, 2, 1, 0), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row in rows:
            found = Text.assemble((row.title, "bold"), f", {row.where}\n{row.example}\n", (row.advice, "dim"))
            table.add_row(Text(row.severity, style=STYLES[row.severity]), found)
        print_table(console, table)
    for line in result.skipped:
        console.print(Text(f"not judged: {line}", style="dim"), soft_wrap=True)
    console.print(Text(_said(result)), soft_wrap=True)


def _said(result: CheckResult) -> str:
    checked = f"{said_count(len(result.episodes), 'episode')} checked"
    if not result.findings:
        return f"{checked}: nothing was found"
    counts = [
        said_count(number, severity)
        for severity in STYLES
        if (number := sum(finding.severity == severity for finding in result.findings))
    ]
    return f"{checked}: {', '.join(counts)}"
