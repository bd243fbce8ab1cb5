"""Messages of vla-eval as bytes; whatever comes from outside is checked."""

from __future__ import annotations

import io
from typing import Any

import msgpack
import numpy as np
import pytest
from PIL import Image

from taketwo.wire.vla_eval import (
    LARGEST_PICTURE,
    Component,
    Message,
    components,
    decode,
    encode,
    mismatch,
    total_dims,
)


def packed(payload: Any, **changed: Any) -> bytes:
    raw = {"type": "observation", "payload": payload, "seq": 3, "timestamp": 0.0, **changed}
    return bytes(msgpack.packb({key: value for key, value in raw.items() if value is not None}))


def file_of(pixels: np.ndarray, name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name)
    return buffer.getvalue()


def array(**changed: Any) -> dict[str, Any]:
    return {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2]} | changed


def picture(data: bytes, name: str) -> dict[str, Any]:
    return {"__image__": True, "format": name, "data": data, "shape": [1, 1, 3]}


def test_a_message_survives_with_its_arrays() -> None:
    rng = np.random.default_rng(0)
    payload = {
        "images": {"top": rng.integers(0, 256, (4, 5, 3), dtype=np.uint8).transpose(1, 0, 2)},
        "states": rng.random(7),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 7), np.float32),
        "scalar": np.float32(0.5),
        "task": ["a", 1, None],
    }
    message = decode(encode(Message("observation", payload, 12)))
    assert (message.kind, message.seq) == ("observation", 12)
    for key, value in payload.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(message.payload[key], value)
            assert message.payload[key].dtype == value.dtype
    np.testing.assert_array_equal(message.payload["images"]["top"], payload["images"]["top"])
    assert message.payload["scalar"] == 0.5
    assert message.payload["task"] == ["a", 1, None]
    message.payload["states"][0] = 1.0  # may be written to


@pytest.mark.parametrize("value", [np.array([1j]), np.array([None]), np.array(["a"]), object(), 2**65])
def test_what_has_no_place_in_a_message_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="cannot send"):
        encode(Message("observation", {"value": value}))


def test_compressed_pictures_are_unpacked() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    message = decode(
        packed(
            {
                "png": picture(file_of(pixels, "png"), "png"),
                "jpeg": picture(b"", "raw") | {"data": pixels.tobytes(), "dtype": "|u1", "shape": [6, 9, 3]},
            }
        )
    )
    np.testing.assert_array_equal(message.payload["png"], pixels)
    np.testing.assert_array_equal(message.payload["jpeg"], pixels)


HUGE = file_of(np.zeros((1, LARGEST_PICTURE + 1, 3), np.uint8), "png")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (array(dtype="|O"), "array of dtype '|O'"),
        (array(dtype="<c8"), "array of dtype '<c8'"),
        (array(dtype="|V4"), "array of dtype '|V4'"),
        (array(dtype=3), "array of dtype 3"),
        (array(data="text"), "data must be bytes, not str"),
        (array(shape=[3]), "needs 12 bytes, not 8"),
        (array(shape=[-2]), "shape must be a list of sizes"),
        (array(shape=["2"]), "shape must be a list of sizes"),
        (array(shape=None), "shape must be a list of sizes"),
        (array(shape=[1] * 70 + [2]), "cannot have the shape"),
        (array(shape=[0, 2**62], data=b""), "cannot have the shape"),
        (picture(b"no picture", "png"), "a picture that is no png file"),
        (picture(file_of(np.zeros((2, 2, 3), np.uint8), "gif"), "png"), "a picture that is no png file"),
        (picture(file_of(np.zeros((2, 2, 3), np.uint8), "png")[:40], "png"), "a picture that is no png file"),
        (picture(b"", "gif"), "not 'gif'"),
        (picture(b"", "raw"), "array of dtype None"),
        (picture(HUGE, "png"), f"a picture of {LARGEST_PICTURE + 1} x 1 pixels is too large"),
    ],
)
def test_arrays_and_pictures_that_cannot_be_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        decode(packed({"value": value}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xc1", "1 bytes that are not MessagePack"),
        (packed({}) + b"\x00", "not MessagePack"),
        (b"\x93\x01\x02\x03", "not a message of vla-eval"),
        (packed({}, seq=None), "not a message of vla-eval"),
        (packed({}, type="pickle"), "its type must be one of hello, observation"),
        (packed({}, type=[1]), "its type must be one of hello, observation"),
        (packed([1]), "its payload must be a map and its seq an integer"),
        (packed({}, seq="1"), "its payload must be a map and its seq an integer"),
        (packed({}, seq=True), "its payload must be a map and its seq an integer"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        decode(data)
    assert message in str(caught.value)


def test_a_component_is_written_as_convention_and_numbers() -> None:
    assert Component.written("delta_xyz[3]") == Component(3, "delta_xyz")
    assert Component.written("raw") == Component(0, "raw")
    for text in ("", "delta_xyz[]", "delta_xyz[0]", "delta xyz[3]", "[3]"):
        with pytest.raises(ValueError, match="not written as a convention"):
            Component.written(text)


def test_components_are_read_from_a_greeting_and_written_into_one() -> None:
    told = {"position": {"name": "position", "dims": 3, "format": "delta_xyz", "range": [-1, 1], "description": "x"}}
    read = components(told)
    assert read == {"position": Component(3, "delta_xyz")}
    assert read["position"].on_wire("position") == {"name": "position", "dims": 3, "format": "delta_xyz"}
    either = {"name": "rotation", "dims": 3, "format": "euler_xyz", "accepts": ["axis_angle", "euler_xyz"]}
    assert components({"rotation": either})["rotation"].on_wire("rotation") == either
    assert components(None) == {}
    for wrong in ([], {"a": 3}, {"a": {"dims": 3}}, {"a": {"dims": "x", "format": "raw"}}):
        with pytest.raises(ValueError, match="a specification is a map"):
            components(wrong or 3)


def test_conventions_are_compared_as_the_harness_does() -> None:
    axis_angle = Component(3, "axis_angle")
    either = Component(3, "euler_xyz", frozenset({"euler_xyz", "axis_angle"}))
    assert mismatch(axis_angle, axis_angle) is None
    assert mismatch(axis_angle, either) is None
    assert mismatch(either, axis_angle) == "euler_xyz instead of axis_angle"
    assert mismatch(Component(6, "rot6d"), either) == "rot6d instead of one of axis_angle, euler_xyz"
    assert mismatch(Component(4, "raw"), Component(0, "raw")) is None
    assert mismatch(Component(4, "raw"), Component(3, "raw")) == "4 numbers instead of 3"


def test_dimensions_are_summed_only_where_all_are_told() -> None:
    assert total_dims([Component(3, "a"), Component(1, "b")]) == 4
    assert total_dims([Component(3, "a"), Component(0, "b")]) is None
    assert total_dims([]) is None
