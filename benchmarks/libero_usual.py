"""The other side: LIBERO's `OffScreenRenderEnv` in the loop that its evaluations have. A worker.

Both cameras are drawn in every step, as they are part of every observation. The policy looks at every eighth.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import numpy as np

from libero_workload import CAMERAS, CHUNK_LENGTH, PICTURE_SIZE, WAITING, actions, fingerprint
from taketwo.envs.libero.package import assets_folder, import_libero, package_folder
from taketwo.envs.libero.tasks import find_task, read_init_states
from workload import serve

IDLE = [0.0] * 6 + [-1.0]


def about() -> dict[str, str]:
    return {name: version(name) for name in ("hf-libero", "robosuite", "mujoco", "numpy")}


def episode(suite: str, task: int, steps: int, seed: int) -> dict[str, Any]:
    """Run one, from the task's first initial state, and clock its steps."""
    package = package_folder()
    libero = import_libero(package, assets_folder(package, None))
    found = find_task(package, suite, task)
    env = libero.OffScreenRenderEnv(
        bddl_file_name=str(found.bddl_file), camera_heights=PICTURE_SIZE, camera_widths=PICTURE_SIZE
    )
    env.seed(seed)
    env.reset()
    observation = env.set_init_state(read_init_states(found.init_states_file)[0])
    for _ in range(WAITING):
        observation, _, _, _ = env.step(IDLE)
    planned = actions(steps, seed)
    began = time.perf_counter()
    for step, action in enumerate(planned):
        if step % CHUNK_LENGTH == 0:
            for camera in CAMERAS:
                float(np.mean(observation[f"{camera}_image"]))
        observation, _, done, _ = env.step(action.tolist())
        if done:
            raise SystemExit(f"error: the actions solve {suite} {task}")
    wall_s = time.perf_counter() - began
    state = fingerprint(env.sim.model._model, env.sim.data._data)
    env.close()
    return {"wall_s": wall_s, "steps": steps, "state": state}


if __name__ == "__main__":
    serve({"about": about, "episode": episode})
