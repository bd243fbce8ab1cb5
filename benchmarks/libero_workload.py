"""What both sides of the LIBERO benchmark do: the same actions from the same initial state, chunk by chunk."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_LENGTH = 8
CAMERAS = ("agentview", "robot0_eye_in_hand")
PICTURE_SIZE = 256
WAITING = 10
"""Idle steps before an episode, in which objects come to rest."""

ARM = np.array([0.5, 0.5, 0.5, 1.0, 1.0, 1.0])


def actions(steps: int, seed: int) -> NDArray[np.float64]:
    """(steps, 7) a hand that wanders about, downwards on the whole, turns, and uses its gripper now and then."""
    generator = np.random.default_rng(seed)
    walk = np.cumsum(generator.normal(0, 0.3, (steps, 6)), axis=0) * ARM
    walk[:, 2] -= 0.3
    grip = np.where(np.arange(steps) // 40 % 2, 1.0, -1.0)
    return np.clip(np.column_stack([walk, grip]), -1.0, 1.0)


def fingerprint(model: Any, data: Any) -> str:
    """SHA-256 of all that MuJoCo's next step depends on: time, positions, velocities, controls, the solver's start."""
    import mujoco

    what = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(model, what))
    mujoco.mj_getState(model, data, state, what)
    return hashlib.sha256(state.tobytes()).hexdigest()
