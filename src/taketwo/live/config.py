"""The options of looking at a running session."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from taketwo.errors import ConfigError

HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
"""What may stand in a `Host` header as a name, without a port (RFC 9110, 7.2)."""

TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,}")
"""Tokens that a URL, a cookie and a header all take as they are (RFC 3986, 2.3)."""

MOST_FPS = 120.0
BEST_QUALITY = 95
"""Above it JPEG files grow and pictures do not gain, as Pillow's manual says."""


@dataclass(frozen=True)
class LiveConfig:
    """A page and a window on the running session.

    Attributes:
        page: whether there is a page.
        port: where the page is; 0 takes any free port.
        host: the address that the page listens on; any that other machines reach needs a token, which is made up
            where none is given.
        token: who opens the page has to know it.
        allowed_hosts: names that the page may be asked for by, besides addresses, localhost and this machine's own.
        fps: most pictures a second of each camera.
        quality: of the JPEG pictures, from 1 to 95.
        window: whether there is a window.
        window_every: the window shows every n-th frame.
    """

    page: bool = False
    port: int = 8090
    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    fps: float = 25.0
    quality: int = 80
    window: bool = False
    window_every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be from 0 to 65535, not {self.port}")
        if not self.host or any(character.isspace() or character == "/" for character in self.host):
            raise ConfigError(f"host must be a name or an address, such as 127.0.0.1 or 0.0.0.0, not {self.host!r}")
        if self.token is not None and not TOKEN.fullmatch(self.token):
            raise ConfigError("token must be 8 or more letters, digits, dots, dashes, underscores and tildes")
        for name in self.allowed_hosts:
            if not HOST_NAME.fullmatch(name):
                raise ConfigError(f"allowed_hosts must be names such as robot.example.org, without port, not {name!r}")
        if not (math.isfinite(self.fps) and 0 < self.fps <= MOST_FPS):
            raise ConfigError(f"fps must be above 0 and at most {MOST_FPS:g}, not {self.fps}")
        if not 1 <= self.quality <= BEST_QUALITY:
            raise ConfigError(f"quality must be from 1 to {BEST_QUALITY}, not {self.quality}")
        if self.window_every < 1:
            raise ConfigError(f"window_every must be 1 or more, not {self.window_every}")
