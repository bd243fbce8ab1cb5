"""The columns of a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from taketwo.errors import ConfigError, DatasetError
from taketwo.types import EnvironmentSpec

if TYPE_CHECKING:
    import pyarrow as pa

STATE = "observation.state"
ACTION = "action"
ASKED = "asked_action"
"""What the policy asked for, before filters and guard. Its name does not begin with `action`, because LeRobot's
policies take every feature that does for something to predict."""

REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
INTERVENTION = "intervention"
CAPTURE_TIME = "capture_time"
"""Seconds since the episode began, on the clock of the machine that recorded; `timestamp` is the nominal one."""

IMAGE_PREFIX = "observation.images."

CAMERA_DTYPES = ("video", "image")

NUMPY_DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


@dataclass(frozen=True)
class Feature:
    """One column.

    Attributes:
        dtype: `video` or `image` for a camera, else a NumPy type; `string` for text.
        shape: of one row; (height, width, 3) for a camera, (1,) for a single number.
        names: of the dimensions, as LeRobot has them: a list, a mapping, or None.
        info: what is told of a camera's video, such as its codec.
    """

    dtype: str
    shape: tuple[int, ...]
    names: Any = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_camera(self) -> bool:
        """Whether it holds pictures."""
        return self.dtype in CAMERA_DTYPES

    @property
    def is_video(self) -> bool:
        """Whether its pictures are in MP4 files rather than in the rows."""
        return self.dtype == "video"

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """One name for each number of a row, in order; their numbers where LeRobot's `names` do not tell."""
        size = math.prod(self.shape)
        names = _flat_names(self.names)
        return names if len(names) == size else tuple(map(str, range(size)))

    def to_json(self) -> dict[str, Any]:
        """As `info.json` has it."""
        plain = {"dtype": self.dtype, "shape": list(self.shape), "names": self.names}
        return plain | {"info": dict(self.info)} if self.info else plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Feature:
        """Out of `info.json`.

        Raises:
            KeyError, TypeError: it is not one.
        """
        info = plain.get("info") or {}
        return cls(plain["dtype"], tuple(int(size) for size in plain["shape"]), plain.get("names"), info)


def _flat_names(names: Any) -> tuple[str, ...]:
    """LeRobot has lists, mappings of names to their places, and mappings of groups to lists."""
    if isinstance(names, Mapping):
        if all(isinstance(place, int) for place in names.values()):
            return tuple(sorted(map(str, names), key=lambda name: names[name]))
        return tuple(name for group in names.values() for name in _flat_names(group))
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


BOOKKEEPING = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}
"""The columns that every dataset has, and that a writer fills in itself."""


def session_features(spec: EnvironmentSpec, cameras: Iterable[str], video: bool) -> dict[str, Feature]:
    """The columns of a recorded session, bookkeeping included.

    Args:
        cameras: the recorded ones, all of which `spec.cameras` has.
        video: MP4 files; otherwise pictures in the rows.

    Raises:
        ConfigError: a camera's name or size cannot be recorded.
    """
    state = {STATE: Feature("float32", (len(spec.state_names),), list(spec.state_names))} if spec.state_names else {}
    features = {
        **state,
        ACTION: Feature("float32", (spec.action_dim,), list(spec.action_names)),
        ASKED: Feature("float32", (spec.action_dim,), list(spec.action_names)),
        REWARD: Feature("float32", (1,)),
        DONE: Feature("bool", (1,)),
        SUCCESS: Feature("bool", (1,)),
        INTERVENTION: Feature("bool", (1,)),
        CAPTURE_TIME: Feature("float64", (1,)),
    }
    for camera in cameras:
        size = spec.cameras[camera]
        if "/" in camera:
            raise ConfigError(f"camera {camera!r} cannot be recorded: a column's name has no '/' in it")
        if video and (size.height % 2 or size.width % 2):
            raise ConfigError(
                f"camera {camera!r} has {size.width}x{size.height} pixels, and video needs even numbers: "
                "choose another size, or images by video=false"
            )
        shape = (size.height, size.width, 3)
        features[IMAGE_PREFIX + camera] = Feature("video" if video else "image", shape, ["height", "width", "channels"])
    return features | BOOKKEEPING


def differences(ours: Mapping[str, Feature], theirs: Mapping[str, Feature]) -> list[str]:
    """How the columns of a dataset (`theirs`) differ from what would be added to it (`ours`), one line each."""
    lines = [f"column {key!r} is new" for key in ours if key not in theirs]
    lines += [f"column {key!r} would be missing" for key in theirs if key not in ours]
    for key in ours:
        if key not in theirs:
            continue
        a, b = ours[key], theirs[key]
        if a.dtype != b.dtype:
            lines.append(f"{key} is {b.dtype} there and {a.dtype} here")
        elif a.shape != b.shape:
            lines.append(f"{key} has shape {list(b.shape)} there and {list(a.shape)} here")
        elif a.names != b.names:
            lines.append(f"{key} has the names {b.names} there and {a.names} here")
    return lines


def row_features(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """The columns that are in Parquet: all but videos."""
    return {key: feature for key, feature in features.items() if not feature.is_video}


def arrow_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """The schema of the data files, with the mark by which the Hugging Face libraries know their types."""
    import json

    import pyarrow as pa

    rows = row_features(features)
    fields = [pa.field(key, _arrow_type(key, feature)) for key, feature in rows.items()]
    mark = {"info": {"features": {key: _hugging_face_type(feature) for key, feature in rows.items()}}}
    return pa.schema(fields, metadata={"huggingface": json.dumps(mark)})


def _arrow_type(key: str, feature: Feature) -> pa.DataType:
    import pyarrow as pa

    if feature.dtype == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if feature.dtype == "string":
        return pa.string()
    if feature.dtype not in NUMPY_DTYPES or len(feature.shape) != 1:
        raise DatasetError(f"column {key!r} of {feature.dtype} {list(feature.shape)} cannot be written")
    value = pa.from_numpy_dtype(np.dtype(feature.dtype))
    return value if feature.shape == (1,) else pa.list_(value, feature.shape[0])


def _hugging_face_type(feature: Feature) -> dict[str, Any]:
    if feature.dtype == "image":
        return {"_type": "Image"}
    value = {"dtype": feature.dtype, "_type": "Value"}
    return value if feature.shape == (1,) else {"feature": value, "length": feature.shape[0], "_type": "List"}
