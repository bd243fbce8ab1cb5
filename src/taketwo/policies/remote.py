"""A policy behind a websocket: openpi's servers, and all that speak their protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from taketwo.errors import PolicyError, one_line
from taketwo.policies.answers import actions_in
from taketwo.policies.layouts import LARGEST_SIDE, Axes, Layout, LayoutName, build_layout, check_picture_size
from taketwo.types import RUNNING_CHUNK, ActionChunk, EnvironmentSpec, EpisodeInfo, Observation
from taketwo.wire.address import server_url
from taketwo.wire.description import mismatch, told_by
from taketwo.wire.keys import api_key_of, check_api_key
from taketwo.wire.timeouts import Timeouts

if TYPE_CHECKING:
    from taketwo.wire.client import PolicyClient

OPENPI_PIXELS = 224
"""Height and width of the pictures that openpi's clients send."""


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
        check_picture_size(self.image_height, self.image_width)
        check_api_key(self.api_key)
        _ = self.url, Timeouts.of(self)

    @property
    def url(self) -> str:
        """The server's whole address.

        Raises:
            ConfigError: `host` or `port` is none, or they do not go together.
        """
        return server_url(self.host, self.port, ("ws", "wss"), takes_key=True)

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

        server = Server(self.url, api_key_of(self.api_key), Timeouts.of(self))
        client = PolicyClient(server, accept=Fitting(server.name, spec))
        client.connect()
        try:
            return RemotePolicy(client, self._layout_for(spec, told_by(client.metadata)))
        except BaseException:
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


class Fitting:
    """Looks, whenever a server was connected to, whether it is for the environment, and still the same."""

    def __init__(self, server: str, spec: EnvironmentSpec) -> None:
        self._server = server
        self._spec = spec
        self._layout: Any = None
        self._known = False

    def __call__(self, metadata: Mapping[str, Any]) -> None:
        """Look at what it tells.

        Raises:
            PolicyError: it is for another environment, or wants other requests than before.
        """
        told = told_by(metadata)
        try:
            found = mismatch(told, self._spec)
            dim = metadata.get("action_dim", self._spec.action_dim)
            if found is None and int(dim) != self._spec.action_dim:
                found = f"gives actions of {dim} numbers, environment {self._spec.name!r} takes {self._spec.action_dim}"
        except (TypeError, ValueError, AttributeError) as error:
            raise PolicyError(
                f"the policy server at {self._server} sent metadata that cannot be used: {one_line(error)}"
            ) from error
        if found is None and self._known and told.get("layout") != self._layout:
            found = "came back wanting other requests than before: start the session again"
        if found is not None:
            raise PolicyError(f"the policy server at {self._server} {found}")
        self._layout, self._known = told.get("layout"), True


class RemotePolicy:
    """Asks a connected server for actions.

    openpi's own servers keep no state between requests and know no message but an observation, so `reset`
    sends them nothing. A server with state of its own says so in its metadata by `taketwo: {reset: true}`;
    it is then sent `{"taketwo": {"reset": {"index": ..., "seed": ...}}}` when an episode begins, and again
    when a lost connection has come back in mid-episode, and answers an empty map. One that tells the
    protocol's version is also sent the observation's time, the extras that it names, and the running chunk where it
    names that.
    """

    def __init__(self, client: PolicyClient, layout: Layout) -> None:
        """Takes over the connected client."""
        self._client = client
        self._layout = layout
        told = told_by(client.metadata)
        self._tells_more = "protocol" in told
        extras = told.get("extras")
        self._extras = tuple(map(str, extras)) if isinstance(extras, list) else ()

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pictures are sent."""
        return self._layout.cameras

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the server told of itself when it was last connected to."""
        return self._client.metadata

    @property
    def relays_prompt_to(self) -> str:
        """The server's address."""
        return self._client.name

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
        actions=actions_in(response, "actions"),
        embedding=embedding if isinstance(embedding, np.ndarray) and embedding.dtype.kind in "iuf" else None,
        prompt_used=_text_in(told, "prompt_used"),
        prompt_source=_text_in(told, "prompt_source"),
        prompt_read=read if isinstance(read, bool) else None,
        timings_ms=_timings(response) | {"round_trip_ms": round_trip_ms},
    )


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
    return {key: source for key, source in mapping.items() if not str(source).startswith("images.") or source in seen}


def _size_in(told: Mapping[str, Any], name: str) -> int:
    size = told.get(name)
    return size if isinstance(size, int) and 1 <= size <= LARGEST_SIDE else OPENPI_PIXELS


def _map_in(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _text_in(content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    return value if isinstance(value, str) else None
