"""The command `taketwo`: finds the command asked for, runs it, and turns errors into one line and a status."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from taketwo import __version__
from taketwo.cli.leaving import FAULT, leave_with, said_of, status_of
from taketwo.errors import ConfigError, TakeTwoError, one_of

COMMANDS = {
    "run": ("taketwo.cli.run", "run a policy in an environment over several episodes, and record them"),
    "eval": ("taketwo.cli.evaluate", "run many episodes on every core or a cluster, and tell how often they succeed"),
    "collect": ("taketwo.cli.collect", "the same, and record all episodes as one dataset"),
    "plan": ("taketwo.cli.plan", "print what eval and collect would run"),
    "compare": ("taketwo.cli.compare", "compare two runs on the same episodes, pair by pair"),
    "serve": ("taketwo.cli.serve", "serve a policy to openpi's clients and to taketwo run --policy.type=remote"),
    "records": ("taketwo.cli.records", "look at what a server has recorded, and ask another policy the same"),
    "replay": ("taketwo.cli.replay", "play recorded episodes again, and compare what comes out"),
    "render": ("taketwo.cli.render", "make new videos of recorded episodes, from any camera"),
    "view": ("taketwo.cli.view", "look at a recorded episode in the Rerun viewer"),
    "gallery": ("taketwo.cli.gallery", "look at recordings in a browser: videos, outcomes, plots"),
    "dataset": ("taketwo.cli.dataset", "list, check, repair, edit, export and send recorded datasets"),
    "list": ("taketwo.cli.listing", "list the available environments and policies"),
    "doctor": ("taketwo.cli.doctor", "check what works on this machine, and say how to fix the rest"),
}
"""Command to its module, with a `main(words) -> int`, and what it does."""


def script() -> NoReturn:
    """The console script: run the command line of this process, and end it."""
    leave_with(main)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0 done, 1 a fault, 2 a wrong flag, 130 Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as in `taketwo run --help | head`
        return FAULT
    except (TakeTwoError, KeyboardInterrupt) as error:
        if isinstance(error, TakeTwoError) and logging.getLogger("taketwo").isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        print(f"error: {said_of(error)}", file=sys.stderr)
        return status_of(error)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] == "--version":
        print(f"taketwo {__version__}")
        return 0
    command, *rest = words
    if command.startswith("-"):
        raise ConfigError(f"a command comes before {command}, as in: taketwo run {command}")
    if command not in COMMANDS:
        raise ConfigError(one_of("command", command, COMMANDS))
    module = importlib.import_module(COMMANDS[command][0])
    status: int = module.main(rest)
    return status


def _usage() -> str:
    lines = [
        "Take Two runs robot policies over many episodes and records them.",
        "",
        "Usage: taketwo COMMAND [--flag=value ...]",
        "",
        "Commands",
        *(f"  {name:<8}  {what}" for name, (_, what) in COMMANDS.items()),
        "",
        "Options",
        "  --help      this text; after a command, its flags",
        "  --version   the version",
        "",
        "Try",
        "  taketwo doctor",
        "  taketwo run --session.num_episodes=1 --output_dir=out",
    ]
    return "\n".join(lines)
