"""Pictures over plain HTTP: streams that a browser's `<img>`, ffplay and OpenCV read, and single ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from taketwo.errors import one_of, shortened
from taketwo.live.audience import Audience, Viewer
from taketwo.live.frames import BOUNDARY, Frame, Frames

PATIENCE_S = 5.0
"""How long a request waits for the session to begin, and for a picture."""


class Streams:
    """The routes of pictures."""

    def __init__(self, frames: Frames, audience: Audience) -> None:
        self._frames = frames
        self._audience = audience

    def routes(self) -> list[Route]:
        """`/stream`, `/stream/<camera>` and `/snapshot/<camera>.jpg`."""
        return [
            Route("/stream", self._stream),
            Route("/stream/{camera:path}", self._stream),
            Route("/snapshot/{camera:path}.jpg", self._snapshot),
        ]

    async def _stream(self, request: Request) -> Response:
        camera = await self._camera(request.path_params.get("camera"))
        return MotionJpeg(self._frames, self._audience, camera)

    async def _snapshot(self, request: Request) -> Response:
        camera = await self._camera(request.path_params["camera"])
        await self._wait_until(lambda: self._frames.fresh(camera) is not None, [camera])
        frame = self._frames.fresh(camera)
        if frame is None:
            raise HTTPException(503, f"no picture of camera {camera!r} came within {PATIENCE_S:g} s: nothing moves now")
        return Response(frame.jpeg, media_type="image/jpeg")

    async def _camera(self, name: str | None) -> str:
        """The camera of this name; the first one without a name.

        Raises:
            HTTPException: 404 where there is none, 503 where the session has not begun.
        """
        await self._wait_until(lambda: self._frames.cameras is not None)
        cameras = self._frames.cameras
        if cameras is None:
            raise HTTPException(503, "the session has not begun")
        if name is None and cameras:
            return cameras[0]
        if name is None or name not in cameras:
            raise HTTPException(404, one_of("camera", shortened(name or "", 80), cameras))
        return name

    async def _wait_until(self, there: Callable[[], bool], cameras: Collection[str] = ()) -> None:
        """Look at cameras until something is there, or for as long as patience lasts."""
        viewer = Viewer(cameras)
        with contextlib.suppress(TimeoutError), self._audience.joined(viewer):
            async with asyncio.timeout(PATIENCE_S):
                while not (there() or self._audience.closed):
                    await viewer.woken()


class MotionJpeg(Response):
    """The pictures of a camera, one after the other, each in the place of the last (multipart/x-mixed-replace)."""

    media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

    def __init__(self, frames: Frames, audience: Audience, camera: str) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._frames = frames
        self._audience = audience
        self._camera = camera

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the viewer goes or all is over."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "GET":
            viewer = Viewer([self._camera])
            leaving = asyncio.create_task(_leave(receive, viewer))
            try:
                with self._audience.joined(viewer):
                    await self._send_frames(viewer, send)
            finally:
                leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_frames(self, viewer: Viewer, send: Send) -> None:
        await send({"type": "http.response.body", "body": f"--{BOUNDARY}\r\n".encode(), "more_body": True})
        sent: Frame | None = None
        while not viewer.gone:
            frame = self._frames.fresh(self._camera)
            if frame is not None and frame is not sent:
                sent = frame
                await send({"type": "http.response.body", "body": frame.part, "more_body": True})
            elif self._audience.closed:
                return
            else:
                await viewer.woken()


async def _leave(receive: Receive, viewer: Viewer) -> None:
    """Have the viewer leave when its connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.leave()
