"""JSON with NumPy arrays, in the format of the package `json-numpy` (github.com/Crimson-Crow/json-numpy).

An array is a map of `__numpy__` (its bytes in C order, base64), `dtype` (as `dtype.str` gives it) and `shape`. Nothing
is ever pickled, and whatever comes from outside is checked before NumPy sees it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from taketwo.wire.arrays import NUMBERS, Malformed, array_from


def dumps(message: Any) -> str:
    """The JSON text of a message made of maps, lists, text, numbers, None and arrays.

    Raises:
        ValueError: something in it has no place in the format, such as an array of objects.
    """
    return json.dumps(message, default=_pack)


def loads(text: str | bytes) -> Any:
    """The message that a JSON text stands for; its arrays are read-only.

    Raises:
        ValueError: it is not JSON, or describes an array that cannot be or is not allowed.
    """
    try:
        return json.loads(text, object_hook=_unpack)
    except Malformed as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def _pack(value: Any) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"cannot send a value of type {type(value).__name__}")
    if value.dtype.str not in NUMBERS:
        raise ValueError(f"cannot send dtype {value.dtype}: only bool, integers, and floats of 16 to 64 bits")
    data = base64.b64encode(value.tobytes()).decode("ascii")
    return {"__numpy__": data, "dtype": value.dtype.str, "shape": value.shape}


def _unpack(message: dict[str, Any]) -> Any:
    if "__numpy__" not in message:
        return message
    return array_from(message.get("dtype"), message.get("shape"), _base64(message["__numpy__"]), NUMBERS)


def _base64(data: Any) -> bytes:
    if not isinstance(data, str):
        raise Malformed(f"an array's data must be base64 text, not {type(data).__name__}")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise Malformed(f"an array's data must be base64 text: {error}") from error
