"""openpi's protocol (its `serving/websocket_policy_server.py`): metadata first, then an answer to each observation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taketwo.errors import PolicyError, one_line
from taketwo.serving.asking import UNTOLD_EPISODE, EpisodeClock
from taketwo.serving.inference import Answer
from taketwo.serving.metadata import metadata_of
from taketwo.serving.protocols import Reply
from taketwo.serving.requests import Request, RequestError, RequestReader
from taketwo.types import ActionChunk
from taketwo.wire.protocol import decode, encode

if TYPE_CHECKING:
    from taketwo.serving.client import ServedClient, Serving

log = logging.getLogger("taketwo.serve")


@dataclass(frozen=True)
class OpenpiProtocol:
    """openpi's websocket protocol, with what is beyond it under the key `taketwo`."""

    def make(self, serving: Serving) -> Callable[[ServedClient], OpenpiConversation]:
        """What begins a conversation with a client."""
        common = _Common(serving)
        return lambda client: OpenpiConversation(client, common)


class _Common:
    """What is the same for all conversations of a server."""

    def __init__(self, serving: Serving) -> None:
        metadata = metadata_of(
            serving.host,
            serving.environment,
            default_prompt=serving.options.default_prompt,
            all_cameras=serving.record is not None,
        )
        self.greeting = encode(metadata)
        self.reader = RequestReader(serving.environment, serving.host.policy.cameras)
        self.control_hz = serving.environment.spec.control_hz
        self.max_request_bytes = serving.options.max_request_bytes


class OpenpiConversation:
    """Answers one client, one message after the other; what cannot be answered gets a line of text."""

    def __init__(self, client: ServedClient, common: _Common) -> None:
        self._client = client
        self._common = common
        self._clock = EpisodeClock(common.control_hz)
        self._began_s = 0.0
        self._last_total_ms: float | None = None
        self._task: asyncio.Future[None] | None = None  # one that nobody holds may vanish in mid-work

    @property
    def greeting(self) -> bytes:
        """The server's metadata."""
        return self._common.greeting

    def answer(self, message: bytes | str, reply: Callable[[Reply], None]) -> None:
        """Actions for an observation, an empty map for a reset alone, a line of text for what cannot be answered."""
        self._began_s = time.perf_counter()
        try:
            request = self._common.reader.read(self._decoded(message))
            if request.episode is not None or not self._client.begun:
                self._task = asyncio.ensure_future(self._begin(request, message, reply))
            else:
                self._infer(request, message, reply)
        except Exception as error:  # noqa: BLE001 - whatever it is: this client is told, and the others go on
            reply(self._refusal(error, message))

    async def _begin(self, request: Request, message: bytes | str, reply: Callable[[Reply], None]) -> None:
        try:
            await self._client.begin(request.episode or UNTOLD_EPISODE)
            self._clock.reset()
            if request.observation is None:
                reply(Reply(encode({}), "reset"))
            else:
                self._infer(request, message, reply)
        except Exception as error:  # noqa: BLE001 - the same
            reply(self._refusal(error, message))

    def _infer(self, request: Request, message: bytes | str, reply: Callable[[Reply], None]) -> None:
        if request.observation is None:
            return reply(Reply(encode({}), "reset"))
        observation = self._clock.timed(request.observation, request.timed)

        def done(chunk: ActionChunk, answer: Answer) -> None:
            try:
                data = encode(self._response(chunk, answer))
            except ValueError as error:
                raise PolicyError(f"its answer cannot be sent: {error}") from error
            self._clock.answered(len(chunk.actions))
            self._last_total_ms = (time.perf_counter() - self._began_s) * 1000
            self._record(message, data, chunk, answer)  # before the client can ask for more, so that the order is right
            reply(Reply(data, afterwards=lambda: self._client.note(chunk, answer)))

        return self._client.infer(observation, done, lambda error: reply(self._refusal(error, message)))

    def _decoded(self, message: bytes | str) -> Any:
        if isinstance(message, str):
            raise RequestError("a request is a binary message, MessagePack with NumPy arrays as openpi packs them")
        allowed = self._common.max_request_bytes
        if len(message) > allowed:
            raise RequestError(
                f"a request of {len(message) / 1e6:.0f} MB is too large: {allowed / 1e6:.0f} MB are allowed; "
                "send smaller pictures, or raise --max_request_mb of the server"
            )
        try:
            return decode(message)
        except ValueError as error:
            raise RequestError(f"the request cannot be read: {error}") from error

    def _record(self, message: bytes | str, reply: bytes, chunk: ActionChunk, answer: Answer) -> None:
        self._client.record(
            "inference",
            request=message,
            response=reply,
            prompt_used=chunk.prompt_used,
            prompt_source=chunk.prompt_source,
            queue_ms=answer.queue_ms,
            infer_ms=answer.infer_ms,
            batch_size=answer.batch_size,
        )

    def _response(self, chunk: ActionChunk, answer: Answer) -> dict[str, Any]:
        timing: dict[str, float] = {
            "infer_ms": answer.infer_ms,
            "queue_ms": answer.queue_ms,
            "batch_size": answer.batch_size,
        }
        if self._last_total_ms is not None:
            timing["prev_total_ms"] = self._last_total_ms
        response: dict[str, Any] = {
            "actions": chunk.actions,
            "server_timing": timing,
            "policy_timing": dict(chunk.timings_ms),
            "taketwo": told_of(chunk),
        }
        if chunk.embedding is not None:
            response["embedding"] = chunk.embedding
        return response

    def _refusal(self, error: Exception, message: bytes | str) -> Reply:
        if self._client.gone:
            return Reply(None, "policy_error")
        theirs = isinstance(error, RequestError)
        said = one_line(error) if isinstance(error, PolicyError) else f"{type(error).__name__}: {one_line(error)}"
        text = said if theirs else f"the policy failed: {said}"
        log.warning("client %d: %s", self._client.number, text)
        log.debug("where it came from", exc_info=error)
        kept = message if isinstance(message, bytes) and len(message) <= self._common.max_request_bytes else None
        self._client.record("error", message=text, request=kept)
        return Reply(text, "request_error" if theirs else "policy_error")


def told_of(chunk: ActionChunk) -> dict[str, Any]:
    """What an answer tells of the prompt that its actions were made with."""
    return {
        "prompt_used": chunk.prompt_used,
        "prompt_source": chunk.prompt_source,
        "prompt_read": chunk.prompt_read,
    }
