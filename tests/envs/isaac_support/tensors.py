"""Rolls one simulator out with each kind of array: `tensors.py MODULE:CALLABLE LIBRARY...`, where PyTorch is."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import numpy as np  # noqa: E402
import torch  # noqa: E402, F401

from taketwo.envs.isaac import IsaacConfig  # noqa: E402


def rolled_out(entry, library):
    """The types of actions that the simulator was given, and all that it told."""
    vector = IsaacConfig(entry=entry, kwargs={"library": library}).make_vector(2)
    kinds = set()
    env = vector._simulator.env
    step = env.step
    env.step = lambda actions: (kinds.add(type(actions).__name__), step(actions))[1]
    told = [observation.state.tolist() for observation in vector.reset({0: 3, 1: 4}).values()]
    for index in range(6):
        values = np.random.default_rng(index).uniform(-0.5, 0.5, (2, 6))
        results = vector.step({0: values[0], 1: values[1]}).results.values()
        told.extend([r.observation.state.tolist(), r.reward, r.success, r.truncated] for r in results)
    vector.close()
    return {"kinds": sorted(kinds), "told": told}


print(json.dumps({library: rolled_out(sys.argv[1], library) for library in sys.argv[2:]}))
