"""A policy behind a websocket: openpi's servers, and all that speak their protocol."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.layouts import Axes, Layout, LayoutName, build_layout
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation

if TYPE_CHECKING:
    from taketwo.serving.client import PolicyClient

DEFAULT_PORT = 8000
"""openpi's."""

AUTHORITY_END = re.compile(r"[/?#]")
"""What ends user, host and port in a URL (RFC 3986, 3.2)."""


@dataclass(frozen=True)
class RemoteConfig:
    """A policy server that speaks openpi's websocket protocol.

    Attributes:
        host: name or address of the server, or its whole URL (ws:// or wss://).
        port: port of the server; 8000 where neither this nor a URL in host tells.
        api_key: key that the server asks for; it is neither shown nor recorded.
        layout: which request the server expects; see taketwo.policies.layouts.
        mapping: request key to source, in place of the layout's entries or beside them: images.NAME, state,
            state[0:7], prompt, or none; a dot in a key opens a map, such as {images.cam_high: images.top}.
        image_height: height of the pictures that are sent, in pixels; others are scaled and padded.
        image_width: width of the pictures that are sent, in pixels.
        image_axes: order of a picture's axes; the layout's own where not given.
        connect_timeout_s: how long to wait at the start for a server that does not answer yet.
        reconnect_timeout_s: how long to try to get back a server that was lost; 0 gives up at once.
        first_infer_timeout_s: limit for the first answer on a connection, in which servers compile the model.
        infer_timeout_s: limit for every later answer.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    api_key: str | None = field(default=None, repr=False)
    layout: LayoutName = "aloha"
    mapping: Mapping[str, str] = field(default_factory=dict)
    image_height: int = 224
    image_width: int = 224
    image_axes: Axes | None = None
    connect_timeout_s: float = 10.0
    reconnect_timeout_s: float = 30.0
    first_infer_timeout_s: float = 300.0
    infer_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("image_height", "image_width"):
            if not 1 <= getattr(self, name) <= 4096:
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
        layout = build_layout(
            self.layout, self.mapping, spec, height=self.image_height, width=self.image_width, axes=self.image_axes
        )
        from taketwo.serving.client import PolicyClient
        from taketwo.serving.connection import Server

        server = Server(self.url, self.api_key, self.first_infer_timeout_s, self.infer_timeout_s)
        client = PolicyClient(
            server, connect_timeout_s=self.connect_timeout_s, reconnect_timeout_s=self.reconnect_timeout_s
        )
        client.connect()
        return RemotePolicy(client, layout, spec)


class RemotePolicy:
    """Asks a connected server for actions.

    openpi's own servers keep no state between requests and know no message but an observation, so `reset`
    sends them nothing. A server with state of its own says so in its metadata by `taketwo: {reset: true}`;
    it is then sent `{"taketwo": {"reset": {"index": ..., "seed": ...}}}` when an episode begins, and again
    when a lost connection has come back in mid-episode, and answers an empty map.
    """

    def __init__(self, client: PolicyClient, layout: Layout, spec: EnvironmentSpec) -> None:
        """Takes over the connected client, and closes it if its server does not fit.

        Raises:
            PolicyError: the metadata tells of another number of action dimensions.
        """
        self._client = client
        self._layout = layout
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

    def reset(self, episode: EpisodeInfo) -> None:
        """Tell the server that an episode begins, where it wants to know.

        Raises:
            PolicyError: it was not answered.
        """
        if _map_in(self._client.metadata, "taketwo").get("reset") is True:
            self._client.greet({"taketwo": {"reset": {"index": episode.index, "seed": episode.seed}}})

    def infer(self, observation: Observation) -> ActionChunk:
        """The server's actions for this observation, as many and as wide as it gives them.

        Raises:
            PolicyError: there is no answer, or it holds no array of numbers.
        """
        request = self._layout.request(observation)
        sent_at = time.perf_counter()
        response = self._client.request(request)
        round_trip_ms = (time.perf_counter() - sent_at) * 1000
        try:
            return _chunk(response, round_trip_ms)
        except ValueError as error:
            raise PolicyError(f"the policy server at {self._client.name} gave unusable actions: {error}") from error

    def close(self) -> None:
        """Disconnect; an `infer` or `reset` under way in another thread ends with a PolicyError. Safe to call twice."""
        self._client.close()


def _chunk(response: Mapping[str, Any], round_trip_ms: float) -> ActionChunk:
    told = _map_in(response, "taketwo")
    embedding = response.get("embedding")
    return ActionChunk(
        actions=_actions(response),
        embedding=embedding if isinstance(embedding, np.ndarray) else None,
        prompt_used=_text_in(told, "prompt_used"),
        prompt_source=_text_in(told, "prompt_source"),
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


def _map_in(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _text_in(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None
