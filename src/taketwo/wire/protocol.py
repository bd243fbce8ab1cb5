"""Messages to and from policy servers as bytes: MessagePack with NumPy arrays.

The format is the one that openpi's client and server speak (`openpi_client.msgpack_numpy`, itself after
the `msgpack-numpy` package), byte for byte. An array is a map with the byte-string keys `__ndarray__`
(true), `data` (C order), `dtype` (as `dtype.str` gives it) and `shape`; a NumPy scalar is a map with
`__npgeneric__` (true), `data` and `dtype`. Nothing is ever pickled, and whatever comes from outside is
checked before NumPy sees it.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from taketwo.wire.arrays import NUMBERS_AND_TEXT, Malformed, array_from, short

MOST_CONTAINERS = 65_536
"""Maps and lists in a message, and entries in one of them. A list of a million empty lists takes a byte each on the
wire, and seventy in memory."""

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
    count = 0

    def counted(container: Any) -> Any:
        nonlocal count
        count += 1
        if count > MOST_CONTAINERS:
            raise Malformed(f"more than {MOST_CONTAINERS} maps and lists in one message")
        return _unpack(container) if type(container) is dict else container

    try:
        return msgpack.unpackb(
            data,
            object_hook=counted,
            list_hook=counted,
            max_array_len=MOST_CONTAINERS,
            max_map_len=MOST_CONTAINERS,
        )
    except Malformed as error:
        raise ValueError(str(error)) from error
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"{len(data)} bytes that are not MessagePack: {str(error) or type(error).__name__}") from error


def _pack(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        if isinstance(value, int):
            raise ValueError("cannot send an integer of more than 64 bits")
        raise ValueError(f"cannot send a value of type {type(value).__name__}")
    dtype = value.dtype.str
    if dtype not in NUMBERS_AND_TEXT:
        raise ValueError(f"cannot send dtype {value.dtype}: only bool, integers, floats of 16 to 64 bits and text")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": _bytes_of(value), b"dtype": dtype, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": dtype}


def _bytes_of(array: NDArray[Any]) -> bytes | memoryview:
    """The elements in C order, without a copy where they lie so already."""
    return array.data if array.flags.c_contiguous and array.dtype.kind != "U" else array.tobytes()


def _unpack(message: dict[Any, Any]) -> Any:
    if b"__ndarray__" in message:
        return array_from(message.get(b"dtype"), message.get(b"shape"), message.get(b"data"), NUMBERS_AND_TEXT)
    if b"__npgeneric__" in message:
        return _unpack_scalar(message)
    return message


def _unpack_scalar(message: dict[Any, Any]) -> Any:
    dtype, value = NUMBERS_AND_TEXT.dtype(message.get(b"dtype"), "a scalar"), message.get(b"data")
    if type(value) not in SCALAR_VALUES.get(dtype.kind, ()):
        raise Malformed(f"a scalar of dtype {dtype} cannot be {short(value)}")
    try:
        with np.errstate(over="ignore"):  # too large for a small float is infinite, as on the sender's side
            return dtype.type(value)
    except OverflowError as error:
        raise Malformed(f"a scalar of dtype {dtype} cannot be {short(value)}") from error
