"""Credentials in URLs, which are left out of a configuration when it is stored or printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
"""What stands where a secret was."""

_URL = re.compile(
    r"(?P<scheme>(?:wss?|https?)://)?(?P<user>[^\s/?#]*@)?(?P<place>[^\s?]*)(?P<query>\?\S*)?", re.IGNORECASE
)


def without_credentials(text: str) -> str:
    """A URL with its user, password and query masked, since tokens stand there; any other text as it is.

    A URL here begins with ws, wss, http or https, or has a query such as `?token=1` behind a host alone.
    """
    url = _URL.fullmatch(text)
    if url is None or not (url["scheme"] or "=" in (url["query"] or "")):
        return text
    user = f"{MASK}@" if url["user"] else ""
    query = f"?{MASK}" if url["query"] else ""
    return f"{url['scheme'] or ''}{user}{url['place']}{query}"


def is_masked(value: Any) -> bool:
    """Whether a value, or one inside it, is a URL that `without_credentials` has masked."""
    if isinstance(value, Mapping):
        return any(map(is_masked, value.values()))
    if isinstance(value, list | tuple):
        return any(map(is_masked, value))
    url = _URL.fullmatch(value) if isinstance(value, str) else None
    return url is not None and (url["user"] == f"{MASK}@" or url["query"] == f"?{MASK}")
