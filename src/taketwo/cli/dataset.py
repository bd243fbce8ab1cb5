"""`taketwo dataset`: look at datasets, check, mend, edit and send them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from taketwo.cli.flags import plain_name
from taketwo.cli.help import heading
from taketwo.cli.stopping import ending_in_order
from taketwo.errors import ConfigError, one_of

SUBCOMMANDS = {
    "info": ("taketwo.cli.dataset_info", "what a dataset holds"),
    "list": ("taketwo.cli.dataset_list", "its episodes; also rollout videos whose names tell the outcome"),
    "check": ("taketwo.cli.dataset_check", "look for what could spoil training, and write a report"),
    "repair": ("taketwo.cli.dataset_repair", "finish what a crash interrupted, save or remove an unfinished take"),
    "rename": ("taketwo.cli.dataset_rename", "give it another name or place"),
    "delete-episodes": ("taketwo.cli.dataset_delete", "take episodes out, without encoding the others again"),
    "merge": ("taketwo.cli.dataset_merge", "put several datasets into a new one"),
    "export": ("taketwo.cli.dataset_export", "write plain files: CSV or NumPy, and MP4 or PNG"),
    "push": ("taketwo.cli.dataset_push", "send it to the Hugging Face Hub"),
}
"""Subcommand to its module, with a `main(words) -> int`, and what it does."""


def main(words: Sequence[str]) -> int:
    """Run a subcommand; returns its exit status."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    word, *rest = words
    if word.startswith("-"):
        raise ConfigError(f"a subcommand comes before {word}, as in: taketwo dataset info {word}")
    modules = {plain_name(name): module for name, (module, _) in SUBCOMMANDS.items()}
    if plain_name(word) not in modules:
        raise ConfigError(one_of("subcommand", word, SUBCOMMANDS))
    with ending_in_order() as came:
        try:
            status: int = importlib.import_module(modules[plain_name(word)]).main(rest)
        except KeyboardInterrupt:
            if not came:
                raise
            print("error: interrupted", file=sys.stderr)
            return 128 + came[0]
    return status


def _usage() -> str:
    lines = [
        "Usage: taketwo dataset SUBCOMMAND [DATASET] [--flag=value ...]",
        "",
        "DATASET is a folder, or a repo id such as me/cube, which is in LeRobot's home.",
        "",
        heading("Subcommands"),
        *(f"  {name:<15}  {what}" for name, (_, what) in SUBCOMMANDS.items()),
        "",
        "With --help after it, each one tells its flags.",
        "",
        heading("Try"),
        "  taketwo dataset list me/cube --failed",
        "  taketwo dataset check me/cube",
    ]
    return "\n".join(lines)
