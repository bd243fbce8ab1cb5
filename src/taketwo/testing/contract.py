"""What the checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taketwo.types import EnvironmentSpec, Observation


class ContractError(AssertionError):
    """A component does not do what its protocol says."""


def require(holds: object, broken: str) -> None:
    """Raise `ContractError(broken)` unless `holds`."""
    if not holds:
        raise ContractError(broken)


def require_raises(call: Callable[[], Any], broken: str) -> None:
    """Raise `ContractError(broken)` unless `call` raises an exception."""
    try:
        call()
    except Exception:  # noqa: BLE001 - which one is the adapter's affair
        return
    raise ContractError(broken)


def check_state(observation: Observation, spec: EnvironmentSpec, when: str) -> None:
    """The state has the shape and type that `spec` promises; no picture is made."""
    require(isinstance(observation, Observation), f"{when}: {type(observation).__name__}, not an Observation")
    state = observation.state
    require(state.dtype == np.float64, f"{when}: state is {state.dtype}, not float64")
    require(
        state.shape == (len(spec.state_names),),
        f"{when}: state has shape {state.shape}, spec names {len(spec.state_names)} values",
    )
    require(np.isfinite(state).all(), f"{when}: state has NaN or infinite values")


def check_observation(observation: Observation, spec: EnvironmentSpec, when: str) -> None:
    """State and pictures have the shapes and types that `spec` promises."""
    check_state(observation, spec, when)
    require(
        set(observation.images) == set(spec.cameras),
        f"{when}: pictures of {sorted(observation.images)}, spec has cameras {sorted(spec.cameras)}",
    )
    for name, image in observation.images.items():
        pixels, size = image.pixels, spec.cameras[name]
        require(pixels.dtype == np.uint8, f"{when}: camera {name} gives {pixels.dtype}, not uint8")
        require(
            pixels.shape == (size.height, size.width, 3) == (image.height, image.width, 3),
            f"{when}: camera {name} gives shape {pixels.shape}, spec says {(size.height, size.width, 3)}",
        )


def same(first: Observation, second: Observation) -> bool:
    """Whether state and every picture agree, bit for bit."""
    return np.array_equal(first.state, second.state) and all(
        np.array_equal(image.pixels, second.images[name].pixels) for name, image in first.images.items()
    )
