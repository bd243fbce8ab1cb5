"""Values of flags and of YAML files to the types of the fields that they are for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import yaml

from taketwo.cli.schema import Option, alternatives, is_mapping, is_sequence, type_name
from taketwo.errors import ConfigError


class StrictLoader(yaml.SafeLoader):
    """YAML whose `1e-3` is a number, as in YAML 1.2, and whose keys may not come twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; a key that comes twice is an error, where PyYAML keeps the last one."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # a list or a mapping, which PyYAML itself refuses as a key
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a file holds.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    try:
        content = yaml.load(text, StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: {getattr(error, 'problem', None) or 'this is not YAML'}") from error
    except ValueError as error:  # such as a date that no calendar has
        raise ConfigError(f"{path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not a mapping such as 'session: {{seed: 5}}'")
    return content


def from_text(option: Option, text: str | None) -> Any:
    """The value that a flag's text stands for; None where the flag stood alone.

    Raises:
        ConfigError: it cannot be had from this text.
    """
    members = alternatives(option.type)
    if text is None:
        if bool in members:
            return True
        raise ConfigError(f"--{option.name} needs a value: {type_name(option.type)}")
    if type(None) in members and text.strip().lower() in ("none", "null"):
        return None
    try:
        return msgspec.convert(_untyped(option.type, text), option.type, strict=False, dec_hook=_decode)
    except (msgspec.ValidationError, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--{option.name}: {_expected(option.type)}, got {text!r}{_nearest(option, text)}") from error


def from_yaml(option: Option, value: Any, where: str) -> Any:
    """The value of a YAML file for an option; nothing but whole numbers for real ones is converted.

    Raises:
        ConfigError: it has another type.
    """
    takes_text = any(member in (str, Any) for member in alternatives(option.type))
    try:
        return msgspec.convert(value if takes_text else _finite_or_not(value), option.type, dec_hook=_decode)
    except msgspec.ValidationError as error:
        shown = "" if option.secret else f" {value!r}"
        got = f"{type(value).__name__}{shown}" if value is not None else "nothing"
        near = _nearest(option, value) if isinstance(value, str) else ""
        raise ConfigError(f"{option.name} in {where}: {_expected(option.type)}, got {got}{near}") from error


def _untyped(annotation: Any, text: str) -> Any:
    """Text as lists and mappings of text where the type has a place for them."""
    members = [member for member in alternatives(annotation) if member is not type(None)]
    opening = text.lstrip()[:1]
    takes_list = any(is_sequence(member) for member in members)
    if Any in members:
        return yaml.load(text, StrictLoader)
    if (opening == "{" and any(is_mapping(member) for member in members)) or (opening == "[" and takes_list):
        free = any(Any in get_args(member) for member in members)
        return yaml.load(text if free else _quoted(text), StrictLoader if free else yaml.BaseLoader)
    if takes_list and ("," in text or all(is_sequence(member) for member in members)):
        return [item.strip() for item in text.split(",") if item.strip()]
    return text


def _quoted(text: str) -> str:
    """A mapping or list of texts with quotes around those that have brackets at their end, which YAML wants there.

    So `{state: state[0:7]}` can be written as it is meant.
    """
    return re.sub(r"(?<=[:,\[{])(\s*)([\w.]+\[[\w:]*\])(?=\s*[,}\]])", r'\1"\2"', text)


def _finite_or_not(value: Any) -> Any:
    """`inf` as a number: JSON, in which recordings keep their configuration, has no other way to say it."""
    if isinstance(value, dict):
        return {key: _finite_or_not(inner) for key, inner in value.items()}
    return float(value) if value in ("inf", "-inf") else value


def _decode(annotation: type, value: Any) -> Any:
    if annotation is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"expected {annotation.__name__}")


def _expected(annotation: Any) -> str:
    mappings = [member for member in alternatives(annotation) if is_mapping(member)]
    text = any(get_args(member)[1:] == (str,) for member in mappings)
    example = f" such as {{a: {'b' if text else '0.5'}}}" if mappings else ""
    return f"expected {type_name(annotation)}{example}"


def _nearest(option: Option, text: str) -> str:
    names = [
        str(name) for member in alternatives(option.type) if get_origin(member) is Literal for name in get_args(member)
    ]
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    return f". Did you mean {near[0]!r}?" if near else ""
