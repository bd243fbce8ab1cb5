"""Who may ask: the name that is asked for, the page that asks, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taketwo.errors import one_line, quoted

log = logging.getLogger("taketwo.live")

AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
"""Host and port of a `Host` header or an origin (RFC 9110, 7.2)."""

ORIGIN = re.compile(r"(https?)://(.+)")
"""Scheme and the rest of an origin (RFC 6454, 6.2); `null` is none."""

DEFAULT_PORTS = {"http": "80", "https": "443"}

PAGE = "/"
"""The only address that people open and keep; a token is taken out of it."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-site",
}
"""On every answer: no foreign scripts, no framing, no guessing of types, and no address with a token passed on."""


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: what has to be known; None where it needs no knowledge.
        names: names that this machine is asked for by, in lower case.
        trusted: names that it may be asked for by as well, and whose pages may ask, such as a proxy's.
        cookie: the name of the cookie that keeps the token.
    """

    token: str | None
    names: frozenset[str]
    trusted: frozenset[str]
    cookie: str

    @classmethod
    def at(cls, host: str, port: int, token: str | None, allowed_hosts: Iterable[str]) -> Access:
        """For a server on a host and port. Cookies are shared by all ports of a host, hence the port in its name."""
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        names = {"localhost", own, short, f"{short}.local", host.lower()} - {""}
        return cls(token, frozenset(names), frozenset(map(str.lower, allowed_hosts)), f"taketwo_{port}")

    def knows_host(self, authority: str) -> bool:
        """Whether a `Host` is this machine: an address, or a name of its own, and no name made to point here."""
        found = AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        host = found[1].lower()
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return host.removesuffix(".") in self.names | self.trusted
        return True

    def knows_origin(self, origin: str, authority: str) -> bool:
        """Whether a page of this origin is one of those that are asked for at `authority`."""
        found = ORIGIN.fullmatch(origin.lower())
        if found is None:
            return False
        default = f":{DEFAULT_PORTS[found[1]]}"
        if found[2].removesuffix(default) == authority.lower().removesuffix(default):
            return True
        parts = AUTHORITY.fullmatch(found[2])
        return parts is not None and parts[1] in self.trusted

    def knows_token(self, given: Iterable[str]) -> bool:
        """Whether one of these is the token. How long that takes tells nothing of it."""
        token = self.token
        return token is None or any(hmac.compare_digest(text.encode(), token.encode()) for text in given)


class Guard:
    """Lets through to an application what may ask, and puts headers on all answers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or websocket."""

        async def send_with_headers(message: Message) -> None:
            if message["type"].endswith("http.response.start"):
                _set_headers(MutableHeaders(scope=message))
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            if scope["type"] == "websocket":
                await receive()  # its handshake
                del refused.headers["content-length"]  # which uvicorn adds to refused websockets itself
            await refused(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.debug("a client left in the middle of its request")
        except Exception as error:
            log.warning("%s failed: %s: %s", quoted(scope["path"], 80), type(error).__name__, one_line(error))
            log.debug("where it came from", exc_info=error)

    def _refusal(self, scope: Scope) -> Response | None:
        """What a request gets instead of an answer of the application; None where it may ask."""
        headers = Headers(scope=scope)
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.knows_host(hosts[0]):
            asked = quoted(hosts[0], 80) if hosts else "no host"
            said = f"{asked} is not known as this machine: use its address, or start with --live.allowed_hosts=NAME"
            return refusal(scope, 421, said)
        if _foreign(headers, changes) or (
            changes and not all(self._access.knows_origin(text, hosts[0]) for text in headers.getlist("origin"))
        ):
            return refusal(scope, 403, "this was asked for by a page of another site")
        return self._token_refusal(scope, headers)

    def _token_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        access = self._access
        if access.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        in_query = [value for name, value in query if name == "token"]
        if not access.knows_token([*in_query, *_bearer(headers), *self._cookies(headers)]):
            said = "this page wants its token: open it by the URL that was printed when it was started"
            return refusal(scope, 401, said, {"WWW-Authenticate": "Bearer"})
        if in_query and scope["path"] == PAGE and scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            return self._keep_token(headers, [(name, value) for name, value in query if name != "token"])
        return None

    def _cookies(self, headers: Headers) -> list[str]:
        found = []
        for text in headers.getlist("cookie"):
            cookies = cookie_parser(text)  # Python's own drops them all where another service's is odd
            if self._access.cookie in cookies:
                found.append(cookies[self._access.cookie])
        return found

    def _keep_token(self, headers: Headers, query: list[tuple[str, str]]) -> Response:
        """Puts the token into a cookie, and sends the browser to the address without it."""
        assert self._access.token is not None
        clean = PAGE + (f"?{urlencode(query)}" if query else "")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            # A redirect would count as the other site's, and strict cookies do not go with that; this comes from here.
            response: Response = HTMLResponse(
                "<!doctype html><title>Take Two</title>", headers={"Refresh": f"0;url={clean}"}
            )
        else:
            response = RedirectResponse(clean, status_code=303)
        response.set_cookie(self._access.cookie, self._access.token, httponly=True, samesite="strict")
        return response


def wants_token(address: str) -> bool:
    """Whether other machines reach this address, which is numeric."""
    return not ipaddress.ip_address(address.partition("%")[0]).is_loopback


def refusal(scope: Scope, status: int, said: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says, in a line, why there is no other: JSON below `/api/`, text elsewhere."""
    if scope["path"].startswith("/api/"):
        return JSONResponse({"ok": False, "said": said}, status, headers)
    return PlainTextResponse(f"{said}\n", status, headers)


def _foreign(headers: Headers, changes: bool) -> bool:
    """Whether a browser says that another site's page asks (Fetch Metadata Request Headers, W3C).

    Whoever follows a link here comes from elsewhere too, which does no harm. Where something is changed, another
    page of the same site, such as one on another port, is foreign as well.
    """
    site = headers.get("sec-fetch-site")
    if changes:
        return site in ("cross-site", "same-site")
    return site == "cross-site" and headers.get("sec-fetch-mode") != "navigate"


def _bearer(headers: Headers) -> list[str]:
    schemes = [text.partition(" ") for text in headers.getlist("authorization")]
    return [rest.strip() for scheme, _, rest in schemes if scheme.lower() == "bearer"]


def _set_headers(headers: MutableHeaders) -> None:
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")
