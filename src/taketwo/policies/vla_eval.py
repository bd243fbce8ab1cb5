"""The model servers of vla-eval (https://github.com/allenai/vla-evaluation-harness) as policies.

Such a server keeps the episode's state, its chunk included, with the connection: it is sent every observation and
answers each with the one action to take. So chunks have one row here, and an episode cannot go on over a new
connection.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.answers import actions_in
from taketwo.policies.layouts import Layout, build_layout, check_picture_size
from taketwo.policies.vla_eval_fit import STATE_KEYS, check_fit, reads_prompt
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, Observation
from taketwo.wire.address import server_url
from taketwo.wire.timeouts import Timeouts
from taketwo.wire.vla_eval import Component, total_dims, written_components

if TYPE_CHECKING:
    from taketwo.wire.vla_eval_connection import HarnessLink


@dataclass(frozen=True)
class VlaEvalConfig:
    """A model server of the vla-eval harness.

    Attributes:
        host: name or address of the server, or its whole URL (ws:// or wss://).
        port: port of the server; 8000 where neither this nor a URL in host tells.
        mapping: observation key to source, in place of the usual entries or beside them: images.NAME, state,
            state[0:7], prompt, or none. Usual are images.CAMERA for every camera, states, state and
            task_description. Most servers take the first picture as the main one and the second as the wrist's.
        image_height: height of the pictures that are sent, in pixels; others are scaled and padded.
        image_width: width of the pictures that are sent, in pixels.
        task: what the server is told of the task when an episode begins, such as {suite: libero_spatial}.
        action_spec: parts of this environment's actions, in order, to convention and numbers, such as {position:
            delta_xyz[3], rotation: axis_angle[3], gripper: binary_close_positive[1]}; a server that declares others,
            or none, is refused.
        state_convention: what this environment's state is, such as eef_pos3_axisangle3_gripper2; a server that
            declares another is refused.
        connect_timeout_s: how long to wait at the start for a server that does not answer yet.
        reconnect_timeout_s: how long to try to get back a server that was lost, for the next episode.
        first_infer_timeout_s: limit for the first answer on a connection, in which servers compile the model.
        infer_timeout_s: limit for every later answer.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    image_height: int = 256
    image_width: int = 256
    task: Mapping[str, str] = field(default_factory=dict)
    action_spec: Mapping[str, str] = field(default_factory=dict)
    state_convention: str | None = None
    connect_timeout_s: float = 10.0
    reconnect_timeout_s: float = 30.0
    first_infer_timeout_s: float = 300.0
    infer_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        check_picture_size(self.image_height, self.image_width)
        _ = self.url, Timeouts.of(self), self.action_components

    @property
    def url(self) -> str:
        """The server's whole address.

        Raises:
            ConfigError: `host` or `port` is none, or they do not go together.
        """
        return server_url(self.host, self.port, ("ws", "wss"))

    @property
    def action_components(self) -> dict[str, Component]:
        """`action_spec` taken apart.

        Raises:
            ConfigError: a part is not written as it must be.
        """
        return written_components(self.action_spec)

    def make(self, spec: EnvironmentSpec) -> VlaEvalPolicy:
        """Connect, so that a missing server, or one that does not fit, is told before anything moves.

        Raises:
            ConfigError: the mapping or the specification of actions does not fit the environment.
            PolicyError: no server answers, or it does not fit the environment.
        """
        told = total_dims(self.action_components.values())
        if told not in (None, spec.action_dim):
            raise ConfigError(
                f"action_spec has {told} numbers, the actions of environment {spec.name!r} have {spec.action_dim}"
            )
        layout = self._layout(spec)
        from taketwo import __version__
        from taketwo.wire.connection import Server
        from taketwo.wire.vla_eval_connection import HarnessLink

        server = Server(self.url, None, Timeouts.of(self))

        def check(hello: Mapping[str, Any]) -> None:
            check_fit(hello, server.name, spec, layout, self.action_components, self.state_convention)

        link = HarnessLink(server, f"taketwo {__version__}", check)
        link.connect()
        task = {"name": spec.prompt or spec.name, **self.task}
        return (InstructedVlaEvalPolicy if reads_prompt(link.hello, layout) else VlaEvalPolicy)(link, layout, task)

    def _layout(self, spec: EnvironmentSpec) -> Layout:
        usual = {f"images.{camera}": f"images.{camera}" for camera in spec.cameras}
        if any(key.startswith("images.") for key in self.mapping):  # their order counts, so it is the user's alone
            usual = {}
        usual |= {".".join(key): "state" for key in STATE_KEYS} | {"task_description": "prompt"}
        mapping = {**usual, **self.mapping}
        return build_layout("custom", mapping, spec, height=self.image_height, width=self.image_width, axes="hwc")


class VlaEvalPolicy:
    """Asks a connected model server, one action for each observation."""

    def __init__(self, link: HarnessLink, layout: Layout, task: Mapping[str, Any]) -> None:
        """Takes over the connection."""
        self._link = link
        self._layout = layout
        self._task = task
        self._steps: int | None = None  # in the episode; None where none has begun

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pictures are sent."""
        return self._layout.cameras

    @property
    def relays_prompt_to(self) -> str:
        """The server's address."""
        return self._link.name

    @property
    def outages_s(self) -> tuple[float, ...]:
        """How long the server was away, in seconds, each time that it was lost and came back."""
        return tuple(self._link.outages_s)

    def reset(self, episode: EpisodeInfo) -> None:
        """End the last episode and begin this one, on a new connection where the last was lost.

        Raises:
            PolicyError: the server does not come back.
        """
        with self._link as link:
            if self._steps is not None:
                link.tell("episode_end", {})
            self._begin(link, episode.index)

    def infer(self, observation: Observation) -> ActionChunk:
        """The server's action for this observation, (1, D), or as many as it gives.

        Raises:
            PolicyError: there is no answer, it holds no array of numbers, or the server was lost in mid-episode.
        """
        sent_at = time.perf_counter()
        with self._link as link:
            if self._steps is None:
                self._begin(link, 0)
            answer = link.act(self._layout.request(observation), first=self._steps == 0)
            self._steps = (self._steps or 0) + 1
        round_trip_ms = (time.perf_counter() - sent_at) * 1000
        try:
            actions = actions_in(answer, "actions", "action")
        except ValueError as error:
            raise PolicyError(f"the model server at {self._link.name} gave unusable actions: {error}") from error
        return ActionChunk(actions, timings_ms={"round_trip_ms": round_trip_ms})

    def close(self) -> None:
        """Disconnect; an `infer` or `reset` under way in another thread ends with a PolicyError. Safe to call twice."""
        self._link.close()

    def _begin(self, link: HarnessLink, index: int) -> None:
        self._steps = None
        link.begin({"task": {**self._task, "episode_idx": index}})
        self._steps = 0


class InstructedVlaEvalPolicy(VlaEvalPolicy):
    """One whose server reads instructions, as far as it tells; it has none of its own."""

    own_prompt: str | None = None
