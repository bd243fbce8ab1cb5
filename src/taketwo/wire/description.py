"""What a server tells of itself beyond openpi's protocol, and whether a client's environment fits it.

All of it is under the key `taketwo` of the metadata, which others ignore:

    protocol: 1                  version of these extensions
    version: 0.1.0               of the server's taketwo
    reset: true                  it wants to know when an episode begins
    extras: [object_poses]       entries of an observation's extras that its policy looks at
    action: {dim, names, units, low, high}   names and units are null where they mean nothing
    state: {dim, names}
    control_hz: 50.0
    cameras: [top]               those that its policy looks at
    layout: {name, mapping, axes, height, width}   the request that it expects, as `taketwo.policies.layouts` has it
    prompt: {default, checkpoint, read}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taketwo.types import EnvironmentSpec

PROTOCOL = 1
"""Version of the extensions. A client refuses a server of another one, since it cannot know what changed."""


def told_by(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a server's metadata that is described here; empty for a server that knows nothing of it."""
    told = metadata.get("taketwo")
    return told if isinstance(told, dict) else {}


def describe_spec(spec: EnvironmentSpec, *, named: bool) -> dict[str, Any]:
    """What a server's policy takes and gives, as plain values.

    Args:
        named: whether names and units mean something to clients.
    """
    return {
        "action": {
            "dim": spec.action_dim,
            "names": list(spec.action_names) if named else None,
            "units": list(spec.action_units) if named else None,
            "low": spec.action_low.tolist(),
            "high": spec.action_high.tolist(),
        },
        "state": {"dim": len(spec.state_names), "names": list(spec.state_names) if named else None},
        "control_hz": spec.control_hz,
    }


def mismatch(told: Mapping[str, Any], spec: EnvironmentSpec) -> str | None:
    """What in a server's description does not fit an environment, in one clause; None where all does.

    Only what both sides know is compared. A rate that differs is no mismatch: slower and faster
    sessions with the same policy are wanted.
    """
    protocol = told.get("protocol")
    if protocol not in (None, PROTOCOL):
        return f"speaks version {protocol} of taketwo's extensions, not {PROTOCOL}: use one release on both sides"
    action, state = _map(told.get("action")), _map(told.get("state"))
    checks = (
        _sizes("actions", action.get("dim"), spec.action_dim, spec.name),
        _sizes("states", state.get("dim"), len(spec.state_names), spec.name),
        _names("action names", action.get("names"), spec.action_names, spec.name),
        _names("action units", action.get("units"), spec.action_units, spec.name),
        _limits(action, spec),
        _names("state names", state.get("names"), spec.state_names, spec.name),
    )
    return next((found for found in checks if found), None)


def _sizes(what: str, told: Any, ours: int, name: str) -> str | None:
    if not isinstance(told, int) or told == ours:
        return None
    return f"is for {what} of {told} numbers, environment {name!r} has {ours}"


def _names(what: str, told: Any, ours: Sequence[str], name: str) -> str | None:
    if not isinstance(told, list) or list(told) == list(ours):
        return None
    if len(told) != len(ours):
        return f"is for {len(told)} {what}, environment {name!r} has {len(ours)}"
    number = next(k for k, (theirs, own) in enumerate(zip(told, ours, strict=True)) if theirs != own)
    return f"has other {what}: number {number} is {told[number]!r} there and {ours[number]!r} in {name!r}"


def _limits(action: Mapping[str, Any], spec: EnvironmentSpec) -> str | None:
    """Limits that differ tell of another unit or convention, such as degrees for radians."""
    for side, ours in (("low", spec.action_low), ("high", spec.action_high)):
        told = np.asarray(action.get(side, ()))
        if told.dtype.kind not in "iuf" or told.shape != ours.shape:
            continue
        both = np.isfinite(told) & np.isfinite(ours)
        wrong = np.flatnonzero(both & ~np.isclose(np.where(both, told, 0), np.where(both, ours, 0), rtol=1e-3))
        if wrong.size:
            k = int(wrong[0])
            return (
                f"has another {side}est value of action {spec.action_names[k]!r}: {told[k]:g} there and {ours[k]:g} "
                f"in {spec.name!r}"
            )
    return None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
