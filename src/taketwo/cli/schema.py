"""What can be configured: the fields of configuration dataclasses as dotted options."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from taketwo.registry import Registry

C = TypeVar("C")

REQUIRED = dataclasses.MISSING


@dataclass(frozen=True)
class Component(Generic[C]):
    """A part that is chosen by name.

    Attributes:
        type: its name in the registry.
        options: its configuration.
    """

    type: str
    options: C


@dataclass(frozen=True)
class Choice:
    """In a field's metadata: the field is a `Component` out of this registry."""

    registry: Registry
    default: str


@dataclass(frozen=True)
class Option:
    """One thing that can be set.

    Attributes:
        name: dotted, such as `session.seed`.
        type: its annotation.
        default: `REQUIRED` where it has to be given.
        help: one line.
        secret: whether its value is neither printed nor stored.
    """

    name: str
    type: Any
    default: Any
    help: str
    secret: bool = False


@dataclass(frozen=True)
class Part:
    """A field of a configuration class, with what it is.

    Attributes:
        default: its value where nothing is given; `REQUIRED` where there is none.
        choice: where it is a `Component`.
        nested: its class where it is a configuration of its own.
        secret: whether it is declared with `field(repr=False)`.
    """

    name: str
    type: Any
    default: Any
    help: str
    choice: Choice | None
    nested: type[Any] | None
    secret: bool


def parts_of(cls: type[Any]) -> list[Part]:
    """The fields of a configuration class, in order."""
    hints = typing.get_type_hints(cls)
    helps = attribute_docs(cls)
    parts = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        annotation = hints[field.name]
        choice = field.metadata.get("choice")
        nested = None if choice else _config_class(annotation)
        help_line = helps.get(field.name, "")
        parts.append(Part(field.name, annotation, default, help_line, choice, nested, secret=not field.repr))
    return parts


def options_of(cls: type[Any], chosen: Mapping[str, str] | None = None, prefix: str = "") -> dict[str, Option]:
    """Every option of a configuration class by its dotted name.

    Args:
        chosen: for each component, the type whose options count.

    Raises:
        ConfigError: a component has no such type.
    """
    return _options(cls, REQUIRED, chosen or {}, prefix)


def _options(cls: type[Any], base: Any, chosen: Mapping[str, str], prefix: str) -> dict[str, Option]:
    options: dict[str, Option] = {}
    for part in parts_of(cls):
        name = prefix + part.name
        default = part.default if base is REQUIRED or base is None else getattr(base, part.name)
        if part.choice is not None:
            kind = chosen.get(name, part.choice.default)
            which = f"which {part.choice.registry.kind}; see taketwo list"
            options[f"{name}.type"] = Option(f"{name}.type", str, part.choice.default, which)
            options |= _options(part.choice.registry.config_class(kind), REQUIRED, chosen, f"{name}.")
        elif part.nested is not None:
            options |= _options(part.nested, default, chosen, f"{name}.")
        else:
            options[name] = Option(name, part.type, default, part.help, part.secret)
    return options


def attribute_docs(cls: type[Any]) -> dict[str, str]:
    """The lines of a class docstring's `Attributes:` section by field name."""
    section = re.search(r"^ *Attributes:\n(.*?)(?=^ *\w+:\n|\Z)", cls.__doc__ or "", re.DOTALL | re.MULTILINE)
    if section is None:
        return {}
    docs: dict[str, str] = {}
    name, indent = "", None
    for line in section[1].splitlines():
        depth = len(line) - len(line.lstrip())
        entry = re.match(r"\s*(\w+): (.*)", line)
        if entry and (indent is None or depth == indent):
            indent = depth
            name = entry[1]
            docs[name] = entry[2].strip()
        elif name and line.strip():
            docs[name] += " " + line.strip()
    return docs


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return get_args(annotation) if get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)


def is_sequence(annotation: Any) -> bool:
    """Whether values of this type are lists or tuples."""
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, list | tuple)


def is_mapping(annotation: Any) -> bool:
    """Whether values of this type are dicts."""
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Mapping)


def type_name(annotation: Any) -> str:
    """A type in words for help and messages, None left out."""
    members = [member for member in alternatives(annotation) if member is not type(None)]
    return " or ".join(_single_type_name(member) for member in members)


def _single_type_name(annotation: Any) -> str:
    names = {int: "int", float: "float", str: "text", bool: "true or false", Path: "path", Any: "value"}
    if annotation in names:
        return names[annotation]
    if get_origin(annotation) is Literal:
        return " or ".join(str(value) for value in get_args(annotation))
    inner = get_args(annotation)
    if is_mapping(annotation):
        return f"mapping of {type_name(inner[1])}" if inner else "mapping"
    if is_sequence(annotation):
        count = "" if not inner or inner[-1] is Ellipsis or get_origin(annotation) is list else f"{len(inner)} "
        return f"list of {count}{type_name(inner[0])}" if inner else "list"
    return getattr(annotation, "__name__", str(annotation))


def _config_class(annotation: Any) -> type[Any] | None:
    for member in alternatives(annotation):
        if isinstance(member, type) and dataclasses.is_dataclass(member):
            return member
    return None
