"""A client's message as an observation, checked: what is wrong with it is told by the name of the field.

openpi's clients send pictures, state and prompt, in the layout of their environment. What else an observation has comes
under the key `taketwo`, which openpi's clients do not send:

    time_s: 0.4                                      since the episode began
    extras: {object_poses: {red_box: [...]}}         entries of `Observation.extras`
    running_chunk: {actions: (K, D), delay_steps: n} what is executed meanwhile
    reset: {index: 3, seed: 42}                      an episode begins, with this observation or before it
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import PolicyError
from taketwo.policies.layouts import Picture, Prompt, StatePart
from taketwo.serving.environments import ServedEnvironment
from taketwo.types import RUNNING_CHUNK, EpisodeInfo, FloatArray, Image, Observation, RunningChunk

LARGEST_SEED = 2**32 - 1


class RequestError(PolicyError):
    """A client's request cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a message asks for.

    Attributes:
        episode: the episode that begins, or None.
        observation: what to infer from; None where the message only begins an episode.
        timed: whether the observation's time is the client's own; otherwise it is 0.
    """

    episode: EpisodeInfo | None
    observation: Observation | None
    timed: bool


class RequestReader:
    """Reads the messages of clients of one environment."""

    def __init__(self, environment: ServedEnvironment, cameras: tuple[str, ...]) -> None:
        """Read for a policy that looks at these cameras; no other picture is asked for."""
        self._spec = environment.spec
        self._entries = [(path, ".".join(path), source) for path, source in environment.layout.entries.items()]
        self._cameras = frozenset(cameras)

    def read(self, message: Any) -> Request:
        """Take a decoded message apart.

        Raises:
            RequestError: something is missing, or not what it should be.
        """
        if not isinstance(message, dict):
            raise RequestError(f"a request is a map, not {_kind(message)}")
        told = _map(message["taketwo"], "taketwo") if "taketwo" in message else {}
        episode = _episode(told["reset"]) if "reset" in told else None
        if episode is not None and len(message) == 1:
            return Request(episode, None, timed=False)
        return Request(episode, self._observation(message, told), timed="time_s" in told)

    def _observation(self, message: Mapping[Any, Any], told: Mapping[str, Any]) -> Observation:
        images: dict[str, Image] = {}
        state = np.zeros(len(self._spec.state_names))
        prompt = None
        for path, field, source in self._entries:
            value = _entry(message, path)
            if isinstance(source, Picture):
                if value is not None:
                    images[source.camera] = Image.of(_pixels(value, field), source.camera)
                elif source.camera in self._cameras:
                    raise RequestError(f"{field} is missing: the policy looks at the camera {source.camera!r}")
            elif isinstance(source, StatePart):
                if value is None:
                    there = ", ".join(map(str, message)) or "nothing"
                    raise RequestError(
                        f"{field} is missing: {_count(source.stop - source.start)} expected; the request has {there}"
                    )
                state[source.start : source.stop] = _numbers(value, field, source.stop - source.start)
            elif isinstance(source, Prompt):
                prompt = _text(value, field)
        extras = dict(_map(told["extras"], "taketwo.extras")) if "extras" in told else {}
        if RUNNING_CHUNK in extras:
            raise RequestError(f"taketwo.extras.{RUNNING_CHUNK} belongs outside of extras, as taketwo.{RUNNING_CHUNK}")
        if RUNNING_CHUNK in told:
            extras[RUNNING_CHUNK] = _running_chunk(told[RUNNING_CHUNK], self._spec.action_dim)
        return Observation(state, images, prompt, extras, _time(told.get("time_s", 0.0)))


def _entry(message: Mapping[Any, Any], path: tuple[str, ...]) -> Any:
    """What is at a place in a message; None where nothing is."""
    value: Any = message
    for depth, key in enumerate(path):
        if not isinstance(value, dict):
            raise RequestError(f"{'.'.join(path[:depth])} must be a map, not {_kind(value)}")
        value = value.get(key)
        if value is None:
            break
    return value


def _pixels(value: Any, field: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8; a (3, H, W) picture is turned."""
    if not isinstance(value, np.ndarray):
        raise RequestError(f"{field} must be an array of pixels, not {_kind(value)}")
    if value.dtype != np.uint8:
        hint = ": multiply by 255 and convert" if value.dtype.kind == "f" else ""
        raise RequestError(f"{field} must be uint8 pixels, not {value.dtype}{hint}")
    if value.ndim == 3 and value.shape[0] == 3 and value.shape[2] != 3:
        value = value.transpose(1, 2, 0)
    if value.ndim != 3 or value.shape[2] != 3 or 0 in value.shape:
        raise RequestError(f"{field} must be one picture, (3, H, W) or (H, W, 3), not of shape {value.shape}")
    pixels: NDArray[np.uint8] = value
    return pixels


def _numbers(value: Any, field: str, count: int) -> FloatArray:
    numbers = _array(value, field)
    if numbers.size != count or numbers.ndim > 1:
        raise RequestError(f"{field} must be {_count(count)}, not of shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise RequestError(f"{field} has NaN or infinite values")
    return numbers


def _array(value: Any, field: str) -> FloatArray:
    try:
        numbers: NDArray[Any] = np.asarray(value)
    except ValueError as error:
        raise RequestError(f"{field} must be an array of numbers, not a list of unequal parts") from error
    if numbers.dtype.kind not in "iuf":
        raise RequestError(f"{field} must be numbers, not {_kind(value)}")
    return numbers.astype(np.float64)


def _text(value: Any, field: str) -> str | None:
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind == "U":
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise RequestError(f"{field} must be text, not {_kind(value)}")
    text: str | None = value
    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"{field} has characters that are none: {error.reason}") from error
    return text


def _running_chunk(value: Any, action_dim: int) -> RunningChunk:
    told = _map(value, "taketwo.running_chunk")
    actions = _array(told.get("actions"), "taketwo.running_chunk.actions")
    if actions.ndim != 2 or actions.shape[1] != action_dim:
        raise RequestError(
            f"taketwo.running_chunk.actions must be rows of {_count(action_dim)}, not of shape {actions.shape}"
        )
    return RunningChunk(actions, _whole(told.get("delay_steps"), "taketwo.running_chunk.delay_steps", len(actions)))


def _episode(value: Any) -> EpisodeInfo:
    told = _map(value, "taketwo.reset")
    return EpisodeInfo(
        index=_whole(told.get("index", 0), "taketwo.reset.index", LARGEST_SEED),
        seed=_whole(told.get("seed", 0), "taketwo.reset.seed", LARGEST_SEED),
    )


def _whole(value: Any, field: str, largest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= largest:
        raise RequestError(f"{field} must be a whole number from 0 to {largest}, not {_kind(value)}")
    return int(value)


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
        raise RequestError(f"taketwo.time_s must be a number of seconds, 0 or more, not {_kind(value)}")
    return float(value)


def _map(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{field} must be a map, not {_kind(value)}")
    return value


def _count(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"


def _kind(value: Any) -> str:
    """A value in a few words, whatever it is: what is shown of a client's data is short."""
    if value is None:
        return "nothing"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"{value}" if isinstance(value, int | float) else f"a value of type {type(value).__name__}"
