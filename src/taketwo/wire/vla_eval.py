"""The messages of vla-eval (https://github.com/allenai/vla-evaluation-harness) between benchmarks and model servers.

Its RFC 0002 describes them, and `vla_eval/protocol` and `vla_eval/specs.py` make them. A message is one binary
websocket frame of MessagePack: a map of `type`, `payload`, `seq` and `timestamp`. Its arrays look like openpi's but
are not: their keys are text, pictures may be PNG or JPEG files, and there are no scalars of their own. Nothing is
ever pickled, and whatever comes from outside is checked before NumPy or Pillow see it.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgpack
import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError
from taketwo.wire.arrays import NUMBERS, Malformed, array_from, short

PROTOCOL_VERSION = 1
"""`PROTOCOL_VERSION` in `vla_eval/protocol/messages.py`."""

Kind = Literal["hello", "observation", "action", "episode_start", "episode_end", "error"]
"""What a message is; `type` on the wire."""

LARGEST_PICTURE = 4096
"""Pixels along either axis of a compressed picture. A few bytes of PNG can stand for gigabytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message.

    Attributes:
        kind: what it is.
        payload: what it holds; arrays are writable copies.
        seq: the sender's count of its messages; an answer repeats that of the message it answers.
    """

    kind: Kind
    payload: Mapping[str, Any]
    seq: int = 0


def encode(message: Message) -> bytes:
    """The bytes of a message; pictures go as plain arrays, which every model server reads.

    Raises:
        ValueError: something in it has no place in the format, such as an array of objects.
    """
    raw = {"type": message.kind, "payload": message.payload, "seq": message.seq, "timestamp": time.time()}
    try:
        return msgpack.packb(raw, default=_pack)  # type: ignore[no-any-return]
    except (TypeError, OverflowError) as error:
        raise ValueError(f"cannot send it: {error}") from error


def decode(data: bytes) -> Message:
    """The message that some bytes stand for.

    Raises:
        ValueError: they are no message, or describe an array or a picture that cannot be or is not allowed.
    """
    try:
        raw = msgpack.unpackb(data, object_hook=_unpack)
    except Malformed as error:
        raise ValueError(str(error)) from error
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"{len(data)} bytes that are not MessagePack: {str(error) or type(error).__name__}") from error
    if not isinstance(raw, dict) or not {"type", "payload", "seq"} <= raw.keys():
        raise ValueError("it is not a message of vla-eval, a map of type, payload, seq and timestamp")
    if raw["type"] not in get_args(Kind):
        raise ValueError(f"its type must be one of {', '.join(get_args(Kind))}, not {short(raw['type'])}")
    if not isinstance(raw["payload"], dict) or type(raw["seq"]) is not int:
        raise ValueError("its payload must be a map and its seq an integer")
    return Message(raw["type"], raw["payload"], raw["seq"])


@dataclass(frozen=True)
class Component:
    """One part of an action or of an observation, such as the gripper: the harness' `DimSpec`.

    Attributes:
        dims: how many numbers it is; 0 for pictures and text, and where nothing is told.
        convention: what they mean, such as delta_xyz or binary_close_positive; `format` on the wire.
        accepts: the conventions that a reader of it can use; None for its own alone.
    """

    dims: int
    convention: str
    accepts: frozenset[str] | None = None

    def on_wire(self, name: str) -> dict[str, Any]:
        """The map that the harness makes a `DimSpec` of."""
        content: dict[str, Any] = {"name": name, "dims": self.dims, "format": self.convention}
        return content if self.accepts is None else {**content, "accepts": sorted(self.accepts)}

    @classmethod
    def written(cls, text: str) -> Component:
        """The component that a user wrote as its convention and, in brackets, its numbers: `delta_xyz[3]`.

        Raises:
            ValueError: it is written otherwise.
        """
        match = WRITTEN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not written as a convention and its numbers, such as delta_xyz[3]")
        return cls(int(match[2] or 0), match[1])


WRITTEN = re.compile(r"([^\s\[\]]+)(?:\[([1-9]\d*)\])?")


def written_components(action_spec: Mapping[str, str]) -> dict[str, Component]:
    """The components that a user wrote as the option `action_spec`, by their names.

    Raises:
        ConfigError: one is not written as it must be.
    """
    try:
        return {name: Component.written(text) for name, text in action_spec.items()}
    except ValueError as error:
        raise ConfigError(f"action_spec: {error}") from error


PICTURE = Component(0, "rgb_hwc_uint8")
LANGUAGE = Component(0, "language")
RAW = "raw"
"""The convention of a component about which nothing is told."""


def components(told: Any) -> dict[str, Component]:
    """The components in a HELLO's `action_spec` or `observation_spec`, in their order; none where it has none.

    Raises:
        ValueError: it is no specification.
    """
    if told is None:
        return {}
    try:
        return {
            str(name): Component(
                int(part["dims"]), str(part["format"]), frozenset(part["accepts"]) if "accepts" in part else None
            )
            for name, part in told.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a specification is a map of name to dims and format, not {short(told)}") from error


def mismatch(given: Component, wanted: Component) -> str | None:
    """Why a reader of `wanted` cannot use what is `given`, by the harness' rule (`DimSpec.is_compatible`), or None."""
    if wanted.accepts is not None:
        listed = ", ".join(sorted(wanted.accepts))
        return None if given.convention in wanted.accepts else f"{given.convention} instead of one of {listed}"
    if given.convention != wanted.convention:
        return f"{given.convention} instead of {wanted.convention}"
    if given.dims and wanted.dims and given.dims != wanted.dims:
        return f"{given.dims} numbers instead of {wanted.dims}"
    return None


def total_dims(parts: Iterable[Component]) -> int | None:
    """How many numbers the components are together; None where one does not tell."""
    dims = [part.dims for part in parts]
    return sum(dims) if dims and all(dims) else None


def _pack(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"cannot send a value of type {type(value).__name__}")
    if value.dtype.str not in NUMBERS:
        raise ValueError(f"cannot send dtype {value.dtype}: only bool, integers and floats of 16 to 64 bits")
    return {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str, "shape": list(value.shape)}


def _unpack(content: dict[Any, Any]) -> Any:
    if "__image__" in content and content.get("format") != "raw":
        return _picture(content)
    if "__ndarray__" in content or "__image__" in content:
        array = array_from(content.get("dtype"), content.get("shape"), content.get("data"), NUMBERS)
        return array.copy()
    return content


def _picture(content: Mapping[Any, Any]) -> NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    name, data = content.get("format"), content.get("data")
    if name not in ("png", "jpeg") or not isinstance(data, bytes):
        raise Malformed(f"a picture is the bytes of a png or jpeg file or raw, not {short(name)}")
    try:
        with Image.open(io.BytesIO(data), formats=(name,)) as picture:
            if max(picture.size) > LARGEST_PICTURE:  # known from the file's header, before anything is unpacked
                raise Malformed(f"a picture of {picture.size[0]} x {picture.size[1]} pixels is too large")
            return np.array(picture)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Malformed(f"a picture that is no {name} file") from error
