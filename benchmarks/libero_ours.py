"""Our side: taketwo's session with LIBERO and a policy that looks at some cameras every eight steps. A worker."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import numpy as np

from libero_workload import CHUNK_LENGTH, PICTURE_SIZE, WAITING, actions, fingerprint
from taketwo.control.config import ControlConfig
from taketwo.envs.libero import LiberoConfig
from taketwo.session.config import SessionConfig
from taketwo.session.loop import Session
from taketwo.types import ActionChunk, EpisodeInfo, FloatArray, Observation
from workload import serve


class Planned:
    """Looks at its cameras and answers with the next actions of a plan."""

    extras: tuple[str, ...] = ()

    def __init__(self, plan: FloatArray, cameras: tuple[str, ...]) -> None:
        self.cameras = cameras
        self.began = 0.0
        self._plan = plan
        self._next = 0

    def reset(self, episode: EpisodeInfo) -> None:
        self._next = 0

    def infer(self, observation: Observation) -> ActionChunk:
        if self._next == 0:
            self.began = time.perf_counter()
        for camera in self.cameras:
            float(np.mean(observation.images[camera].pixels))
        chunk = self._plan[self._next : self._next + CHUNK_LENGTH]
        self._next += CHUNK_LENGTH
        return ActionChunk(chunk)

    def close(self) -> None:
        """Nothing is open."""


def about() -> dict[str, str]:
    return {name: version(name) for name in ("taketwo", "hf-libero", "robosuite", "mujoco", "numpy")}


def episode(suite: str, task: int, steps: int, session_seed: int, seed: int, cameras: list[str]) -> dict[str, Any]:
    """Run one, from the task's first initial state, and clock it from the policy's first look to the session's end."""
    config = LiberoConfig(
        suite=suite,  # type: ignore[arg-type] # one of them, as it came as JSON
        task=task,
        cameras=tuple(cameras),
        width=PICTURE_SIZE,
        height=PICTURE_SIZE,
        num_steps_wait=WAITING,
    )
    environment = config.make()
    first = environment.reset(seed)
    for camera in cameras:  # the first picture compiles shaders
        _ = first.images[camera].pixels
    policy = Planned(actions(steps, seed), tuple(cameras))
    controller = ControlConfig(action_horizon=CHUNK_LENGTH).make(policy, environment.spec)
    options = SessionConfig(seed=session_seed, num_episodes=1, max_episode_steps=steps)
    result = Session(environment, controller, options).run()
    wall_s = time.perf_counter() - policy.began
    simulation = environment._simulation
    state = fingerprint(simulation.model, simulation.data)
    environment.close()
    return {"wall_s": wall_s, "steps": result.episodes[0].steps, "state": state}


if __name__ == "__main__":
    serve({"about": about, "episode": episode})
