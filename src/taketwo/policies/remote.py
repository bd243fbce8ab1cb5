"""A policy behind a websocket: openpi's servers, and all that speak their protocol."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError, PolicyError, TakeTwoError
from taketwo.policies.layouts import Axes, Layout, LayoutName, build_layout
from taketwo.types import RUNNING_CHUNK, ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation
from taketwo.wire.description import mismatch, told_by

if TYPE_CHECKING:
    from taketwo.wire.client import PolicyClient

DEFAULT_PORT = 8000
"""openpi's."""

OPENPI_PIXELS = 224
"""Height and width of the pictures that openpi's clients send."""

AUTHORITY_END = re.compile(r"[/?#]")
"""What ends user, host and port in a URL (RFC 3986, 3.2)."""


@dataclass(frozen=True)
class RemoteConfig:
    """A policy server that speaks openpi's websocket protocol.

    Attributes:
        host: name or address of the server, or its whole URL (ws:// or wss://).
        port: port of the server; 8000 where neither this nor a URL in host tells.
        api_key: key that the server asks for; TAKETWO_API_KEY in the environment where not given. Neither shown
            nor recorded.
        layout: which request the server expects, see taketwo.policies.layouts; where not given, what the server
            tells, and openpi's aloha for one that tells nothing.
        mapping: request key to source, in place of the layout's entries or beside them: images.NAME, state,
            state[0:7], prompt, or none; a dot in a key opens a map, such as {images.cam_high: images.top}.
        image_height: height of the pictures that are sent, in pixels, to which others are scaled and padded; where
            not given, what the server tells, or 224.
        image_width: width of the pictures that are sent, in pixels; likewise.
        image_axes: order of a picture's axes; the layout's own where not given.
        connect_timeout_s: how long to wait at the start for a server that does not answer yet.
        reconnect_timeout_s: how long to try to get back a server that was lost; 0 gives up at once.
        first_infer_timeout_s: limit for the first answer on a connection, in which servers compile the model.
        infer_timeout_s: limit for every later answer.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    api_key: str | None = field(default=None, repr=False)
    layout: LayoutName | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    image_height: int | None = None
    image_width: int | None = None
    image_axes: Axes | None = None
    connect_timeout_s: float = 10.0
    reconnect_timeout_s: float = 30.0
    first_infer_timeout_s: float = 300.0
    infer_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("image_height", "image_width"):
            if getattr(self, name) is not None and not 1 <= getattr(self, name) <= 4096:
                raise ConfigError(f"{name} must be from 1 to 4096 pixels, not {getattr(self, name)}")
        for name in ("connect_timeout_s", "first_infer_timeout_s", "infer_timeout_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} must be a finite number of seconds above 0, not {getattr(self, name)}")
        if not (math.isfinite(self.reconnect_timeout_s) and self.reconnect_timeout_s >= 0):
            raise ConfigError(
                f"reconnect_timeout_s must be a finite number of seconds, 0 or more, not {self.reconnect_timeout_s}"
            )
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ConfigError("api_key must be printable ASCII characters, at least one")
        _ = self.url

    @property
    def url(self) -> str:
        """The server's whole address.

        Raises:
            ConfigError: `host` or `port` is none, or they do not go together.
        """
        text = self.host
        if "://" not in text:
            text = f"ws://[{text}]" if text.count(":") > 1 and not text.startswith("[") else f"ws://{text}"
        if "@" in AUTHORITY_END.split(text.partition("://")[2], maxsplit=1)[0]:  # not shown: it may be a password
            raise ConfigError("host must not hold a user or a password; give the server's key as api_key")
        try:
            parts = urlsplit(text)
            told = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as error:
            raise ConfigError(f"host {self.host!r} is no address: {error}") from error
        if parts.scheme not in ("ws", "wss") or not parts.hostname or any(c.isspace() for c in text):
            raise ConfigError(f"host must be a name, an address, or a ws:// or wss:// URL, not {self.host!r}")
        if told is not None and self.port not in (None, told):
            raise ConfigError(f"host {self.host!r} and port {self.port} contradict each other; give the port once")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ConfigError(f"port must be from 1 to 65535, not {self.port}")
        port = told or self.port or (None if "://" in self.host else DEFAULT_PORT)
        netloc = parts.netloc if told or port is None else f"{parts.netloc.rstrip(':')}:{port}"
        return parts._replace(netloc=netloc).geturl()

    def make(self, spec: EnvironmentSpec) -> RemotePolicy:
        """Connect, so that a missing server is told before anything moves.

        Raises:
            ConfigError: the layout does not fit the environment.
            PolicyError: no server answers, or it does not fit the environment.
        """
        if self.layout is not None:
            self._layout_for(spec, {})  # what does not fit is told without a server
        from taketwo.wire.client import PolicyClient
        from taketwo.wire.connection import Server

        key = self.api_key or os.environ.get("TAKETWO_API_KEY") or None
        server = Server(self.url, key, self.first_infer_timeout_s, self.infer_timeout_s)
        client = PolicyClient(
            server, connect_timeout_s=self.connect_timeout_s, reconnect_timeout_s=self.reconnect_timeout_s
        )
        client.connect()
        try:
            told = told_by(client.metadata)
            if (found := mismatch(told, spec)) is not None:
                raise PolicyError(f"the policy server at {client.name} {found}")
            return RemotePolicy(client, self._layout_for(spec, told), spec)
        except TakeTwoError:
            client.close()
            raise

    def _layout_for(self, spec: EnvironmentSpec, told: Mapping[str, Any]) -> Layout:
        """The layout that was asked for; else the one that the server tells; else openpi's for ALOHA."""
        layout = _map_in(told, "layout")
        name, mapping = self.layout, dict(self.mapping)
        if name is None and isinstance(layout.get("mapping"), dict):
            name, mapping = "custom", {**_looked_at(layout["mapping"], told.get("cameras")), **mapping}
        return build_layout(
            name or "aloha",
            mapping,
            spec,
            height=self.image_height or _size_in(layout, "height"),
            width=self.image_width or _size_in(layout, "width"),
            axes=self.image_axes or (layout["axes"] if layout.get("axes") in get_args(Axes) else None),
        )


class RemotePolicy:
    """Asks a connected server for actions.

    openpi's own servers keep no state between requests and know no message but an observation, so `reset`
    sends them nothing. A server with state of its own says so in its metadata by `taketwo: {reset: true}`;
    it is then sent `{"taketwo": {"reset": {"index": ..., "seed": ...}}}` when an episode begins, and again
    when a lost connection has come back in mid-episode, and answers an empty map. One that tells the
    protocol's version is also sent the observation's time, the extras that it names, and the running chunk where it
    names that.
    """

    def __init__(self, client: PolicyClient, layout: Layout, spec: EnvironmentSpec) -> None:
        """Takes over the connected client, and closes it if its server does not fit.

        Raises:
            PolicyError: the metadata tells of another number of action dimensions.
        """
        self._client = client
        self._layout = layout
        told = told_by(client.metadata)
        self._tells_more = "protocol" in told
        extras = told.get("extras")
        self._extras = tuple(extras) if isinstance(extras, list) else ()
        action_dim = client.metadata.get("action_dim", spec.action_dim)
        if action_dim != spec.action_dim:
            client.close()
            raise PolicyError(
                f"the policy server at {client.name} gives actions of {action_dim} numbers, "
                f"environment {spec.name!r} takes {spec.action_dim}"
            )

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pictures are sent."""
        return self._layout.cameras

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the server told of itself."""
        return self._client.metadata

    @property
    def outages_s(self) -> tuple[float, ...]:
        """How long the server was away, in seconds, each time that it was lost and came back."""
        return tuple(self._client.outages_s)

    def reset(self, episode: EpisodeInfo) -> None:
        """Tell the server that an episode begins, where it wants to know.

        Raises:
            PolicyError: it was not answered.
        """
        if told_by(self._client.metadata).get("reset") is True:
            self._client.greet({"taketwo": {"reset": {"index": episode.index, "seed": episode.seed}}})

    def infer(self, observation: Observation) -> ActionChunk:
        """The server's actions for this observation, as many and as wide as it gives them.

        Raises:
            PolicyError: there is no answer, or it holds no array of numbers.
        """
        request = self._layout.request(observation)
        if self._tells_more:
            request["taketwo"] = self._more(observation)
        sent_at = time.perf_counter()
        response = self._client.request(request)
        round_trip_ms = (time.perf_counter() - sent_at) * 1000
        try:
            return _chunk(response, round_trip_ms)
        except ValueError as error:
            raise PolicyError(f"the policy server at {self._client.name} gave unusable actions: {error}") from error

    def _more(self, observation: Observation) -> dict[str, Any]:
        """What openpi's requests have no place for."""
        more: dict[str, Any] = {"time_s": observation.time_s}
        wanted = {name: observation.extras[name] for name in self._extras if name in observation.extras}
        running = wanted.pop(RUNNING_CHUNK, None)
        if running is not None:
            more["running_chunk"] = {"actions": running.actions, "delay_steps": running.delay_steps}
        if wanted:
            more["extras"] = _plain(wanted)
        return more

    def close(self) -> None:
        """Disconnect; an `infer` or `reset` under way in another thread ends with a PolicyError. Safe to call twice."""
        self._client.close()


def _chunk(response: Mapping[str, Any], round_trip_ms: float) -> ActionChunk:
    told = _map_in(response, "taketwo")
    read = told.get("prompt_read")
    embedding = response.get("embedding")
    return ActionChunk(
        actions=_actions(response),
        embedding=embedding if isinstance(embedding, np.ndarray) else None,
        prompt_used=_text_in(told, "prompt_used"),
        prompt_source=_text_in(told, "prompt_source"),
        prompt_read=read if isinstance(read, bool) else None,
        timings_ms={"round_trip_ms": round_trip_ms} | _timings(response),
    )


def _actions(response: Mapping[str, Any]) -> FloatArray:
    """The numbers as float64, a copy that may be written to; a single action (D,) becomes (1, D).

    Only what the wire decides is checked here. Whether the chunk fits the environment is checked for every
    policy alike, in `taketwo.control.checking`.
    """
    if "actions" not in response:
        raise ValueError(f"expected a key 'actions', got {', '.join(map(str, response)) or 'an empty map'}")
    try:
        given: NDArray[Any] = np.asarray(response["actions"])
    except ValueError as error:
        raise ValueError("expected an array of numbers, got a list of unequal parts") from error
    if given.dtype.kind not in "iuf":
        raise ValueError(f"expected numbers, got dtype {given.dtype}")
    return np.array(given[np.newaxis] if given.ndim == 1 else given, dtype=np.float64)


def _timings(response: Mapping[str, Any]) -> dict[str, float]:
    """The server's own times, `server_timing` as it is and the model's share as `model_ms`."""
    timings = _map_in(response, "server_timing") | {
        "model_ms": _map_in(response, "policy_timing").get("infer_ms"),
    }
    return {str(name): float(value) for name, value in timings.items() if isinstance(value, int | float | np.number)}


def _plain(value: Any) -> Any:
    """Sets as lists, in order, since the wire has none."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return sorted(value) if isinstance(value, set | frozenset) else value


def _looked_at(mapping: Mapping[str, str], cameras: Any) -> dict[str, str]:
    """A mapping without the cameras that a server does not name: what it does not look at is not drawn for it."""
    if not isinstance(cameras, list):
        return dict(mapping)
    seen = {f"images.{camera}" for camera in cameras}
    return {key: source for key, source in mapping.items() if not source.startswith("images.") or source in seen}


def _size_in(told: Mapping[str, Any], name: str) -> int:
    size = told.get(name)
    return size if isinstance(size, int) and 1 <= size <= 4096 else OPENPI_PIXELS


def _map_in(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _text_in(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None
