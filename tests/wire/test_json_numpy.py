"""JSON with arrays is that of the package json-numpy, and broken arrays are refused in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from taketwo.wire import json_numpy


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", ">f4", "bool", "int64"])
@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4), (0, 3)])
def test_arrays_travel_as_the_package_json_numpy_writes_and_reads_them(dtype: str, shape: tuple[int, ...]) -> None:
    theirs = pytest.importorskip("json_numpy")
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    assert json.loads(json_numpy.dumps({"a": array})) == json.loads(theirs.dumps({"a": array}))
    for again in (json_numpy.loads(theirs.dumps({"a": array})), theirs.loads(json_numpy.dumps({"a": array}))):
        np.testing.assert_array_equal(again["a"], array)
        assert np.asarray(again["a"]).dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"__numpy__": "AAAA", "dtype": "<f8", "shape": [7]}, "needs 56 bytes, not 3"),
        ({"__numpy__": "AAAA", "dtype": "|u1", "shape": [-3]}, "list of sizes"),
        ({"__numpy__": "AAAA", "dtype": "|u1", "shape": "3"}, "list of sizes"),
        ({"__numpy__": "AAAA", "dtype": "|u1"}, "list of sizes"),
        ({"__numpy__": "AAAA", "dtype": [["a", "|u1"]], "shape": [3]}, "only bool, integers and floats"),
        ({"__numpy__": "AAAA", "dtype": "|u1", "shape": [1] * 70 + [3]}, "cannot have the shape"),
        ({"__numpy__": "A*AA", "dtype": "|u1", "shape": [3]}, "base64"),
        ({"__numpy__": 3, "dtype": "|u1", "shape": [3]}, "base64"),
    ],
)
def test_impossible_arrays_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        json_numpy.loads(json.dumps(entry))


def test_json_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="nested"):
        json_numpy.loads("[" * 200_000)
