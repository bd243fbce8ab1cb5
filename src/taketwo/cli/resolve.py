"""Flags and a YAML file to one checked configuration, and back to plain values."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from taketwo.cli.convert import from_text, from_yaml
from taketwo.cli.flags import plain_name
from taketwo.cli.masking import MASK, is_masked, without_credentials
from taketwo.cli.schema import REQUIRED, Component, Option, options_of, parts_of
from taketwo.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """What the user gave.

    Attributes:
        flags: by dotted name, None for a flag that stood alone.
        file: the content of the YAML file.
        path: the YAML file, or None.
    """

    flags: Mapping[str, str | None]
    file: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: Path | None = None


def resolve(cls: type[T], source: Source, *, extra_flags: Iterable[str] = ()) -> T:
    """Build a configuration; flags win over the file, and the file over defaults.

    Args:
        extra_flags: flags of the command itself, to suggest for a wrong one.

    Raises:
        ConfigError: something that was given is unknown, of a wrong type, or not allowed.
    """
    chosen = chosen_types(cls, source)
    options = options_of(cls, chosen)
    values: dict[str, Any] = {}
    for name, value in _flatten(source.file, options, cls, chosen, source.path):
        values[name] = from_yaml(options[name], value, str(source.path))
        left_out = value == MASK if options[name].secret else is_masked(value)
        if left_out and name not in source.flags:
            raise ConfigError(f"{name} in {source.path} was left out when it was stored; give it as --{name}=...")
    for name, text in source.flags.items():
        if name not in options:
            raise ConfigError(_unknown_flag(name, cls, chosen, [*options, *extra_flags]))
        values[name] = from_text(options[name], text)
    built: T = _Builder(values, chosen, source).build(cls, REQUIRED, "")
    return built


def chosen_types(cls: type[Any], source: Source) -> dict[str, str]:
    """For each component of a configuration, the type that was chosen, or the default one."""
    chosen = {}
    for part in parts_of(cls):
        if part.choice is None:
            continue
        section = source.file.get(part.name)
        in_file = section.get("type") if isinstance(section, Mapping) else None
        if in_file is not None and not isinstance(in_file, str):
            raise ConfigError(f"{part.name}.type in {source.path}: expected text, got {in_file!r}")
        flag = f"{part.name}.type"
        if flag in source.flags and not source.flags[flag]:
            raise ConfigError(f"--{flag} needs a value: {' or '.join(sorted(part.choice.registry.targets()))}")
        chosen[part.name] = source.flags.get(flag) or in_file or part.choice.default
    return chosen


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration as plain values, nested as a YAML file of it is; secrets and credentials in URLs are masked."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Component):
            plain[field.name] = {"type": value.type, **to_plain(value.options)}
        elif dataclasses.is_dataclass(value):
            plain[field.name] = to_plain(value)
        elif not field.repr and value is not None:
            plain[field.name] = MASK
        else:
            plain[field.name] = _plain_value(msgspec.to_builtins(value, enc_hook=str))
    return plain


def _plain_value(value: Any) -> Any:
    """What both YAML and JSON have: lists for tuples, and words for infinities."""
    if isinstance(value, Mapping):
        return {key: _plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(inner) for inner in value]
    if isinstance(value, str):
        return without_credentials(value)
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def in_full(error: ConfigError, prefix: str, cls: type[Any], source: Source) -> ConfigError:
    """The same error with the flag's or key's full name where a component named its field only."""
    names = {part.name for part in parts_of(cls)}
    section = prefix.rstrip(".")

    def shown(name: str) -> str:
        in_file = source.path is not None and prefix + name not in source.flags and holds(source.file, prefix + name)
        return f"{prefix}{name} in {source.path}" if in_file else f"--{prefix}{name}"

    message = str(error)
    first = re.match(r"[`'\"]?(\w+)[`'\"]?(?=[\s:\[,]|$)", message)
    if first and first[1] in names:
        return ConfigError(shown(first[1]) + message[first.end() :])
    if not section:
        return ConfigError(message)
    dotted = re.compile(rf"(?<![\w.-]){re.escape(section)}\.(\w+)")
    if any(match[1] in names for match in dotted.finditer(message)):
        return ConfigError(dotted.sub(lambda match: shown(match[1]) if match[1] in names else match[0], message))
    return ConfigError(f"{section}: {message}")


@dataclass(frozen=True)
class _Builder:
    values: Mapping[str, Any]
    chosen: Mapping[str, str]
    source: Source

    def build(self, cls: type[Any], base: Any, prefix: str) -> Any:
        arguments = {}
        for part in parts_of(cls):
            name = prefix + part.name
            if part.choice is not None:
                kind = self.chosen[name]
                options = self.build(part.choice.registry.config_class(kind), REQUIRED, f"{name}.")
                arguments[part.name] = Component(kind, options)
            elif part.nested is not None:
                inner = part.default if base is REQUIRED or base is None else getattr(base, part.name)
                if any(given.startswith(f"{name}.") for given in self.values):
                    arguments[part.name] = self.build(part.nested, inner, f"{name}.")
                elif inner is REQUIRED:
                    arguments[part.name] = self.build(part.nested, REQUIRED, f"{name}.")
            elif name in self.values:
                arguments[part.name] = self.values[name]
            elif part.default is REQUIRED and base in (REQUIRED, None):
                raise ConfigError(f"--{name} is needed: {part.help or part.name}")
        try:
            return cls(**arguments) if base is REQUIRED or base is None else dataclasses.replace(base, **arguments)
        except ConfigError as error:
            raise in_full(error, prefix, cls, self.source) from error


def holds(content: Mapping[str, Any], name: str) -> bool:
    """Whether nested content has a key of this dotted name; dashes and underscores are alike."""
    head, _, rest = name.partition(".")
    for key, value in content.items():
        if plain_name(str(key)) == head:
            return not rest or (isinstance(value, Mapping) and holds(value, rest))
    return False


def _flatten(
    content: Mapping[str, Any],
    options: Mapping[str, Option],
    cls: type[Any],
    chosen: Mapping[str, str],
    path: Path | None,
    prefix: str = "",
) -> Iterable[tuple[str, Any]]:
    """Dotted names and values of a nested mapping, down to the options."""
    for key, value in content.items():
        name = prefix + plain_name(str(key))
        if name in options:
            yield name, value
        elif not any(option.startswith(f"{name}.") for option in options):
            raise ConfigError(_unknown_key(name, str(path), cls, chosen, list(options)))
        elif isinstance(value, Mapping):
            yield from _flatten(value, options, cls, chosen, path, f"{name}.")
        elif value is not None:
            inner = next(option for option in options if option.startswith(f"{name}.")).removeprefix(f"{name}.")
            raise ConfigError(f"{name} in {path}: expected a mapping such as {{{inner}: ...}}, got {value!r}")


def _unknown_flag(name: str, cls: type[Any], chosen: Mapping[str, str], known: list[str]) -> str:
    elsewhere = _elsewhere(name, cls, chosen)
    if elsewhere:
        section, kinds = elsewhere
        return f"--{name} belongs to --{section}.type={kinds}, and --{section}.type is {chosen[section]}"
    near = " or ".join(f"--{other}" for other in nearest(name, known))
    return f"unknown flag --{name}. " + (f"Did you mean {near}?" if near else "See --help.")


def _unknown_key(name: str, where: str, cls: type[Any], chosen: Mapping[str, str], known: list[str]) -> str:
    elsewhere = _elsewhere(name, cls, chosen)
    if elsewhere:
        section, kinds = elsewhere
        return f"{name} in {where} belongs to {section}.type {kinds}, and {section}.type is {chosen[section]}"
    near = " or ".join(nearest(name, known))
    return f"unknown key {name} in {where}. " + (f"Did you mean {near}?" if near else "See --help.")


def _elsewhere(name: str, cls: type[Any], chosen: Mapping[str, str]) -> tuple[str, str] | None:
    """The component, and its other types that have an option of this name, in words; or None."""
    for part in parts_of(cls):
        if part.choice is None or not name.startswith(f"{part.name}."):
            continue
        kinds = []
        for kind in sorted(part.choice.registry.targets()):
            try:
                options = options_of(part.choice.registry.config_class(kind), prefix=f"{part.name}.")
            except ConfigError:  # a third party's that cannot be imported says nothing about this flag
                continue
            if kind != chosen[part.name] and name in options:
                kinds.append(kind)
        if kinds:
            return part.name, " or ".join(kinds)
    return None


def nearest(name: str, known: list[str]) -> list[str]:
    """The one or two options that a wrong name was most likely meant to be."""
    last = name.rpartition(".")[2]
    same_end = [option for option in known if option.rpartition(".")[2] == last]
    if same_end:
        return same_end[:2]
    inside = [option for option in known if option.startswith(f"{name}.")]
    if inside:
        return inside[:1]
    whole = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    if whole:
        return whole
    ends = {option.rpartition(".")[2]: option for option in reversed(known)}
    return [ends[end] for end in difflib.get_close_matches(last, list(ends), n=1, cutoff=0.7)]
