"""A gallery over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taketwo import __version__
from taketwo.errors import DatasetError, MissingExtraError, TakeTwoError, one_line
from taketwo.live.access import refusal
from taketwo.live.gallery.catalog import Gallery
from taketwo.live.gallery.folder import NotInGalleryError
from taketwo.live.gallery.media import NOT_THERE, Media, media_path
from taketwo.recording.plain import plain

MEDIA = b"/media/"

EPISODE = re.compile(r"[0-9]{1,9}")


def gallery_routes(gallery: Gallery) -> list[Route]:
    """Everything but the page's own files. Folders and files are read on threads, never on the event loop."""
    handlers = _Handlers(gallery)
    return [
        Route("/api/state", handlers.state),
        Route("/api/gallery", handlers.listing),
        Route("/api/gallery/session", handlers.session),
        Route("/api/gallery/signals", handlers.signals),
        Route("/api/gallery/rrd", handlers.rerun),
        Route("/media/{path:path}", handlers.media),
    ]


class _Handlers:
    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        # They take turns here and not on threads, of which other requests then would find none.
        self._reading = asyncio.Lock()
        self._making = asyncio.Lock()

    async def state(self, _: Request) -> Response:
        return _json({"taketwo": __version__, "mode": "gallery"})

    async def listing(self, request: Request) -> Response:
        return await self._answer(request, self._reading, lambda: _json(plain(self._gallery.listing())))

    async def session(self, request: Request) -> Response:
        name = request.query_params.get("id", "")
        return await self._answer(request, self._reading, lambda: _json(plain(self._gallery.session(name))))

    async def signals(self, request: Request) -> Response:
        return await self._of_episode(
            request, self._reading, lambda name, episode: _json(self._gallery.signals(name, episode))
        )

    async def rerun(self, request: Request) -> Response:
        return await self._of_episode(
            request, self._making, lambda name, episode: Media(self._gallery.rerun(name, episode))
        )

    async def media(self, request: Request) -> Response:
        encoded: bytes = request.scope["raw_path"]
        if not encoded.startswith(MEDIA):
            return refusal(request.scope, 404, NOT_THERE)
        relative = encoded.removeprefix(MEDIA)
        return await self._answer(request, None, lambda: Media(media_path(self._gallery.top, relative)))

    async def _of_episode(self, request: Request, lock: asyncio.Lock, make: Callable[[str, int], Response]) -> Response:
        text = request.query_params.get("episode", "")
        if not EPISODE.fullmatch(text):
            return refusal(request.scope, 400, f"episode must be a number, such as 0, not {one_line(text)[:40]!r}")
        name = request.query_params.get("id", "")
        return await self._answer(request, lock, lambda: make(name, int(text)))

    async def _answer(self, request: Request, lock: asyncio.Lock | None, make: Callable[[], Response]) -> Response:
        try:
            if lock is None:
                return await run_in_threadpool(make)
            async with lock:
                return await run_in_threadpool(make)
        except TakeTwoError as error:
            return refusal(request.scope, _status(error), one_line(error))


def _status(error: TakeTwoError) -> int:
    kinds: Sequence[tuple[type[TakeTwoError], int]] = [
        (NotInGalleryError, 404),
        (DatasetError, 409),
        (MissingExtraError, 501),
    ]
    return next((status for kind, status in kinds if isinstance(error, kind)), 507)


def _json(content: Any) -> Response:
    # In ASCII: what was read may hold halves of characters, which no other encoding takes.
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")
