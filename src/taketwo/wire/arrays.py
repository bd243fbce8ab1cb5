"""Arrays out of what others sent: every format's fields are checked here before NumPy sees them."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Malformed(Exception):
    """What was sent describes no array that can be; not a ValueError, to be told from a decoder's own."""


@dataclass(frozen=True)
class Allowed:
    """The dtypes that a format has: plain bytes in every case, without objects, fields or complex numbers.

    Attributes:
        written: how `dtype.str` gives one of them.
        words: all of them, for messages.
    """

    written: re.Pattern[str]
    words: str

    def __contains__(self, name: Any) -> bool:
        return isinstance(name, str) and self.written.fullmatch(name) is not None

    def dtype(self, name: Any, what: str) -> np.dtype[Any]:
        """The dtype that a name stands for.

        Args:
            what: what is of this dtype, for the message.

        Raises:
            Malformed: it is none, or not allowed.
        """
        if name not in self:
            raise Malformed(f"{what} of dtype {short(name)}: only {self.words} are allowed")
        dtype: np.dtype[Any] = np.dtype(name)
        return dtype


NUMBERS = Allowed(re.compile(r"[<>|](b1|[iu][1248]|f[248])"), "bool, integers and floats")

NUMBERS_AND_TEXT = Allowed(
    re.compile(r"[<>|](b1|[iu][1248]|f[248]|[US][1-9][0-9]{0,7})"), "bool, integers, floats and text"
)
"""Text is of fixed width."""


def array_from(dtype: Any, shape: Any, data: Any, allowed: Allowed) -> NDArray[Any]:
    """The array that a dtype's name, a list of sizes and bytes in C order stand for: a read-only view of the bytes.

    Raises:
        Malformed: they stand for none, or for one that is not allowed.
    """
    kind = allowed.dtype(dtype, "an array")
    if not isinstance(data, bytes):
        raise Malformed(f"an array's data must be bytes, not {type(data).__name__}")
    if not isinstance(shape, list | tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise Malformed(f"an array's shape must be a list of sizes, not {short(shape)}")
    needed = math.prod(shape) * kind.itemsize
    if needed != len(data):
        raise Malformed(f"an array of shape {short(shape)} and dtype {kind} needs {needed} bytes, not {len(data)}")
    if kind.kind == "U" and (np.frombuffer(data, kind.byteorder + "u4") > sys.maxunicode).any():
        raise Malformed("an array of text has characters that Unicode does not have")  # NumPy would crash on them
    try:
        return np.ndarray(shape=tuple(shape), dtype=kind, buffer=data)
    except (ValueError, OverflowError) as error:  # too many axes, or an empty array with an axis past all bounds
        raise Malformed(f"an array cannot have the shape {short(shape)}: {error}") from error


def short(value: Any) -> str:
    """A value as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
