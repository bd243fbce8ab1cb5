"""A web page of this machine's: address, access, files and server together."""

from __future__ import annotations

import importlib.util
import secrets
import socket
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from taketwo.errors import MissingExtraError

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

EXTRA = "live"

NEEDED = ("starlette", "uvicorn", "httptools")

TOKEN_BYTES = 18

ANY_ADDRESS = ("0.0.0.0", "::")

ELSEWHERE = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737). Nothing is sent to it; the kernel only tells which way that would go."""


class Site:
    """Serves the page's files, and what a page is about.

    Attributes:
        url: where to open it, with the token where there is one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None,
        allowed_hosts: Collection[str],
        routes: Sequence[BaseRoute],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes the port. Nobody is answered before `start`.

        Args:
            port: 0 takes any free one.
            token: what has to be known; made up where none is given and other machines reach the address.
            allowed_hosts: names that the page may be asked for by, besides addresses, localhost and this machine's own.
            routes: all addresses but `/` and `/static/`.
            on_close: called on the server's event loop when it is about to close: requests under way are to end.

        Raises:
            ConfigError: the address cannot be had.
        """
        from taketwo.live.access import Access, Guard, wants_token
        from taketwo.live.app import application
        from taketwo.live.assets import Assets
        from taketwo.live.server import WebServer, bind

        bound = bind(host, port)
        address, port = bound.getsockname()[:2]
        if token is None and wants_token(address):
            token = secrets.token_urlsafe(TOKEN_BYTES)
        self.url = _url(host, address, port, token)
        app = application([*Assets().routes(), *routes])
        self._server = WebServer(Guard(app, Access.at(host, port, token, allowed_hosts)), bound, on_close)

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()

    def close(self) -> None:
        """Take leave of all viewers, waiting for none that does not read."""
        self._server.close()


def check_installed() -> None:
    """Raise MissingExtraError unless the libraries of the page are there."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, EXTRA)


def _url(host: str, address: str, port: int, token: str | None) -> str:
    if address in ANY_ADDRESS:
        host = _own_address()
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def _own_address() -> str:
    """An address that other machines reach this one by, where it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
