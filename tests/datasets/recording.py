"""Sessions that become datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taketwo.control.config import ControlConfig
from taketwo.datasets.sink import DatasetConfig
from taketwo.envs.aloha import AlohaConfig
from taketwo.envs.traced import Traced
from taketwo.policies.scripted import ScriptedConfig
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeStart, StepTaken
from taketwo.session.loop import Session
from taketwo.testing import PointEnvironment
from tests.recording.filming import numbered
from tests.support import run_session

CAMERAS = ("top", "angle")


class NumberedPoint(PointEnvironment):
    """A point whose pictures carry the number of the observation, through all episodes, as bars."""

    def __init__(self):
        super().__init__(96, 192)
        self._number = -1

    def render(self, camera, height, width):
        return numbered(self._number, height, width)

    def _observe(self):
        self._number += 1
        return super()._observe()


def telling(sink, stored):
    """The sink; it calls `stored` on its own thread with each episode's index and rows, when that is whole."""
    writer = sink._writer
    keep = writer.keep

    def told(*arguments):
        note = keep(*arguments)
        stored(note.index, note.length)
        return note

    writer.keep = told
    return sink


@dataclass(frozen=True)
class Recorded:
    """A dataset, and what it was made of.

    Attributes:
        truth: NumPy archive with, by episode, `0/observation.images.top` (T, H, W, 3) as rendered, `0/action`,
            `0/observation.state` (T, D), `0/task` (T,).
    """

    root: Path
    repo_id: str
    truth: Path
    fps: float
    episodes: int


class Truth:
    """A sink that keeps what went into the rows."""

    name, lossless, required = "truth", True, True

    def __init__(self, cameras=CAMERAS):
        self._cameras = cameras
        self.episodes = []

    def cameras(self, frame):
        return self._cameras

    def on(self, event):
        if isinstance(event, EpisodeStart):
            self.episodes.append([])
        if isinstance(event, StepTaken):
            self.episodes[-1].append(event)

    def save(self, path):
        arrays = {}
        for index, steps in enumerate(self.episodes):
            for camera in self._cameras:
                arrays[f"{index}/observation.images.{camera}"] = np.stack(
                    [step.observation.images[camera].pixels for step in steps]
                )
            arrays[f"{index}/action"] = np.stack([step.decision.sent for step in steps])
            arrays[f"{index}/task"] = np.array([step.observation.prompt for step in steps])
            arrays[f"{index}/observation.state"] = np.stack([step.observation.state for step in steps])
        np.savez(path, **arrays)


def record_point(
    root, *, episodes=3, environment=None, sinks=(), controller=None, resume=False, config=None, **session
):
    """Record sessions of the point; returns the sink, after the session."""
    environment = environment or PointEnvironment()
    config = config or DatasetConfig(root=root)
    sink = config.make(environment.spec, environment.spec.control_hz, resume=resume)
    result = run_session(environment, controller, [sink, *sinks], num_episodes=episodes, **session)
    assert result.fault is None, result.fault
    return sink


def record_aloha(
    root, *, episodes, steps, seed=0, repo_id="me/cube", height=240, width=320, policy=None, sinks=(), resume=False
):
    """Record the scripted policy's transfer of the cube; returns the frames' truth."""
    environment = AlohaConfig(cameras=CAMERAS, height=height, width=width).make()
    try:
        spec = environment.spec
        chosen = (policy or ScriptedConfig()).make(spec)
        controller = ControlConfig().make(chosen, spec)
        described = {"env": {"type": "aloha", "cameras": list(CAMERAS), "height": height, "width": width}}
        config = DatasetConfig(root=root, repo_id=repo_id)
        sink = config.make(spec, spec.control_hz, robot_type="aloha", resume=resume)
        truth = Truth()
        result = Session(
            Traced(environment),
            controller,
            SessionConfig(num_episodes=episodes, seed=seed, max_episode_steps=steps),
            [sink, truth, *sinks],
            described_as=described,
        ).run()
        assert result.fault is None, result.fault
    finally:
        environment.close()
    return truth
