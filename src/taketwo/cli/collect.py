"""`taketwo collect`: run a policy over many episodes, and record them as one dataset."""

from __future__ import annotations

from collections.abc import Sequence

from taketwo.cli.fleet import read_command, run

INTRODUCTION = """Usage: taketwo collect [--flag=value ...] [--config_path=FILE]

Does what taketwo eval does, and records all episodes as one LeRobot dataset, in
the order of the plan: under dataset.repo_id or dataset.root, in dataset_dir, or
in the run's own folder. Faults are not in it.

Exit status: 0 when all episodes have ended, whatever their outcomes; 1 where one
is a fault; 2 for a wrong flag; 130 after Ctrl-C and 143 after SIGTERM."""


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    asked = read_command("collect", words, INTRODUCTION)
    return 0 if asked is None else run(asked)
