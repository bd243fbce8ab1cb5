"""The optional dependencies of taketwo, and which of them are installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

NEEDED_BY = {"env": {"aloha": "aloha"}, "policy": {"scripted": "aloha"}}
"""Built-in components that need an extra."""


def extras() -> dict[str, list[str]]:
    """Every extra that taketwo declares, with its packages."""
    found: dict[str, list[str]] = {}
    for requirement in requires("taketwo") or ():
        package = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        if package and extra:
            found.setdefault(extra[1], []).append(package[0])
    return found


def missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed."""
    return [package for package in extras().get(extra, []) if installed(package) is None]


def installed(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
