"""Our side: the benchmark's policies as taketwo knows them, and sessions at 50 Hz against a server of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from serving_policies import CONTROL_HZ, POLICIES, Policy
from taketwo.control.config import ControlConfig
from taketwo.policies.remote import RemoteConfig
from taketwo.serving.environments import AlohaSimConfig
from taketwo.session.config import SessionConfig
from taketwo.session.events import Event, StepTaken
from taketwo.session.loop import Session
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation, StepResult

AFTER_SEAM = 8
"""Steps after a seam that count as its: blending takes five, and a third difference spans three more."""

STOOD_STILL = 1.5
"""A step that comes this many control periods after the one before, or later, is a stall."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """A policy of the benchmark.

    Attributes:
        what: which one.
        pause_ms: what its forward pass takes, where it takes any time.
    """

    what: Literal["noop", "pause", "wavering"] = "noop"
    pause_ms: float = 20.0

    def make(self, spec: EnvironmentSpec) -> Shared:
        """Build it."""
        return Shared(POLICIES[self.what](self.pause_ms / 1000))


class Shared:
    """A policy that takes several observations at once.

    A chunk tells its number as the prompt that it used: the one thing of a chunk that comes all the way to the action.
    """

    cameras: tuple[str, ...] = ()

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._numbers = itertools.count()

    def reset(self, episode: EpisodeInfo) -> None:
        pass

    def infer(self, observation: Observation) -> ActionChunk:
        return self.infer_batch([observation])[0]

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        chunks = self._policy.chunks([seen.state for seen in observations], [seen.time_s for seen in observations])
        return [ActionChunk(chunk, prompt_used=str(next(self._numbers))) for chunk in chunks]

    def close(self) -> None:
        pass


class Follower:
    """Goes where it is told to at once, and knows when it was told."""

    def __init__(self, spec: EnvironmentSpec) -> None:
        self.spec = spec
        self.told_at_s: list[float] = []

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        self.told_at_s = []
        return Observation(np.zeros(self.spec.action_dim))

    def step(self, action: FloatArray) -> StepResult:
        self.told_at_s.append(time.perf_counter())
        seen = Observation(action, time_s=len(self.told_at_s) / CONTROL_HZ)
        return StepResult(seen, 0.0, terminated=False, truncated=False)


class Executed:
    """Keeps the executed actions and the number of the chunk behind each."""

    name = "executed"
    lossless = True
    required = True

    def __init__(self) -> None:
        self.actions: list[FloatArray] = []
        self.chunks: list[str | None] = []

    def cameras(self, frame: int) -> Collection[str]:
        return ()

    def on(self, event: Event) -> None:
        if isinstance(event, StepTaken):
            self.actions.append(event.decision.sent)
            self.chunks.append(event.decision.prompt_used)


def run_session(port: int, control: ControlConfig, steps: int) -> dict[str, Any]:
    """An episode of so many steps at 50 Hz with the policy that is served there."""
    spec = AlohaSimConfig().make().spec
    environment, executed = Follower(spec), Executed()
    controller = control.make(RemoteConfig(port=port).make(spec), spec)
    try:
        session = SessionConfig(num_episodes=1, max_episode_steps=steps, max_hz=CONTROL_HZ)
        result = Session(environment, controller, session, [executed]).run()
    finally:
        controller.close()
    if result.fault is not None:
        raise result.fault
    apart_s = np.diff(environment.told_at_s)
    late = apart_s[apart_s > STOOD_STILL / CONTROL_HZ]
    return {
        "steps": len(executed.actions),
        "stalls": int(late.size),
        "stood_still_s": float((late - 1 / CONTROL_HZ).sum()),
        "overruns": result.loop.overruns,
        "counted_stalls": result.loop.stalls,
        **_jerk(np.array(executed.actions), executed.chunks),
    }


def _jerk(actions: FloatArray, chunks: Sequence[str | None]) -> dict[str, Any]:
    """RMS of the third difference in rad/s^3: of all steps, and of those about a change of the chunk."""
    third = np.diff(actions, 3, axis=0) * CONTROL_HZ**3
    seams = [step for step in range(1, len(chunks)) if chunks[step] != chunks[step - 1]]
    about = np.zeros(len(third), bool)
    for step in seams:
        about[max(step - 3, 0) : step + AFTER_SEAM - 3] = True  # differences k .. k + 3 that hold such a step
    return {
        "seams": len(seams),
        "seam_jerk": _rms(third[about]) if about.any() else None,
        "jerk": _rms(third),
    }


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
