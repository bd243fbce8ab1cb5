"""Files of a gallery as answers, also while they grow or go."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from taketwo.live.access import refusal
from taketwo.live.gallery.folder import NotInGalleryError, is_inside

MEDIA_TYPES = {".mp4": "video/mp4", ".rrd": "application/octet-stream"}
"""What is served, by the ending of the name: nothing else."""
NOT_THERE = "there is no such video here"


def media_path(top: Path, encoded: bytes) -> Path:
    """The file that an address means.

    Args:
        top: the gallery's folder, resolved.
        encoded: the path below it, percent-encoded.

    Raises:
        NotInGalleryError: there is none, it is no video or Rerun recording, or it is not below the folder.
    """
    relative = unquote_to_bytes(encoded)
    parts = relative.split(b"/")
    name = PurePosixPath(os.fsdecode(relative))
    refused = b"\0" in relative or any(part in (b"", b".", b"..") for part in parts)
    path = top / name
    if refused or name.suffix not in MEDIA_TYPES or not is_inside(path, top) or not path.is_file():
        raise NotInGalleryError(NOT_THERE)
    return path


class Media(FileResponse):
    """A file, or the parts of it that are asked for (RFC 9110, section 14).

    It has the length that is told at the start, though a video that is being recorded has become longer meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            NotInGalleryError: it has gone, or is no file.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise NotInGalleryError(NOT_THERE) from error
        if not stat.S_ISREG(found.st_mode):
            raise NotInGalleryError(NOT_THERE)
        is_video = path.suffix == ".mp4"
        name = None if is_video else os.fsencode(path.name).decode("utf-8", "replace")
        headers = {"Cache-Control": "private, no-cache"}  # kept, but asked about: players come back for other parts
        super().__init__(path, 200, headers, MEDIA_TYPES[path.suffix], stat_result=found, filename=name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        bounded = _Bounded(send)
        try:
            await super().__call__(scope, receive, bounded)
        except FileNotFoundError:  # it was finished, and has another name now
            if bounded.began:
                raise
            await refusal(scope, 404, NOT_THERE)(scope, receive, send)


class _Bounded:
    """Sends as much of a body as was announced, and nothing before the first of it is there."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._left = 0
        self.began = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            self._left = int(dict(message["headers"])[b"content-length"])
            return
        if self._start is not None:
            self.began = True
            await self._send(self._start)
            self._start = None
            if not message.get("body") and not message.get("more_body"):  # a HEAD request, or an empty file
                await self._send(message)
                self._left = -1
                return
        if self._left < 0:
            return
        body = message.get("body", b"")[: self._left]
        self._left -= len(body)
        ended = not message.get("more_body") or not self._left
        await self._send({"type": "http.response.body", "body": body, "more_body": not ended})
        if ended:
            self._left = -1
