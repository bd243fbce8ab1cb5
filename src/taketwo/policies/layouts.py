"""How an observation becomes the request that a policy server expects.

openpi's servers name what they want: the keys, picture sizes and axis orders of the named layouts are those of
`openpi/policies/{aloha,libero,droid}_policy.py` and of openpi's own clients. Anything else is written as a
mapping of request key to source:

    images.cam_high: images.top       # a dot in a key opens a map inside the request
    observation/image: images.front   # a slash is part of the key, as openpi's LIBERO and DROID keys have it
    joints: state[0:7]
    instruction: prompt
    images.cam_left_wrist: none       # leaves out an entry of the layout
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from taketwo.errors import ConfigError, one_of
from taketwo.images import resize_with_pad
from taketwo.types import EnvironmentSpec, Observation

Axes = Literal["chw", "hwc"]

LayoutName = Literal["aloha", "libero", "droid", "custom"]

LARGEST_SIDE = 4096
"""Pixels along either axis of a picture in a request."""

STATE_SOURCE = re.compile(r"state(?:\[(\d*):(\d*)\])?")


@dataclass(frozen=True)
class RequestLayout:
    """A layout that servers expect by name.

    Attributes:
        cameras: request key to the names that an environment may have for this camera, best first.
        optional: those of the cameras that a server can do without.
        sources: request key to source, for all but pictures.
        state_dim: numbers in the state; None for any.
        action_dim: numbers in an action of such a server; None for any.
        axes: order of a picture's axes.
    """

    cameras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)
    state_dim: int | None = None
    action_dim: int | None = None
    axes: Axes = "hwc"


REQUEST_LAYOUTS: Mapping[LayoutName, RequestLayout] = {
    "aloha": RequestLayout(
        cameras={
            "images.cam_high": ("cam_high", "top"),
            "images.cam_left_wrist": ("cam_left_wrist", "left_wrist"),
            "images.cam_right_wrist": ("cam_right_wrist", "right_wrist"),
        },
        optional=frozenset({"images.cam_left_wrist", "images.cam_right_wrist"}),
        sources={"state": "state", "prompt": "prompt"},
        state_dim=14,
        action_dim=14,
        axes="chw",
    ),
    # openpi feeds LIBERO's pictures as robosuite's raw frames turned by 180 degrees; an environment gives them so.
    "libero": RequestLayout(
        cameras={
            "observation/image": ("agentview", "image"),
            "observation/wrist_image": ("robot0_eye_in_hand", "wrist_image", "wrist"),
        },
        sources={"observation/state": "state", "prompt": "prompt"},
        state_dim=8,
        action_dim=7,
    ),
    "droid": RequestLayout(
        cameras={
            "observation/exterior_image_1_left": ("exterior_image_1_left", "exterior"),
            "observation/wrist_image_left": ("wrist_image_left", "wrist"),
        },
        sources={
            "observation/joint_position": "state[0:7]",
            "observation/gripper_position": "state[7:8]",
            "prompt": "prompt",
        },
        state_dim=8,
        action_dim=8,
    ),
    "custom": RequestLayout(),
}


@dataclass(frozen=True)
class Picture:
    """A camera's pixels, (height, width, 3) or (3, height, width) uint8."""

    camera: str
    height: int
    width: int
    axes: Axes

    @property
    def text(self) -> str:
        """How a mapping names it."""
        return f"images.{self.camera}"

    def __call__(self, observation: Observation) -> Any:
        """The picture in the size and axis order that the server expects."""
        pixels = resize_with_pad(observation.images[self.camera].pixels, self.height, self.width)
        return pixels.transpose(2, 0, 1) if self.axes == "chw" else pixels


@dataclass(frozen=True)
class StatePart:
    """The state from `start` up to, and without, `stop`: float64."""

    start: int
    stop: int

    @property
    def text(self) -> str:
        """How a mapping names it."""
        return f"state[{self.start}:{self.stop}]"

    def __call__(self, observation: Observation) -> Any:
        """This part of the state."""
        return observation.state[self.start : self.stop]


@dataclass(frozen=True)
class Prompt:
    """The instruction, or None where there is none: then the server's own default counts."""

    text = "prompt"
    """How a mapping names it."""

    def __call__(self, observation: Observation) -> str | None:
        """The instruction of this very observation."""
        return observation.prompt


Source = Picture | StatePart | Prompt


@dataclass(frozen=True)
class Layout:
    """A layout that fits an environment.

    Attributes:
        entries: where in the request, key inside key, to what comes there.
    """

    entries: Mapping[tuple[str, ...], Source]

    @property
    def axes(self) -> Axes:
        """The order of its pictures' axes."""
        return next((source.axes for source in self.entries.values() if isinstance(source, Picture)), "hwc")

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that it looks at, and no other."""
        pictures = (source for source in self.entries.values() if isinstance(source, Picture))
        return tuple(dict.fromkeys(picture.camera for picture in pictures))

    @property
    def mapping(self) -> dict[str, str]:
        """The same as text, request key to source, as `build_layout` takes it."""
        return {".".join(path): source.text for path, source in self.entries.items()}

    def request(self, observation: Observation) -> dict[str, Any]:
        """The request for this observation; without a prompt, the prompt's entry is left out."""
        request: dict[str, Any] = {}
        for path, source in self.entries.items():
            value = source(observation)
            if value is not None:
                inner = request
                for key in path[:-1]:
                    inner = inner.setdefault(key, {})
                inner[path[-1]] = value
        return request


def check_picture_size(height: int | None, width: int | None) -> None:
    """Check the options `image_height` and `image_width` of a policy.

    Raises:
        ConfigError: one of them is given and no number of pixels that a picture can have.
    """
    for name, pixels in (("image_height", height), ("image_width", width)):
        if pixels is not None and not 1 <= pixels <= LARGEST_SIDE:
            raise ConfigError(f"{name} must be from 1 to {LARGEST_SIDE} pixels, not {pixels}")


def build_layout(
    name: LayoutName,
    mapping: Mapping[str, str],
    spec: EnvironmentSpec,
    *,
    height: int,
    width: int,
    axes: Axes | None = None,
) -> Layout:
    """A named layout with the entries of `mapping` in place of, or beside, its own, for an environment.

    Args:
        height: of the pictures in the request, pixels.
        width: of the pictures in the request, pixels.
        axes: order of a picture's axes; None for the layout's own.

    Raises:
        ConfigError: there is no such layout, it needs what the environment does not have, or a source in
            the mapping does not exist.
    """
    if name not in REQUEST_LAYOUTS:
        raise ConfigError(one_of("layout", name, REQUEST_LAYOUTS))
    named = REQUEST_LAYOUTS[name]
    _check_dimensions(name, named, mapping, spec)
    sources = {**_named_sources(name, named, mapping, spec), **mapping}
    entries = {
        _path(key): _source(key, text, spec, height, width, axes or named.axes)
        for key, text in sources.items()
        if text != "none"
    }
    if not entries:
        raise ConfigError(f"layout {name!r} leaves the request empty; give mapping, such as {{joints: state}}")
    for path in entries:
        for length in range(1, len(path)):
            if path[:length] in entries:
                raise ConfigError(f"mapping has both {'.'.join(path[:length])!r} and {'.'.join(path)!r} inside it")
    return Layout(entries)


def _check_dimensions(name: str, named: RequestLayout, mapping: Mapping[str, str], spec: EnvironmentSpec) -> None:
    state_dim = len(spec.state_names)
    state_keys = {key for key, text in named.sources.items() if text.startswith("state")}
    if named.state_dim not in (None, state_dim) and not state_keys <= mapping.keys():
        raise ConfigError(
            f"layout {name!r} needs a state of {named.state_dim} numbers, environment {spec.name!r} has {state_dim}; "
            f"give mapping for {', '.join(sorted(state_keys))}, or another layout of {_listed(REQUEST_LAYOUTS)}"
        )
    if named.action_dim not in (None, spec.action_dim):
        raise ConfigError(
            f"layout {name!r} is for actions of {named.action_dim} numbers, environment {spec.name!r} takes "
            f"{spec.action_dim}; choose another layout of {_listed(REQUEST_LAYOUTS)}"
        )


def _named_sources(
    name: str, named: RequestLayout, mapping: Mapping[str, str], spec: EnvironmentSpec
) -> dict[str, str]:
    sources = {}
    for key, names in named.cameras.items():
        camera = next((camera for camera in names if camera in spec.cameras), None)
        if camera is not None:
            sources[key] = f"images.{camera}"
        elif key not in named.optional and key not in mapping:
            wanted, there = " or ".join(map(repr, names)), _listed(spec.cameras) or "no cameras"
            raise ConfigError(
                f"layout {name!r} needs a camera {wanted} for {key!r}, environment {spec.name!r} has {there}; "
                f"give mapping, such as {{{key}: images.{next(iter(spec.cameras), 'top')}}}"
            )
    return sources | dict(named.sources)


def _path(key: str) -> tuple[str, ...]:
    path = tuple(key.split("."))
    if not all(path):
        raise ConfigError(f"mapping has the key {key!r}; write names with single dots between, such as images.cam_high")
    return path


def _source(key: str, text: str, spec: EnvironmentSpec, height: int, width: int, axes: Axes) -> Source:
    if text == "prompt":
        return Prompt()
    if text.startswith("images."):
        camera = text.removeprefix("images.")
        if camera not in spec.cameras:
            raise ConfigError(f"mapping of {key!r}: {one_of('camera', camera, spec.cameras)}")
        return Picture(camera, height, width, axes)
    match = STATE_SOURCE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"mapping of {key!r} to {text!r}: a source is state, state[0:7], prompt, none, or images. and a camera's "
            f"name out of {_listed(spec.cameras) or 'no cameras'}"
        )
    state_dim = len(spec.state_names)
    start, stop = int(match[1] or 0), int(match[2] or state_dim)
    if not start < stop <= state_dim:
        raise ConfigError(
            f"mapping of {key!r} to {text!r}: environment {spec.name!r} has a state of {state_dim} numbers, "
            f"so a part goes from 0 to {state_dim} at most"
        )
    return StatePart(start, stop)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
