"""Messages are, byte for byte, those of openpi's own codec, and broken ones are refused in words."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from openpi_client import msgpack_numpy

from taketwo.wire.protocol import decode, encode

RNG = np.random.default_rng(0)

MESSAGES: dict[str, Any] = {
    "none": None,
    "text": "pick up the cube ✋",
    "bytes": b"\x00\xff",
    "numbers": [0, -1, 2**63, 1.5, float("inf"), True],
    "nested maps": {"a": {"b": [{"c": np.arange(3)}, "d"]}, "e": {}},
    "picture": RNG.integers(0, 256, (224, 224, 3), dtype=np.uint8),
    "picture, channels first": RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8).transpose(2, 0, 1),
    "mirrored picture": RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)[::-1, ::-1],
    "every other row": np.arange(20.0).reshape(10, 2)[::2],
    "Fortran order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "without axes": np.array(3.5),
    "empty": np.zeros((0, 14)),
    "bool": np.array([[True, False]]),
    "int8": np.array([-1, 2], np.int8),
    "uint64": np.array([2**64 - 1], np.uint64),
    "float16": np.array([1.5, np.nan], np.float16),
    "float32": RNG.standard_normal((50, 14)).astype(np.float32),
    "float64": RNG.standard_normal((50, 14)),
    "big-endian": np.array([1.0, 2.0], ">f4"),
    "read-only": np.frombuffer(b"abcd", np.uint8),
    "array of text": np.array(["left", "right ✋"]),
    "array of bytes": np.array([b"left", b"right"]),
    "scalar float16": np.float16(1.5),
    "scalar float32": np.float32(0.1),
    "scalar float64": np.float64(0.1),
    "scalar int": np.int64(-5),
    "scalar uint8": np.uint8(200),
    "scalar bool": np.True_,
    "scalar text": np.str_("left"),
    "openpi's ALOHA request": {
        "state": np.ones(14),
        "images": {"cam_high": RNG.integers(0, 256, (3, 224, 224), dtype=np.uint8)},
        "prompt": "do something",
    },
}


def assert_same(given: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert given.keys() == expected.keys()
        for key in expected:
            assert_same(given[key], expected[key])
    elif isinstance(expected, list):
        assert len(given) == len(expected)
        for ours, theirs in zip(given, expected, strict=True):
            assert_same(ours, theirs)
    elif isinstance(expected, np.ndarray):
        assert isinstance(given, np.ndarray)
        assert given.dtype == expected.dtype
        np.testing.assert_array_equal(given, expected)
    elif isinstance(expected, np.generic) and not isinstance(expected, str | float):
        assert type(given) is type(expected)
        assert given == expected
    else:
        assert given == expected


@pytest.mark.parametrize("name", MESSAGES)
def test_our_bytes_are_those_of_openpi(name: str) -> None:
    assert encode(MESSAGES[name]) == msgpack_numpy.packb(MESSAGES[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_we_read_what_openpi_writes(name: str) -> None:
    assert_same(decode(msgpack_numpy.packb(MESSAGES[name])), MESSAGES[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_openpi_reads_what_we_write(name: str) -> None:
    assert_same(msgpack_numpy.unpackb(encode(MESSAGES[name])), MESSAGES[name])


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array([1 + 2j]),
        np.zeros(2, [("a", "f4")]),
        np.complex64(1j),
        np.zeros(2, np.longdouble),
        np.longdouble(1),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.void(b"abc"),
    ],
)
def test_dtypes_without_a_plain_form_are_refused(value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"cannot send dtype .*: only bool, integers, floats of 16 to 64 bits and text"
    ):
        encode({"actions": value})


@pytest.mark.parametrize(
    ("value", "message"),
    [(object(), "cannot send a value of type object"), (2**64, "cannot send an integer of more than 64 bits")],
)
def test_values_without_a_place_in_the_format_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode({"a": [value]})


def array_map(**changes: Any) -> bytes:
    fields = {"__ndarray__": True, "data": bytes(16), "dtype": "<f4", "shape": [2, 2]} | changes
    return msgpack.packb({key.encode(): value for key, value in fields.items() if value is not ...})


def scalar_map(**changes: Any) -> bytes:
    fields = {"__npgeneric__": True, "data": 1, "dtype": "|u1"} | changes
    return msgpack.packb({key.encode(): value for key, value in fields.items()})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array_map(dtype="|O"), r"array of dtype '\|O': only bool, integers, floats and text are allowed"),
        (array_map(dtype="|V4"), "array of dtype"),
        (array_map(dtype="<c8", data=bytes(32)), "array of dtype"),
        (array_map(dtype="f4,f4", data=bytes(32)), "array of dtype"),
        (array_map(dtype="<U0", data=b""), "array of dtype"),
        (array_map(dtype=["<f4"]), "array of dtype"),
        (array_map(dtype=...), "array of dtype None"),
        (array_map(data=...), "an array's data must be bytes, not NoneType"),
        (array_map(data="text"), "an array's data must be bytes, not str"),
        (array_map(shape=...), "an array's shape must be a list of sizes, not None"),
        (array_map(shape=[-2, -2]), "an array's shape must be a list of sizes"),
        (array_map(shape=[2.0, 2]), "an array's shape must be a list of sizes"),
        (array_map(shape=[True, 4]), "an array's shape must be a list of sizes"),
        (array_map(shape=[2, 3]), r"shape \[2, 3\] and dtype float32 needs 24 bytes, not 16"),
        (array_map(shape=[2]), r"shape \[2\] and dtype float32 needs 8 bytes, not 16"),
        (array_map(shape=[2**63, 2**63]), "needs .* bytes, not 16"),
        (array_map(shape=[2**63, 2**63, 0], data=b""), "an array cannot have the shape"),
        (array_map(shape=[1] * 100, data=bytes(4)), "an array cannot have the shape"),
        (scalar_map(dtype="|O"), "scalar of dtype"),
        (scalar_map(data="1"), "a scalar of dtype uint8 cannot be '1'"),
        (scalar_map(data=300), "a scalar of dtype uint8 cannot be 300"),
        (scalar_map(data=None), "a scalar of dtype uint8 cannot be None"),
        (scalar_map(data={b"data": 1}), "a scalar of dtype uint8 cannot be"),
        (b"", "0 bytes that are not MessagePack"),
        (b"\xc1", "1 bytes that are not MessagePack"),
        (b"\x01\x02", "2 bytes that are not MessagePack"),
        (encode({"a": np.zeros(4)})[:-1], "bytes that are not MessagePack"),
        (b"\x91" * 100_000, "bytes that are not MessagePack"),
        (b"\xdf\xff\xff\xff\xff", "bytes that are not MessagePack"),
        (b"\x81\x90\x01", "bytes that are not MessagePack"),
        (b"\xa2\xff\xff", "bytes that are not MessagePack"),
    ],
)
def test_broken_messages_are_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        decode(data)
    assert "\n" not in str(caught.value)


def test_no_corrupted_message_does_worse_than_a_value_error() -> None:
    rng = np.random.default_rng(1)
    whole = encode(
        {"state": np.ones(4), "n": np.float32(1), "names": np.array(["a"]), "deep": [{"x": np.zeros((2, 3))}]}
    )
    refused = 0
    for _ in range(20_000):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            broken[place] = rng.integers(0, 256)
        try:
            decode(bytes(broken))
        except ValueError:
            refused += 1
    assert refused > 1000


def test_arrays_of_a_message_cannot_be_written_to() -> None:
    array = decode(encode(np.zeros(3)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_message_stays_as_it_was_when_the_sent_array_changes() -> None:
    array = np.zeros(3)
    data = encode(array)
    array[:] = 1
    np.testing.assert_array_equal(decode(data), np.zeros(3))
