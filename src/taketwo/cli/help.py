"""Help texts, 80 columns wide, out of the configuration classes."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from taketwo.cli.schema import REQUIRED, Option, options_of, parts_of, type_name
from taketwo.errors import one_line

WIDTH = 80


def heading(text: str) -> str:
    """A heading, bold where the output is a terminal."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"\x1b[1m{text}\x1b[0m"
    return text


def options_help(cls: type[Any], chosen: Mapping[str, str], own_title: str = "Run") -> str:
    """Every option of a configuration class, in groups; the class's own scalars come last, under a title of theirs."""
    options = options_of(cls, chosen)
    blocks = []
    own = [option for name, option in options.items() if "." not in name]
    for part in parts_of(cls):
        group = [option for name, option in options.items() if name.startswith(f"{part.name}.")]
        if not group:
            continue
        title = f"{part.name[0].upper()}{part.name[1:]}: {part.help}"
        if part.choice is not None:
            kind = chosen[part.name]
            title = f"{_kind(part.choice.registry.kind)} {kind}: {first_line(part.choice.registry.config_class(kind))}"
            group = [_with_names(group[0], part.choice.registry.targets(), kind), *group[1:]]
        blocks.append(_block(title, group))
    if own:
        blocks.append(_block(own_title if blocks else "Options", own))
    return "\n\n".join(blocks)


def first_line(cls: type[Any]) -> str:
    """The first paragraph, in one line, of a class's docstring."""
    return one_line((cls.__doc__ or "").strip().split("\n\n")[0])


def _kind(kind: str) -> str:
    return kind[0].upper() + kind[1:]


def _with_names(option: Option, names: Iterable[str], chosen: str) -> Option:
    others = ", ".join(name for name in names if name != chosen)
    text = f"{option.help}; --help with another one shows its options: {others}" if others else option.help
    return Option(option.name, option.type, chosen, text)


def _block(title: str, options: Iterable[Option]) -> str:
    lines = textwrap.wrap(title, WIDTH)
    return "\n".join([*map(heading, lines), *(_entry(option) for option in options)])


def _entry(option: Option) -> str:
    kind = type_name(option.type).replace(" or ", " | ")
    note = "(required)" if option.default is REQUIRED else f"[{_default(option.default)}]"
    first = f"  --{option.name}  {kind}  {note}"
    if len(first) > WIDTH:
        wrapped = textwrap.wrap(f"{kind}  {note}", WIDTH - 6, break_long_words=False)
        first = "\n".join([f"  --{option.name}", *(f"      {line}" for line in wrapped)])
    text = textwrap.fill(option.help, WIDTH, initial_indent="      ", subsequent_indent="      ")
    return f"{first}\n{text}" if text.strip() else first


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "empty"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_default(inner)}" for key, inner in value.items()) + "}"
    return str(value)
