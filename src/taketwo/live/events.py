"""The websocket of the page: news, and the pictures that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from taketwo.errors import shortened
from taketwo.live.audience import Audience, Viewer
from taketwo.live.frames import Frame, Frames
from taketwo.live.news import News, Told

MOST_CAMERAS = 64
LONGEST_NAME = 200

GOING_AWAY, ABNORMAL, NOT_UNDERSTOOD = 1001, 1006, 1008
"""Codes of a closed websocket (RFC 6455, 7.4.1)."""

LONGEST_REASON = 120
"""Characters; the RFC has room for 123 bytes."""


class Watch(msgspec.Struct, forbid_unknown_fields=True):
    """What a page says: the cameras that it shows."""

    watch: Annotated[list[Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]], msgspec.Meta(max_length=MOST_CAMERAS)]


class Events:
    """`/api/events`."""

    def __init__(self, frames: Frames, audience: Audience, news: News) -> None:
        self._frames = frames
        self._audience = audience
        self._news = news

    def routes(self) -> list[WebSocketRoute]:
        """The websocket's."""
        return [WebSocketRoute("/api/events", self._serve)]

    async def _serve(self, websocket: WebSocket) -> None:
        await websocket.accept()
        viewer = Viewer()
        listening = asyncio.create_task(self._listen(websocket, viewer))
        try:
            with self._audience.joined(viewer):
                await self._tell(websocket, viewer)
            if listening.done() and (complaint := listening.result()) is not None:
                await _sent(websocket.close(NOT_UNDERSTOOD, complaint))
            elif not viewer.gone:
                await _sent(websocket.close(GOING_AWAY, "the session has ended"))
        except WebSocketDisconnect:
            pass
        finally:
            listening.cancel()

    async def _tell(self, websocket: WebSocket, viewer: Viewer) -> None:
        """Send what is new, as fast as the viewer takes it, until it has gone or all is over."""
        told = Told()
        sent: dict[str, Frame] = {}
        self._news.refresh()
        while not viewer.gone:
            for message in self._news.for_listener(told):
                await _sent(websocket.send_text(message))
            for camera in viewer.cameras:
                frame = self._frames.fresh(camera)
                if frame is not None and frame is not sent.get(camera):
                    sent[camera] = frame
                    await _sent(websocket.send_bytes(frame.message))
            if self._audience.closed:
                return
            await viewer.woken()

    async def _listen(self, websocket: WebSocket, viewer: Viewer) -> str | None:
        """Take what the viewer says until it has gone; returns what of it cannot be understood."""
        try:
            async for text in _texts(websocket):
                cameras = msgspec.json.decode(text, type=Watch).watch
                self._audience.watch(viewer, cameras)
        except (ValueError, RecursionError) as error:
            return shortened(f"not understood: {error}", LONGEST_REASON).encode("ascii", "replace").decode()
        finally:
            viewer.leave()
        return None


async def _sent(sending: Awaitable[None]) -> None:
    """Wait until something has been sent.

    Raises:
        WebSocketDisconnect: there is nobody to send it to.
    """
    try:
        await sending
    except RuntimeError as error:  # uvicorn has closed the connection for what came in
        raise WebSocketDisconnect(ABNORMAL) from error


async def _texts(websocket: WebSocket) -> AsyncIterator[str]:
    """The viewer's text messages.

    Raises:
        ValueError: one is not text.
    """
    while (message := await websocket.receive())["type"] == "websocket.receive":
        if message.get("text") is None:
            raise ValueError("it is no text")
        yield message["text"]
