"""`/api/command`: what a viewer may ask of the session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from taketwo.errors import one_line, one_of, quoted, shortened
from taketwo.live.audience import Audience
from taketwo.live.state import LiveState
from taketwo.session.commands import Commands

log = logging.getLogger("taketwo.live")

LONGEST_BODY = 16 * 1024
"""Bytes; a prompt fits into it many times."""

BODY_WAIT_S = 10.0
"""How long a request may take to arrive."""

SET_PROMPT = "set_prompt"

SHOWN_CHARACTERS = 60


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request.

    Attributes:
        episode: the episode that is meant, so that a click that comes too late does not hit the next one.
        take: the take that is meant, for the same of an episode that is taken again.
        prompt: the new instruction; null or blank for the environment's own.
    """

    command: str
    episode: int | None = None
    take: int | None = None
    prompt: str | msgspec.UnsetType | None = msgspec.UNSET


def _end(commands: Commands, take: int) -> str:
    commands.end_episode(take=take)
    return "ends after this step"


def _redo(commands: Commands, take: int) -> str:
    commands.discard_episode(take=take)
    return "ends after this step, is not kept, and is taken again"


def _intervene(commands: Commands, take: int) -> str:
    commands.retry(take=take)
    return "goes on with a policy that begins again"


def _mark_success(commands: Commands, take: int) -> str:
    commands.mark(True, take)
    return "is marked a success"


def _mark_failure(commands: Commands, take: int) -> str:
    commands.mark(False, take)
    return "is marked a failure"


def _unmark(commands: Commands, take: int) -> str:
    commands.mark(None, take)
    return "is no longer marked"


def _stop(commands: Commands) -> str:
    commands.stop()
    return "the session ends after this step"


def _pause(commands: Commands) -> str:
    commands.pause()
    return "the session is paused after this step"


def _resume(commands: Commands) -> str:
    commands.resume()
    return "the session goes on"


ON_EPISODE: dict[str, Callable[[Commands, int], str]] = {
    "end_episode": _end,
    "redo_episode": _redo,
    "intervene": _intervene,
    "mark_success": _mark_success,
    "mark_failure": _mark_failure,
    "unmark": _unmark,
}
"""Commands that concern the episode under way; each tells what becomes of it."""

ON_SESSION: dict[str, Callable[[Commands], str]] = {"stop": _stop, "pause": _pause, "resume": _resume}
"""Commands that are right whichever episode is under way."""


class Orders:
    """Hands over to a session what viewers ask of it."""

    def __init__(self, state: LiveState, audience: Audience) -> None:
        self._state = state
        self._audience = audience

    def routes(self) -> list[Route]:
        """The command's."""
        return [Route("/api/command", self._serve, methods=["POST"])]

    async def _serve(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "a command is JSON: send Content-Type: application/json")
        said = self._carry_out(_understood(await _body(request)))
        log.info("from the page: %s", said)
        self._audience.wake()
        return JSONResponse({"ok": True, "said": said})

    def _carry_out(self, order: Order) -> str:
        """Do it, and say what follows.

        Raises:
            HTTPException: it cannot be done: 400 or 409.
        """
        known = (*ON_EPISODE, *ON_SESSION, SET_PROMPT)
        if order.command not in known:
            raise HTTPException(400, one_of("command", shortened(order.command, 80), known))
        if (order.prompt is not msgspec.UNSET) != (order.command == SET_PROMPT):
            raise HTTPException(400, f"prompt comes with the command {SET_PROMPT}, and with no other")
        if self._state.ended:
            raise HTTPException(409, "the session has ended")
        if order.command in ON_SESSION:
            return ON_SESSION[order.command](self._state.commands)
        if order.command in ON_EPISODE:
            return self._on_episode(order)
        assert order.prompt is not msgspec.UNSET
        return self._set_prompt(order.prompt)

    def _on_episode(self, order: Order) -> str:
        """Words count episodes from 1, as tables and page do; fields from 0."""
        commands = self._state.commands
        take, episode = commands.take, commands.episode
        if episode is None:
            raise HTTPException(409, "no episode is under way")
        if order.episode not in (None, episode):
            raise HTTPException(409, f"episode {order.episode + 1} is not under way, but episode {episode + 1}")
        if order.take not in (None, take):
            raise HTTPException(409, f"another take of episode {episode + 1} is under way")
        return f"episode {episode + 1} {ON_EPISODE[order.command](commands, take)}"

    def _set_prompt(self, text: str | None) -> str:
        prompt = self._state.prompt
        if prompt is None:
            raise HTTPException(409, self._state.prompt_note or "the prompt cannot be edited")
        prompt.text = (text or "").strip() or None
        if prompt.text is None:
            return "the prompt is the environment's own from the next observation on"
        return f"the prompt is {quoted(prompt.text, SHOWN_CHARACTERS)} from the next observation on"


async def _body(request: Request) -> bytes:
    """The body.

    Raises:
        HTTPException: it is too long (413), or does not come (408).
    """
    too_long = HTTPException(413, f"a command has at most {LONGEST_BODY} bytes")
    if int(request.headers.get("content-length", "0")) > LONGEST_BODY:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise too_long
    except TimeoutError as error:
        raise HTTPException(408, f"the command did not arrive within {BODY_WAIT_S:g} s") from error
    return bytes(body)


def _understood(body: bytes) -> Order:
    try:
        return msgspec.json.decode(body, type=Order)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"this is no command: {shortened(one_line(error), 200)}") from error
