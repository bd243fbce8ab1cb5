"""Columns: what a session has, and how two datasets differ."""

import pyarrow as pa
import pytest

from taketwo.datasets.features import Feature, arrow_schema, differences, session_features
from taketwo.errors import ConfigError, DatasetError
from taketwo.testing import PointEnvironment
from taketwo.types import CameraSpec
from tests.recording.filming import spec_of


@pytest.fixture
def features():
    return session_features(PointEnvironment().spec, ["top"], video=True)


def test_columns_of_a_session(features):
    assert list(features) == [
        "observation.state",
        "action",
        "asked_action",
        "next.reward",
        "next.done",
        "next.success",
        "intervention",
        "capture_time",
        "observation.images.top",
        "timestamp",
        "frame_index",
        "episode_index",
        "index",
        "task_index",
    ]
    assert features["observation.state"].names == ["x", "y", "target_x", "target_y"]
    assert features["observation.images.top"].shape == (48, 64, 3)


def test_only_one_column_is_an_action_for_lerobots_policies(features):
    """They take every one whose name begins so."""
    assert [key for key in features if key.startswith("action")] == ["action"]


def test_schema_has_vectors_of_fixed_length_and_no_videos(features):
    schema = arrow_schema(features)
    assert schema.field("action").type == pa.list_(pa.float32(), 2)
    assert schema.field("next.reward").type == pa.float32()
    assert schema.field("next.done").type == pa.bool_()
    assert "observation.images.top" not in schema.names


def test_pictures_in_rows_are_as_the_hugging_face_libraries_have_them():
    schema = arrow_schema(session_features(PointEnvironment().spec, ["top"], video=False))
    assert schema.field("observation.images.top").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("size", [CameraSpec(47, 64), CameraSpec(48, 63)])
def test_video_of_an_odd_size_is_refused(size):
    spec = spec_of(cameras={"top": size})
    with pytest.raises(ConfigError, match="video needs even numbers: choose another size, or images by video=false"):
        session_features(spec, ["top"], video=True)
    assert session_features(spec, ["top"], video=False)


def test_a_camera_with_a_slash_in_its_name_is_refused():
    with pytest.raises(ConfigError, match="a column's name has no '/'"):
        session_features(spec_of(cameras={"a/b": CameraSpec(48, 64)}), ["a/b"], video=True)


def test_a_column_that_parquet_cannot_hold_is_told():
    with pytest.raises(DatasetError, match="'depth' of float32 \\[4, 4\\] cannot be written"):
        arrow_schema({"depth": Feature("float32", (4, 4))})


def test_differences_are_named(features):
    other = dict(features)
    del other["intervention"]
    other["extra"] = Feature("float32", (1,))
    other["action"] = Feature("float32", (3,), ["x", "y", "z"])
    other["observation.state"] = Feature("float32", (4,), ["a", "b", "c", "d"])
    other["observation.images.top"] = Feature("image", (48, 64, 3))
    assert differences(features, features) == []
    assert differences(features, other) == [
        "column 'intervention' is new",
        "column 'extra' would be missing",
        "observation.state has the names ['a', 'b', 'c', 'd'] there and ['x', 'y', 'target_x', 'target_y'] here",
        "action has shape [3] there and [2] here",
        "observation.images.top is image there and video here",
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ("a", "b")),
        (("a", "b"), ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"left": ["a"], "right": ["b"]}, ("a", "b")),
        ({"a": 0, "b": 1}, ("a", "b")),
        ({"grip": 1, "lift": 0}, ("lift", "grip")),
        (None, ("0", "1")),
        (["a"], ("0", "1")),
        (["a", "b", "c"], ("0", "1")),
        ("ab", ("0", "1")),
    ],
)
def test_names_of_dimensions_in_every_form_that_datasets_have(names, expected):
    assert Feature("float32", (2,), names).dimension_names == expected


def test_the_dimensions_of_a_matrix_are_counted_through():
    assert Feature("float64", (2, 3)).dimension_names == ("0", "1", "2", "3", "4", "5")
