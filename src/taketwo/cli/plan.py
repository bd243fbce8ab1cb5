"""`taketwo plan`: print what `taketwo eval` and `taketwo collect` would run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taketwo.cli.dataset_output import new_console, print_facts
from taketwo.cli.fleet import Asked, read_command
from taketwo.cli.fleet_tables import new_table
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_count
from taketwo.errors import one_line
from taketwo.fleet.episodes import Episodes
from taketwo.fleet.worker import EPISODES

INTRODUCTION = """Usage: taketwo plan [--flag=value ...] [--config_path=FILE]

Prints what taketwo eval would run with these flags, or taketwo collect where one
of them asks for a dataset, and what of it is done. Runs nothing."""


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    asked = read_command("plan", words, INTRODUCTION)
    if asked is not None:
        _print(asked)
    return 0


def _print(asked: Asked) -> None:
    folder = asked.config.folder(asked.command)
    done = Episodes(folder / EPISODES).done() if asked.plan.check_same(folder) else set[int]()
    table = new_table(("task",), ("episodes", "done"))
    for task, trials in asked.plan.tasks.items():
        table.add_row(one_line(task), str(len(trials)), str(sum(trial.index in done for trial in trials)))
    print_facts(list(_facts(asked, len(done))))
    console = new_console()
    console.print()
    print_table(console, table)


def _facts(asked: Asked, done: int) -> Iterator[tuple[str, str]]:
    config, plan = asked.config, asked.plan
    tasks, seeds = said_count(len(plan.tasks), "task"), said_count(len(config.seed), "seed")
    yield "command", f"taketwo {asked.command}"
    yield "folder", str(config.folder(asked.command))
    yield "policy", config.policy.type
    each = f"{config.num_trials_per_task} each"
    yield "episodes", f"{len(plan.trials)}: {tasks}, {seeds} ({','.join(map(str, config.seed))}), {each}"
    if done:
        yield "", f"{done} of them are done"
    yield "workers", str(config.num_workers(len(plan.trials)))
    if asked.records:
        yield "dataset", str(config.dataset_folder(asked.command))
