"""Seeds: one number makes a session, and episode k of it is the same wherever it runs."""

from __future__ import annotations

import numpy as np


def episode_seed(session_seed: int, index: int, env: int = 0) -> int:
    """The 32-bit seed of episode `index`, by NumPy's `SeedSequence` with the index as spawn key.

    Args:
        env: number of the environment, where several step together. The first has the episodes that a session of
            one environment has, and none depends on how many there are.
    """
    key = (env, index) if env else (index,)
    return int(np.random.SeedSequence(session_seed, spawn_key=key).generate_state(1)[0])


def policy_generator(seed: int) -> np.random.Generator:
    """A policy's random generator for an episode, independent of what the environment makes of the seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
