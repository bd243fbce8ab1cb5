"""Messages to and from policy servers as bytes: MessagePack with NumPy arrays.

The format is the one that openpi's client and server speak (`openpi_client.msgpack_numpy`, itself after
the `msgpack-numpy` package), byte for byte. An array is a map with the byte-string keys `__ndarray__`
(true), `data` (C order), `dtype` (as `dtype.str` gives it) and `shape`; a NumPy scalar is a map with
`__npgeneric__` (true), `data` and `dtype`. Nothing is ever pickled, and whatever comes from outside is
checked before NumPy sees it.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

ARRAY_DTYPES = re.compile(r"[<>|](b1|[iu][1248]|f[248]|[US][1-9][0-9]{0,7})")
"""Booleans, integers, floats, and text of fixed width: plain bytes, without objects, fields or complex numbers."""

SCALAR_VALUES: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}
"""What the value of a NumPy scalar may be, by the kind of its dtype. Text scalars travel as plain text."""


def encode(message: Any) -> bytes:
    """The bytes of a message made of maps, lists, text, bytes, numbers, None, arrays and NumPy scalars.

    Raises:
        ValueError: something in it has no place in the format, such as an array of objects.
    """
    return msgpack.packb(message, default=_pack)  # type: ignore[no-any-return]


def decode(data: bytes) -> Any:
    """The message that some bytes stand for; its arrays are read-only views of them.

    Raises:
        ValueError: they are not MessagePack, or describe an array that cannot be or is not allowed.
    """
    try:
        return msgpack.unpackb(data, object_hook=_unpack)
    except _Malformed as error:
        raise ValueError(str(error)) from error
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"{len(data)} bytes that are not MessagePack: {str(error) or type(error).__name__}") from error


class _Malformed(Exception):
    """Well-formed MessagePack that describes an impossible array; not a ValueError, to be told from the decoder's."""


def _pack(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        if isinstance(value, int):
            raise ValueError("cannot send an integer of more than 64 bits")
        raise ValueError(f"cannot send a value of type {type(value).__name__}")
    dtype = value.dtype.str
    if not ARRAY_DTYPES.fullmatch(dtype):
        raise ValueError(f"cannot send dtype {value.dtype}: only bool, integers, floats of 16 to 64 bits and text")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": _bytes_of(value), b"dtype": dtype, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": dtype}


def _bytes_of(array: NDArray[Any]) -> bytes | memoryview:
    """The elements in C order, without a copy where they lie so already."""
    return array.data if array.flags.c_contiguous and array.dtype.kind != "U" else array.tobytes()


def _unpack(message: dict[Any, Any]) -> Any:
    if b"__ndarray__" in message:
        return _unpack_array(message)
    if b"__npgeneric__" in message:
        return _unpack_scalar(message)
    return message


def _unpack_array(message: dict[Any, Any]) -> NDArray[Any]:
    dtype = _dtype(message, "array")
    data, shape = message.get(b"data"), message.get(b"shape")
    if not isinstance(data, bytes):
        raise _Malformed(f"an array's data must be bytes, not {type(data).__name__}")
    if not isinstance(shape, list | tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise _Malformed(f"an array's shape must be a list of sizes, not {_short(shape)}")
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(data):
        raise _Malformed(f"an array of shape {_short(shape)} and dtype {dtype} needs {needed} bytes, not {len(data)}")
    if dtype.kind == "U" and (np.frombuffer(data, dtype.byteorder + "u4") > sys.maxunicode).any():
        raise _Malformed("an array of text has characters that Unicode does not have")  # NumPy would crash on them
    try:
        return np.ndarray(shape=tuple(shape), dtype=dtype, buffer=data)
    except (ValueError, OverflowError) as error:  # too many axes, or an empty array with an axis past all bounds
        raise _Malformed(f"an array cannot have the shape {_short(shape)}: {error}") from error


def _unpack_scalar(message: dict[Any, Any]) -> Any:
    dtype, value = _dtype(message, "scalar"), message.get(b"data")
    if type(value) not in SCALAR_VALUES.get(dtype.kind, ()):
        raise _Malformed(f"a scalar of dtype {dtype} cannot be {_short(value)}")
    try:
        with np.errstate(over="ignore"):  # too large for a small float is infinite, as on the sender's side
            return dtype.type(value)
    except OverflowError as error:
        raise _Malformed(f"a scalar of dtype {dtype} cannot be {_short(value)}") from error


def _dtype(message: dict[Any, Any], what: str) -> np.dtype[Any]:
    name = message.get(b"dtype")
    if not isinstance(name, str) or not ARRAY_DTYPES.fullmatch(name):
        raise _Malformed(f"{what} of dtype {_short(name)}: only bool, integers, floats and text are allowed")
    return np.dtype(name)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
