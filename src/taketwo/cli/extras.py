"""The optional dependencies of taketwo, and which of them are installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

from taketwo.envs.libero import package as libero_package

NEEDED_BY = {
    "env": {
        "aloha": "aloha",
        "libero": "libero",
        "maniskill": "maniskill",
        "pettingzoo": "pettingzoo",
        "push": "push",
    },
    "policy": {"scripted": "aloha", "lerobot": "lerobot", "openvla": "openvla"},
}
"""Built-in components that need an extra."""

_CLASSIC_CONTROL = ("gym", "render() of classic control, such as CartPole-v1")

USED_BY = {"env": {"gym": _CLASSIC_CONTROL, "gym_vector": _CLASSIC_CONTROL}, "policy": {}}
"""Built-in components that need an extra for a part of what they do, with that part."""

ALONE = {"libero": libero_package.ALONE.values()}
"""Packages that an extra lacks on purpose, to be installed without what they ask for."""


def extras() -> dict[str, list[str]]:
    """Every extra that taketwo declares, with its packages, those of the extras that these ask for, and those alone."""
    alone = {extra: [package.partition("==")[0] for package in packages] for extra, packages in ALONE.items()}
    return {extra: packages + alone.get(extra, []) for extra, packages in _extras_of("taketwo").items()}


def install(extra: str) -> str:
    """The command that installs an extra."""
    alone = f" && pip install --no-deps {' '.join(ALONE[extra])}" if extra in ALONE else ""
    return f"pip install 'taketwo[{extra}]'{alone}"


def _extras_of(distribution: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for requirement in requires(distribution) or ():
        named = re.match(r"([A-Za-z0-9._-]+)(?:\[([^]]+)\])?", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        if not named or not extra:
            continue
        packages = found.setdefault(extra[1], [])
        packages.append(named[1])
        if named[2] and installed(named[1]) and named[1] != distribution:
            inner = _extras_of(named[1])
            packages += [package for name in named[2].split(",") for package in inner.get(name.strip(), [])]
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
