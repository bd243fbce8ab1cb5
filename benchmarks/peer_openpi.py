"""The other side: gym_aloha under openpi's client runtime. A worker; runs in a virtual environment of its own.

Runtime, chunk broker, agent and resizing are those of the installed `openpi_client`. Its ALOHA example is not a
package; the environment and the video subscriber here are written anew to do the same work: `gymnasium.make`, one
picture resized to 224 x 224 in every step; every frame kept in memory and written as MP4 when the episode ends.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gym_aloha  # noqa: F401 - registers the tasks
import gymnasium
import imageio
import numpy as np
from openpi_client import base_policy, image_tools
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.runtime import environment, subscriber
from openpi_client.runtime.agents.policy_agent import PolicyAgent
from openpi_client.runtime.runtime import Runtime

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


class AlohaSimulator(environment.Environment):
    """`gym_aloha` as openpi's client sees it. Clocks the simulator's own step."""

    def __init__(self) -> None:
        self._gym = gymnasium.make("gym_aloha/AlohaTransferCube-v0", obs_type="pixels_agent_pos")
        self._done = True
        self._shown: dict[str, Any] = {}
        self.seeds: list[int] = []
        self.step_s = 0.0

    def reset(self) -> None:
        # The runtime resets once more after the last episode.
        seed = self.seeds.pop(0) if self.seeds else 0
        raw, _ = self._gym.reset(seed=seed)
        self._show(raw)
        self._done = False

    def is_episode_complete(self) -> bool:
        return self._done

    def get_observation(self) -> dict[str, Any]:
        return self._shown

    def apply_action(self, action: dict[str, Any]) -> None:
        began = time.perf_counter()
        raw, _, terminated, truncated, _ = self._gym.step(action["actions"])
        self.step_s += time.perf_counter() - began
        self._show(raw)
        self._done = terminated or truncated

    def _show(self, raw: dict[str, Any]) -> None:
        small = image_tools.resize_with_pad(raw["pixels"]["top"], PICTURE_SIZE, PICTURE_SIZE)
        picture = image_tools.convert_to_uint8(small).transpose(2, 0, 1)
        self._shown = {"state": raw["agent_pos"], "images": {"cam_high": picture}}


class FrameList(subscriber.Subscriber):
    """Keeps every frame of an episode and writes them at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames: list[np.ndarray] = []

    def on_episode_start(self) -> None:
        self._frames = []

    def on_step(self, observation: dict[str, Any], action: dict[str, Any]) -> None:
        self._frames.append(observation["images"]["cam_high"].transpose(1, 2, 0))

    def on_episode_end(self) -> None:
        imageio.mimwrite(self._path, [np.asarray(frame) for frame in self._frames], fps=CONTROL_HZ)


class Meter(subscriber.Subscriber):
    """Counts steps, samples memory, and takes the time when the last subscriber before it is done."""

    def __init__(self) -> None:
        self.memory_mb: list[float] = []
        self.ended_s = 0.0

    def on_episode_start(self) -> None:
        pass

    def on_step(self, observation: dict[str, Any], action: dict[str, Any]) -> None:
        self.memory_mb.append(resident_mb())

    def on_episode_end(self) -> None:
        self.ended_s = time.perf_counter()


class SwayPolicy(base_policy.BasePolicy):
    """`Sway`, clocked."""

    def __init__(self, action_horizon: int) -> None:
        self.sway = Sway(action_horizon)
        self.infer_s = 0.0

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        actions = self.sway.chunk(obs["images"]["cam_high"], obs["state"])
        self.infer_s += time.perf_counter() - began
        return {"actions": actions}

    def reset(self) -> None:
        self.sway.begin_episode()


class Still(environment.Environment, base_policy.BasePolicy):
    """An environment and a policy that do nothing."""

    def __init__(self) -> None:
        self._shown = {"state": np.zeros(ACTION_DIM)}
        self._answer = {"actions": np.zeros((CHUNK_LENGTH, ACTION_DIM))}

    def reset(self) -> None:
        pass

    def is_episode_complete(self) -> bool:
        return False

    def get_observation(self) -> dict[str, Any]:
        return self._shown

    def apply_action(self, action: dict[str, Any]) -> None:
        pass

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        return self._answer


class Worker:
    """One process's simulator and the jobs it is used for."""

    def __init__(self) -> None:
        self._simulator = AlohaSimulator()

    def about(self) -> dict[str, str]:
        """Versions that matter for comparing."""
        return {name: version(name) for name in ("openpi-client", "gym-aloha", "mujoco", "dm-control", "numpy")}

    def episode(self, seed: int, steps: int, action_horizon: int, video: str | None) -> dict[str, Any]:
        """One episode, as fast as it goes; timed from its reset until its video is written."""
        simulator, policy, meter = self._simulator, SwayPolicy(action_horizon), Meter()
        simulator.seeds, simulator.step_s = [seed], 0.0
        frames = [FrameList(Path(video))] if video else []
        agent = PolicyAgent(ActionChunkBroker(policy, action_horizon))
        # The runtime takes one step more than its limit.
        runtime = Runtime(simulator, agent, [*frames, meter], max_hz=0, max_episode_steps=steps - 1)
        began = time.perf_counter()
        runtime.run()
        wall_s = meter.ended_s - began
        taken = len(meter.memory_mb)
        return {
            "steps": taken,
            "wall_s": wall_s,
            "fingerprint": policy.sway.fingerprint,
            "pictures": policy.sway.pictures,
            "outside_step_ms": (wall_s - simulator.step_s - policy.infer_s) / taken * 1e3,
            "growth_mb_per_1000": growth_mb_per_1000(range(taken // 5, taken), meter.memory_mb[taken // 5 :]),
        }

    def overhead(self, steps: int) -> dict[str, float]:
        """The runtime around an environment and a policy that do nothing."""
        still = Still()
        runtime = Runtime(still, PolicyAgent(ActionChunkBroker(still, 1)), [], max_hz=0, max_episode_steps=steps - 1)
        began = time.perf_counter()
        runtime.run()
        return {"us_per_step": (time.perf_counter() - began) / steps * 1e6}


if __name__ == "__main__":
    worker = Worker()
    serve({"about": worker.about, "episode": worker.episode, "overhead": worker.overhead})
