"""Any policy as a model server of vla-eval (https://github.com/allenai/vla-evaluation-harness).

The harness asks once a step and takes one action at a time, so a chunk is handed out here, action by action. Every
observation gets exactly one answer: the harness takes whatever comes next for it, without a look at its number
(`Connection.act` in `vla_eval/connection.py` only warns). An episode that cannot begin is therefore told when its
first observation comes, and not before.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from taketwo import __version__
from taketwo.errors import ConfigError, PolicyError, one_line
from taketwo.policies.base import NeedsExtras, Policy, ReadsPrompt
from taketwo.policies.layouts import build_layout
from taketwo.seeding import episode_seed
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.openpi import told_of
from taketwo.serving.protocols import Reply
from taketwo.serving.requests import RequestError, RequestReader
from taketwo.types import RUNNING_CHUNK, EnvironmentSpec, EpisodeInfo, FloatArray, Observation
from taketwo.wire.vla_eval import (
    LANGUAGE,
    PICTURE,
    PROTOCOL_VERSION,
    Component,
    Message,
    decode,
    encode,
    total_dims,
    written_components,
)

if TYPE_CHECKING:
    from taketwo.serving.client import ServedClient, Serving

log = logging.getLogger("taketwo.serve")


@dataclass(frozen=True)
class VlaEvalProtocol:
    """The protocol of the vla-eval harness, for its benchmarks.

    Attributes:
        images: camera to the benchmark's name for its picture, such as {robot0_eye_in_hand: wrist}; the camera's
            own name where not given.
        action_horizon: actions of a chunk that are handed out before the policy is asked again; all where not given.
        action_spec: parts of an action, in order, to convention and numbers, such as {position: delta_xyz[3],
            rotation: axis_angle[3], gripper: binary_close_positive[1]}; the harness compares it with the benchmark's.
        state_convention: what the policy expects the state to be, such as eef_pos3_axisangle3_gripper2; compared too.
        seed: what the episodes' seeds are made from, together with their tasks.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    action_horizon: int | None = None
    action_spec: Mapping[str, str] = field(default_factory=dict)
    state_convention: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.action_horizon is not None and self.action_horizon < 1:
            raise ConfigError(f"action_horizon must be 1 or more, not {self.action_horizon}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, not {self.seed}")
        _ = self.action_components

    @property
    def action_components(self) -> dict[str, Component]:
        """`action_spec` taken apart.

        Raises:
            ConfigError: a part is not written as it must be.
        """
        return written_components(self.action_spec)

    def make(self, serving: Serving) -> Callable[[ServedClient], HarnessConversation]:
        """What begins a conversation with the harness. For LIBERO, what is not given is as its benchmarks have it.

        Raises:
            ConfigError: it does not fit, or the policy needs more than benchmarks send.
        """
        if serving.record is not None:
            raise ConfigError("recordings are kept of openpi's protocol only: leave out --record")
        spec = serving.environment.spec
        options = self.completed(LIBERO) if spec.name == "libero" else self
        side = options.fit(spec, serving.host.policy, serving.options.max_request_bytes)
        return lambda client: HarnessConversation(side, client)

    def completed(self, other: VlaEvalProtocol) -> VlaEvalProtocol:
        """The same, with another's where something is not given."""
        return replace(
            self,
            images=self.images or other.images,
            action_spec=self.action_spec or other.action_spec,
            state_convention=self.state_convention or other.state_convention,
        )

    def fit(self, spec: EnvironmentSpec, policy: Policy, max_message_bytes: int = 64_000_000) -> HarnessSide:
        """Fit it to a policy.

        Args:
            spec: of the environment that the policy was made for.
            policy: tells what it looks at; it is not asked.
            max_message_bytes: a longer message is refused.

        Raises:
            ConfigError: it does not fit, or the policy needs more than benchmarks send.
        """
        needed = [name for name in policy.extras if name != RUNNING_CHUNK] if isinstance(policy, NeedsExtras) else []
        if needed:
            raise ConfigError(f"the policy needs {', '.join(needed)}, which benchmarks of vla-eval do not send")
        unknown = sorted(self.images.keys() - spec.cameras.keys())
        if unknown:
            raise ConfigError(f"images names {unknown[0]!r}, there are {', '.join(spec.cameras) or 'no cameras'}")
        told = total_dims(self.action_components.values())
        if told not in (None, spec.action_dim):
            raise ConfigError(f"action_spec has {told} numbers, the policy's actions have {spec.action_dim}")
        reads_prompt = isinstance(policy, ReadsPrompt)
        return HarnessSide(self, spec, policy.cameras, max_message_bytes, reads_prompt=reads_prompt)


LIBERO = VlaEvalProtocol(
    images={"robot0_eye_in_hand": "wrist"},
    action_spec={"position": "delta_xyz[3]", "rotation": "axis_angle[3]", "gripper": "binary_close_positive[1]"},
    state_convention="eef_pos3_axisangle3_gripper2",
)
"""For policies that are served as openpi's LIBERO: what `vla_eval/benchmarks/libero/benchmark.py` sends and takes."""


class HarnessSide:
    """What all connections of a server have in common."""

    def __init__(
        self,
        options: VlaEvalProtocol,
        spec: EnvironmentSpec,
        cameras: tuple[str, ...],
        max_message_bytes: int,
        *,
        reads_prompt: bool,
    ) -> None:
        self.options = options
        self.max_message_bytes = max_message_bytes
        self.spec = spec
        self._reads_prompt = reads_prompt
        self._pictures = {camera: options.images.get(camera, camera) for camera in cameras}
        mapping = {f"images.{name}": f"images.{camera}" for camera, name in self._pictures.items()}
        mapping |= {"state": "state", "task_description": "prompt"}
        layout = build_layout("custom", mapping, spec, height=1, width=1)  # only read by; pictures come as they are
        self._reader = RequestReader(ServedEnvironment(spec, layout, "custom"), cameras)

    def hello(self) -> dict[str, Any]:
        """The payload of HELLO: who this is, and what it gives and expects."""
        expected = dict.fromkeys(self._pictures.values(), PICTURE)
        if self._reads_prompt:
            expected["language"] = LANGUAGE
        if self.options.state_convention is not None:
            expected["state"] = Component(len(self.spec.state_names), self.options.state_convention)
        return {
            "harness_version": f"taketwo {__version__}",
            "protocol_version": PROTOCOL_VERSION,
            "model_server": "taketwo",
            "capabilities": {},
            "observation_params": {"send_state": True}
            | ({"send_wrist_image": True} if len(self._pictures) > 1 else {}),
            "action_spec": {name: part.on_wire(name) for name, part in self.options.action_components.items()},
            "observation_spec": {name: part.on_wire(name) for name, part in expected.items()},
        }

    def observation(self, payload: Mapping[str, Any], step: int) -> Observation:
        """The observation in a message; benchmarks call the state `states` or `state`.

        Raises:
            RequestError: something is missing, or not what it should be.
        """
        state = payload.get("states", payload.get("state"))
        request = self._reader.read({**payload, "state": state})
        assert request.observation is not None  # only a message that is a reset alone has none
        return replace(request.observation, time_s=step / self.spec.control_hz)

    def episode(self, payload: Mapping[str, Any], number: int) -> EpisodeInfo:
        """The episode that begins, with a seed that is the same wherever its task is run."""
        task = payload.get("task")
        known = sorted(task.items()) if isinstance(task, dict) and all(isinstance(key, str) for key in task) else []
        told = dict(known).get("episode_idx")
        index = told if type(told) is int and told >= 0 else number
        return EpisodeInfo(index, episode_seed(self.options.seed, zlib.crc32(repr(known or number).encode())))


class HarnessConversation:
    """Answers one connection of the harness, one message after the other."""

    greeting = None

    def __init__(self, side: HarnessSide, client: ServedClient) -> None:
        self._side = side
        self._client = client
        self._episodes = 0
        self._begun = False
        self._step = 0
        self._actions: deque[FloatArray] = deque()
        self._told: dict[str, Any] = {}
        self._task: asyncio.Future[Reply] | None = None  # one that nobody holds may vanish in mid-work
        self._broken: str | None = None  # why the episode could not begin

    def answer(self, message: bytes | str, reply: Callable[[Reply], None]) -> None:
        """An action for an observation; what cannot be answered gets an `error` of one line."""
        self._task = asyncio.ensure_future(self._answered(message))
        self._task.add_done_callback(lambda task: None if task.cancelled() else reply(task.result()))

    async def _answered(self, message: bytes | str) -> Reply:
        seq = 0
        try:
            if isinstance(message, str):
                raise ValueError("a message of vla-eval is binary")
            if len(message) > self._side.max_message_bytes:
                raise ValueError(
                    f"a message of {len(message) / 1e6:.0f} MB is too large: "
                    f"{self._side.max_message_bytes / 1e6:.0f} MB are allowed"
                )
            read = await asyncio.to_thread(decode, message)  # unpacking pictures takes milliseconds
            seq = read.seq
            answer = await self._reply(read)
            return Reply(answer, "answered" if read.kind == "observation" else "reset")
        except Exception as error:
            told = isinstance(error, PolicyError | ValueError)
            said = one_line(error) if told else f"{type(error).__name__}: {one_line(error)}"
            log.warning("client %d, of vla-eval: %s", self._client.number, said)
            log.debug("where it came from", exc_info=error)
            theirs = isinstance(error, RequestError | ValueError)
            return Reply(encode(Message("error", {"error": said}, seq)), "request_error" if theirs else "policy_error")

    async def _reply(self, message: Message) -> bytes | None:
        match message.kind:
            case "hello":
                version = message.payload.get("protocol_version")
                if version != PROTOCOL_VERSION:
                    raise ValueError(f"this is version {PROTOCOL_VERSION} of vla-eval's protocol, not {version}")
                return encode(Message("hello", self._side.hello(), message.seq))
            case "observation":
                return encode(Message("action", await self._act(message.payload), message.seq))
            case "episode_start":
                await self._begin(message.payload)
            case "episode_end":
                self._begun = False
            case "error":
                log.warning("a client of vla-eval failed: %s", one_line(message.payload.get("error", "unknown")))
        return None

    async def _begin(self, payload: Mapping[str, Any]) -> None:
        self._actions.clear()
        self._step, self._begun, self._broken = 0, True, None
        episode = self._side.episode(payload, self._episodes)
        self._episodes += 1
        try:
            await self._client.begin(episode)
        except Exception as error:
            log.debug("where it came from", exc_info=error)
            self._broken = f"the episode could not begin: {one_line(error)}"

    async def _act(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        if not self._begun:
            await self._begin({})
        if self._broken is not None:
            raise PolicyError(self._broken)
        if not self._actions:
            chunk, answer = await self._client.inferred(self._side.observation(payload, self._step))
            self._client.note(chunk, answer)
            self._actions.extend(chunk.actions[: self._side.options.action_horizon])
            self._told = told_of(chunk)
        self._step += 1
        return {"actions": self._actions.popleft(), "taketwo": self._told}
