"""`taketwo eval`: run a policy over many episodes, and tell how often it succeeds."""

from __future__ import annotations

from collections.abc import Sequence

from taketwo.cli.fleet import read_command, run

INTRODUCTION = """Usage: taketwo eval [--flag=value ...] [--config_path=FILE]

Runs a policy over many episodes on several workers, and tells how often it
succeeds, with an interval. Episode k from seed s is the one that taketwo run
--session.seed=s has as its episode k, whatever runs it. A worker that crashes or
hangs costs its episode, which is tried again; faults are told beside the success
rate, and never in it. What is stopped or killed goes on by the same command.

Exit status: 0 when all episodes have ended, whatever their outcomes; 1 where one
is a fault; 2 for a wrong flag; 130 after Ctrl-C and 143 after SIGTERM."""


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    asked = read_command("eval", words, INTRODUCTION)
    return 0 if asked is None else run(asked)
