"""Our side: `taketwo` through its Python API. A worker; runs in the benchmark's own environment."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from taketwo.control.config import ControlConfig
from taketwo.envs.aloha import AlohaConfig, AlohaEnvironment
from taketwo.images import resize_with_pad
from taketwo.policies.base import Policy
from taketwo.recording.video import VideoConfig
from taketwo.session.config import SessionConfig
from taketwo.session.events import Event, StepTaken
from taketwo.session.loop import Environment, Session
from taketwo.session.result import SessionResult
from taketwo.session.sinks import Sink
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation, StepResult
from workload import (
    ACTION_DIM,
    CHUNK_LENGTH,
    CONTROL_HZ,
    PICTURE_SIZE,
    Sway,
    growth_mb_per_1000,
    resident_mb,
    serve,
)


class SwayPolicy:
    """`Sway` on the `top` camera."""

    cameras = ("top",)

    def __init__(self, action_horizon: int) -> None:
        self.sway = Sway(action_horizon)

    def reset(self, episode: EpisodeInfo) -> None:
        self.sway.begin_episode()

    def infer(self, observation: Observation) -> ActionChunk:
        picture = resize_with_pad(observation.images["top"].pixels, PICTURE_SIZE, PICTURE_SIZE)
        return ActionChunk(self.sway.chunk(picture.transpose(2, 0, 1), observation.state))

    def close(self) -> None:
        pass


class StillPolicy:
    """Does nothing."""

    cameras: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._answer = ActionChunk(np.zeros((CHUNK_LENGTH, ACTION_DIM)))

    def reset(self, episode: EpisodeInfo) -> None:
        pass

    def infer(self, observation: Observation) -> ActionChunk:
        return self._answer

    def close(self) -> None:
        pass


class StillEnvironment:
    """Does nothing."""

    def __init__(self) -> None:
        names = tuple(f"joint_{i}" for i in range(ACTION_DIM))
        bound = np.full(ACTION_DIM, np.inf)
        self.spec = EnvironmentSpec("still", names, ("rad",) * ACTION_DIM, -bound, bound, names, CONTROL_HZ)
        self._result = StepResult(Observation(np.zeros(ACTION_DIM)), 0.0, terminated=False, truncated=False)

    def reset(self, seed: int, options: object = None) -> Observation:
        return self._result.observation

    def step(self, action: FloatArray) -> StepResult:
        return self._result


class MemorySink:
    """Samples the process's memory every ten steps."""

    name = "memory"
    lossless = True
    required = True

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.memory_mb: list[float] = []

    def cameras(self, frame: int) -> Collection[str]:
        return ()

    def on(self, event: Event) -> None:
        if isinstance(event, StepTaken) and event.frame % 10 == 0:
            self.steps.append(event.frame)
            self.memory_mb.append(resident_mb())


class Worker:
    """One process's simulators and the jobs they are used for."""

    def __init__(self) -> None:
        self._exact = AlohaConfig().make()

    def about(self) -> dict[str, str]:
        """Versions that matter for comparing."""
        return {name: version(name) for name in ("taketwo", "gym-aloha", "mujoco", "dm-control", "numpy")}

    def episode(self, seed: int, steps: int, action_horizon: int, video: str | None) -> dict[str, Any]:
        """One episode, as fast as it goes; timed from its reset until its video is written."""
        policy = SwayPolicy(action_horizon)
        config = SessionConfig(seed=seed, num_episodes=1, max_episode_steps=steps)
        sinks = _video_sinks(self._exact, video)
        wall_s, result = _run(self._exact, policy, action_horizon, config, sinks)
        return {
            "steps": result.episodes[0].steps,
            "wall_s": wall_s,
            "fingerprint": policy.sway.fingerprint,
            "pictures": policy.sway.pictures,
        }

    def overhead(self, steps: int) -> dict[str, float]:
        """The loop around an environment and a policy that do nothing."""
        config = SessionConfig(num_episodes=1, max_episode_steps=steps)
        wall_s, _ = _run(StillEnvironment(), StillPolicy(), 1, config, [])
        return {"us_per_step": wall_s / steps * 1e6}

    def real_time(self, steps: int, video: str) -> dict[str, Any]:
        """How punctual the loop is at 50 Hz with a small preview picture, filmed and seen by the policy in each step.

        And what that takes of memory, once buffers, caches and encoder have their size.
        """
        environment = AlohaConfig(width=PICTURE_SIZE, height=PICTURE_SIZE, quality="preview").make()
        _ = environment.reset(0).images["top"].pixels  # the first picture compiles shaders
        probe = MemorySink()
        config = SessionConfig(max_total_steps=steps, max_hz=CONTROL_HZ)
        sinks = [*_video_sinks(environment, video), probe]
        _, result = _run(environment, SwayPolicy(1), 1, config, sinks)
        environment.close()
        loop, settled = result.loop, len(probe.steps) // 3
        return {
            "jitter_ms_p50": loop.jitter_ms_p50,
            "jitter_ms_p99": loop.jitter_ms_p99,
            "overruns": loop.overruns,
            "wall_s": loop.wall_s,
            "growth_mb_per_1000": growth_mb_per_1000(probe.steps[settled:], probe.memory_mb[settled:]),
        }


def _video_sinks(environment: AlohaEnvironment, folder: str | None) -> list[Sink]:
    if folder is None:
        return []
    sink = VideoConfig().make(environment.spec, Path(folder))
    assert sink is not None
    return [sink]


def _run(
    environment: Environment, policy: Policy, action_horizon: int, config: SessionConfig, sinks: Sequence[Sink]
) -> tuple[float, SessionResult]:
    """A session from its first reset until every sink is done, and how long that took."""
    controller = ControlConfig(action_horizon=action_horizon).make(policy, environment.spec)
    session = Session(environment, controller, config, sinks)
    began = time.perf_counter()
    result = session.run()
    wall_s = time.perf_counter() - began
    if result.fault is not None:
        raise result.fault
    return wall_s, result


if __name__ == "__main__":
    worker = Worker()
    serve(
        {
            "about": worker.about,
            "episode": worker.episode,
            "overhead": worker.overhead,
            "real_time": worker.real_time,
        }
    )
