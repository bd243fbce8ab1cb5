"""The application: addresses, and what answers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from taketwo.live.access import refusal
from taketwo.live.audience import Audience
from taketwo.live.events import Events
from taketwo.live.frames import Frames
from taketwo.live.news import News
from taketwo.live.orders import Orders
from taketwo.live.state import LiveState
from taketwo.live.streams import Streams

REPEAT_S = 5.0
"""After so long without a new picture the last one is sent again."""


class Live:
    """What is shown of one session.

    Attributes:
        audience: who looks.
        frames: the pictures.
        state: the rest.
    """

    def __init__(self, state: LiveState) -> None:
        self.state = state
        self.frames = Frames()
        self.audience = Audience(self._tick)
        self._news = News(state, self.describe)

    def describe(self) -> dict[str, Any]:
        """As `/api/state` tells it."""
        return {**self.state.describe(), "frames_encoded": self.frames.encoded, "viewers": len(self.audience)}

    def routes(self) -> list[BaseRoute]:
        """All addresses but the page's own."""
        return [
            Route("/api/state", self._tell_state),
            *Events(self.frames, self.audience, self._news).routes(),
            *Orders(self.state, self.audience).routes(),
            *Streams(self.frames, self.audience).routes(),
        ]

    async def _tell_state(self, _: Request) -> Response:
        return Response(msgspec.json.encode(self.describe()), media_type="application/json")

    def _tick(self) -> None:
        self._news.refresh()
        self.frames.repeat_after(REPEAT_S)


def application(routes: Sequence[BaseRoute]) -> ASGIApp:
    """What answers at these addresses, and says in a line why it does not at others."""
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    app.router.redirect_slashes = False
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(request.scope, error.status_code, error.detail, error.headers)
