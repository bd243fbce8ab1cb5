"""Where a server is, as users write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from taketwo.errors import ConfigError

DEFAULT_PORT = 8000
"""That of openpi's servers, of OpenVLA's and of vla-eval's."""

AUTHORITY_END = re.compile(r"[/?#]")
"""What ends user, host and port in a URL (RFC 3986, 3.2)."""


def server_url(host: str, port: int | None, schemes: tuple[str, str], *, takes_key: bool = False) -> str:
    """The URL that a user means by a host, which may be a whole URL, and a port.

    It has a port, 8000 where none is told, unless a URL without one was given: then the scheme's own counts.

    Args:
        schemes: the plain and the encrypted one that a URL may have, such as ws and wss; the first where none is told.
        takes_key: whether the server's key has an option of its own, which is then named to who gives a password.

    Raises:
        ConfigError: host or port is none, or they do not go together.
    """
    text = host
    if "://" not in text:
        text = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
        text = f"{schemes[0]}://{text}"
    if "@" in AUTHORITY_END.split(text.partition("://")[2], maxsplit=1)[0]:  # not shown: it may be a password
        advice = "; give the server's key as api_key" if takes_key else ""
        raise ConfigError(f"host must not hold a user or a password{advice}")
    try:
        parts = urlsplit(text)
        told = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise ConfigError(f"host {host!r} is no address: {error}") from error
    if parts.scheme not in schemes or not parts.hostname or any(character.isspace() for character in text):
        urls = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigError(f"host must be a name, an address, or a {urls} URL, not {host!r}")
    if told is not None and port not in (None, told):
        raise ConfigError(f"host {host!r} and port {port} contradict each other; give the port once")
    given = port if told is None else told
    if given is not None and not 1 <= given <= 65535:
        raise ConfigError(f"port must be from 1 to 65535, not {given}")
    known = given or (None if "://" in host else DEFAULT_PORT)
    netloc = parts.netloc if told or known is None else f"{parts.netloc.rstrip(':')}:{known}"
    return parts._replace(netloc=netloc).geturl()


@dataclass(frozen=True)
class Endpoint:
    """Where requests over HTTP go.

    Attributes:
        host: name or address.
        path: of the URL, from its first slash on.
        tls: whether it is https.
    """

    host: str
    port: int
    path: str
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"

    @classmethod
    def at(cls, url: str, path: str) -> Endpoint:
        """A path on the server at an http:// or https:// URL, unless the URL ends with it already."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        before = parts.path.rstrip("/")
        whole = before if before.endswith(path) else before + path
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), whole, tls)
