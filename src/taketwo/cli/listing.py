"""`taketwo list`: the available environments and policies."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Literal, get_args, get_origin

from taketwo.cli.extras import NEEDED_BY, USED_BY, install, missing
from taketwo.cli.flags import read_flags
from taketwo.cli.help import first_line
from taketwo.cli.schema import parts_of
from taketwo.cli.tables import print_table
from taketwo.envs.base import ENVIRONMENTS
from taketwo.errors import ConfigError, one_of
from taketwo.policies.base import POLICIES
from taketwo.registry import Registry

KINDS = {"envs": ("env", ENVIRONMENTS), "policies": ("policy", POLICIES)}

HELP = """Usage: taketwo list [envs|policies]

Lists the environments (--env.type) and policies (--policy.type): what each one
is, which package it comes from, and which extra it needs."""


def main(words: Sequence[str]) -> int:
    """Print one list or both."""
    line = read_flags(words, switches=("help",))
    if "help" in line.flags:
        print(HELP)
        return 0
    if line.flags:
        raise ConfigError(f"unknown flag --{next(iter(line.flags))}; taketwo list takes none")
    if len(line.arguments) > 1:
        raise ConfigError("taketwo list takes one name: envs or policies")
    for name in line.arguments:
        if name not in KINDS:
            raise ConfigError(one_of("list", name, KINDS))
    for name in line.arguments or KINDS:
        _print_list(name)
    return 0


def _print_list(name: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    section, registry = KINDS[name]
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind in registry.targets():
        facts = describe(section, registry, kind)
        table.add_row(Text(kind, style="bold"), Text("\n".join(facts)))
    console.print(Text(f"{name} (--{section}.type=NAME)", style="bold"))
    print_table(console, table)
    console.print()


def describe(section: str, registry: Registry, kind: str) -> list[str]:
    """The lines of the list about one component."""
    try:
        cls = registry.config_class(kind)
    except ConfigError as error:
        return [str(error)]
    facts = [first_line(cls)]
    tasks = _tasks(cls)
    if tasks:
        facts.append(f"tasks: {', '.join(tasks)} (--{section}.task=NAME)")
    facts.append(", ".join([_origin(section, registry, kind), *_extra(section, kind)]))
    return facts


def _tasks(cls: type[Any]) -> list[str]:
    for part in parts_of(cls):
        if part.name == "task" and get_origin(part.type) is Literal:
            return [str(task) for task in get_args(part.type)]
    return []


def _origin(section: str, registry: Registry, kind: str) -> str:
    target = registry.targets()[kind]
    for point in entry_points(group=f"taketwo.{'envs' if section == 'env' else 'policies'}"):
        if point.name == kind and point.value == target and point.dist is not None:
            return f"from {point.dist.name}"
    return "built in"


def _extra(section: str, kind: str) -> list[str]:
    if kind in USED_BY[section]:
        extra, part = USED_BY[section][kind]
        state = f"not installed: {install(extra)}" if missing(extra) else "installed"
        return [f"extra {extra}, for {part}, is {state}"]
    if kind not in NEEDED_BY[section]:
        return ["needs no extra"]
    extra = NEEDED_BY[section][kind]
    if missing(extra):
        return [f"needs an extra that is not installed: {install(extra)}"]
    return [f"extra {extra} is installed"]
