"""The words of a command line: flags with their values, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from taketwo.errors import ConfigError


@dataclass(frozen=True)
class CommandLine:
    """A command line taken apart.

    Attributes:
        flags: name, dotted and with underscores, to value; None where a flag stood alone. The last one of a name wins.
        arguments: the words that are not flags.
    """

    flags: dict[str, str | None] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)


def plain_name(name: str) -> str:
    """Dashes and underscores are alike in names of flags and keys."""
    return name.lstrip("-").replace("-", "_")


def read_flags(words: Sequence[str], switches: Sequence[str] = ()) -> CommandLine:
    """Take `--flag=value`, `--flag value` and `--flag` apart; `-h` is `--help`.

    Args:
        switches: names that never take the word after them.

    Raises:
        ConfigError: a word begins with a single dash and is neither a value nor `-h`.
    """
    line = CommandLine()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "-h":
            line.flags["help"] = None
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            name = plain_name(name)
            if equals:
                line.flags[name] = value
            elif rest and not rest[0].startswith("--") and rest[0] != "-h" and name not in switches:
                line.flags[name] = rest.pop(0)
            else:
                line.flags[name] = None
        elif word.startswith("-") and len(word) > 1:
            raise ConfigError(f"unknown flag {word}; flags begin with two dashes, as in -{word}")
        else:
            line.arguments.append(word)
    return line
