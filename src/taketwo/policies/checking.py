"""Whether what a policy answered is a chunk of actions."""

from __future__ import annotations

import numpy as np

from taketwo.errors import PolicyError
from taketwo.types import ActionChunk, EnvironmentSpec, FloatArray


def checked_actions(chunk: ActionChunk, spec: EnvironmentSpec) -> FloatArray:
    """A chunk's actions as a new (H, D) float64 array.

    Raises:
        PolicyError: they are not numbers, have another shape, are none, or are not finite.
    """
    try:
        actions = np.array(chunk.actions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"action chunk is no array of numbers: {error}") from error
    fits = actions.ndim == 2 and actions.shape[1] == spec.action_dim and len(actions) > 0
    if not fits or not np.isfinite(actions).all():
        raise PolicyError(f"action chunk {_fault(actions, spec)}")
    return actions


def _fault(actions: FloatArray, spec: EnvironmentSpec) -> str:
    shape = f"({', '.join(map(str, actions.shape))}{',' if actions.ndim == 1 else ''})"
    takes = f"the environment {spec.name!r} takes {spec.action_dim} values: {', '.join(spec.action_names)}"
    if actions.ndim != 2:
        return f"is {shape} and must be (horizon, {spec.action_dim}); {takes}"
    if actions.shape[1] != spec.action_dim:
        return f"is {shape}; {takes}"
    if not len(actions):
        return f"is {shape}; it must hold at least one action"
    broken = np.flatnonzero(~np.isfinite(actions).all(axis=0))
    names = ", ".join(spec.action_names[index] for index in broken)
    return f"has NaN or infinite values in {names}; they must be finite numbers"
