"""OpenVLA behind its own REST server, `vla-scripts/deploy.py` of github.com/openvla/openvla."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.openvla_conventions import Conventions, Gripper, instruction_in, warn_of_mismatch
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation
from taketwo.wire import json_numpy
from taketwo.wire.address import Endpoint, server_url
from taketwo.wire.timeouts import Timeouts

if TYPE_CHECKING:
    from taketwo.wire.http_client import HttpClient

ACT = "/act"
"""Where `deploy.py` listens for observations."""

FAILED = "error"
"""The whole answer of `deploy.py` to a request in which anything went wrong; the status is 200 all the same."""


@dataclass(frozen=True)
class OpenVLARestConfig:
    """An OpenVLA server: its deploy.py, which takes one picture and one instruction.

    Attributes:
        host: name or address of the server, or its whole URL (http:// or https://).
        port: port of the server; 8000 where neither this nor a URL in host tells.
        unnorm_key: data set whose statistics scale the actions back, such as bridge_orig or libero_object; can be left
            out where the server's checkpoint knows only one.
        double_encode: wrap the request in one more JSON text, for servers whose json-numpy does not read arrays.
        center_crop: cut out the middle 90 % of the picture's area, for checkpoints trained with image augmentation.
        gripper: what the action's last number is made; none leaves it 0 closed to 1 open, bipolar makes it -1 closed
            or 1 open, libero makes it 1 closed or -1 open.
        camera: camera whose picture is sent; the only one, or agentview, where not given.
        rotate_180: turn pictures by 180 degrees, for environments that give robosuite's frames upside down.
        jpeg_roundtrip: send pictures through JPEG, as those of the training sets were.
        connect_timeout_s: how long to wait at the start for a server that does not answer yet.
        reconnect_timeout_s: how long to try to get back a server that was lost; 0 gives up at once.
        first_infer_timeout_s: limit for the first answer, and that after the server was lost.
        infer_timeout_s: limit for every later answer.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    unnorm_key: str | None = None
    double_encode: bool = False
    center_crop: bool = False
    gripper: Gripper = "none"
    camera: str | None = None
    rotate_180: bool = False
    jpeg_roundtrip: bool = True
    connect_timeout_s: float = 10.0
    reconnect_timeout_s: float = 30.0
    first_infer_timeout_s: float = 300.0
    infer_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        _ = self.endpoint, Timeouts.of(self)

    @property
    def endpoint(self) -> Endpoint:
        """Where observations are sent.

        Raises:
            ConfigError: `host` or `port` is none, or they do not go together.
        """
        endpoint = Endpoint.at(server_url(self.host, self.port, ("http", "https")), ACT)
        if not endpoint.path.isascii():
            raise ConfigError(f"host {self.host!r} has letters in its path that a URL cannot have: write them as %XX")
        return endpoint

    def make(self, spec: EnvironmentSpec) -> OpenVLARestPolicy:
        """Connect, so that a missing server is told before anything moves.

        Raises:
            ConfigError: there is no such camera.
            PolicyError: no server answers.
        """
        conventions = Conventions.of(self, spec)
        from taketwo.wire.http_client import HttpClient

        client = HttpClient(self.endpoint, Timeouts.of(self), expected="OpenVLA's deploy.py")
        warn_of_mismatch(self.unnorm_key or "", conventions)
        client.connect()
        return OpenVLARestPolicy(client, conventions, unnorm_key=self.unnorm_key, double_encode=self.double_encode)


class OpenVLARestPolicy:
    """Sends a picture and an instruction, gets an action.

    The server scales any picture to the model's size, and does nothing else that the training data had done to them. So
    the picture is sent as the model shall see it: turned, through JPEG, scaled and cropped, (224, 224, 3) uint8.
    """

    own_prompt: str | None = None

    def __init__(
        self, client: HttpClient, conventions: Conventions, *, unnorm_key: str | None, double_encode: bool
    ) -> None:
        """Takes over the connected client."""
        self._client = client
        self._conventions = conventions
        self._unnorm_key = unnorm_key
        self._double_encode = double_encode

    @property
    def cameras(self) -> tuple[str, ...]:
        """The one camera whose picture is sent."""
        return (self._conventions.camera,)

    @property
    def outages_s(self) -> tuple[float, ...]:
        """How long the server was away, in seconds, each time that it was lost and came back."""
        return tuple(self._client.outages_s)

    def reset(self, episode: EpisodeInfo) -> None:
        """Neither side keeps anything from one episode to the next."""

    def infer(self, observation: Observation) -> ActionChunk:
        """The server's action, (1, D).

        Raises:
            PolicyError: the observation has no prompt, or there is no answer that can be used.
        """
        body = self._request(observation)
        sent_at = time.perf_counter()
        answer = self._client.post(body)
        round_trip_ms = (time.perf_counter() - sent_at) * 1000
        actions = self._conventions.environment_actions(self._actions(answer))
        return ActionChunk(actions, timings_ms={"round_trip_ms": round_trip_ms})

    def close(self) -> None:
        """Disconnect; an `infer` under way in another thread ends with a PolicyError. Safe to call twice."""
        self._client.close()

    def _request(self, observation: Observation) -> bytes:
        request: dict[str, Any] = {
            "image": self._conventions.picture(observation),
            "instruction": instruction_in(observation),
        }
        if self._unnorm_key is not None:
            request["unnorm_key"] = self._unnorm_key
        text = json_numpy.dumps(request)
        return (json.dumps({"encoded": text}) if self._double_encode else text).encode()

    def _actions(self, answer: bytes) -> FloatArray:
        """The action as (1, D); a server that gives several, (H, D), gets them all executed."""
        name = self._client.name
        try:
            content = json_numpy.loads(answer)
            if isinstance(content, str) and content != FAILED:  # an array in a text, as `double_encode` asks for
                content = json_numpy.loads(content)
        except ValueError as error:
            raise PolicyError(f"the policy server at {name} sent an unreadable answer: {error}") from error
        if isinstance(content, str):
            raise PolicyError(
                f"the policy server at {name} failed, and says why in its own log alone: often --policy.unnorm_key is "
                "missing or not one that its checkpoint knows"
            )
        if not isinstance(content, np.ndarray):
            raise PolicyError(f"the policy server at {name} sent a {type(content).__name__}, not an array of numbers")
        if content.dtype.kind not in "iuf" or content.ndim not in (1, 2) or not content.size:
            raise PolicyError(
                f"the policy server at {name} sent an array of {content.dtype}, shape {content.shape}, not an action"
            )
        return np.atleast_2d(content).astype(np.float64)
