"""The page's own files: read once, so that no path in a request ever reaches the file system."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "static"

INDEX = "index.html"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
"""Told here and not by the operating system, whose table may call scripts plain text, which browsers do not run."""


class Assets:
    """Files of a folder and what is in it, by their path below it with slashes."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Read all of them."""
        self._files = {
            path.relative_to(folder).as_posix(): (path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream"))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._tags = {
            name: f'"{hashlib.sha256(content).hexdigest()[:32]}"' for name, (content, _) in self._files.items()
        }

    def routes(self) -> list[Route]:
        """`/` and `/static/...`."""
        return [Route("/", self._index), Route("/static/{path:path}", self._static)]

    async def _index(self, request: Request) -> Response:
        return self._answer(request, INDEX)

    async def _static(self, request: Request) -> Response:
        return self._answer(request, request.path_params["path"])

    def _answer(self, request: Request, name: str) -> Response:
        if name not in self._files:
            raise HTTPException(404, "there is no such file")
        content, media_type = self._files[name]
        headers = {"ETag": self._tags[name], "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)
