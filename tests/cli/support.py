"""Runs the real console script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("taketwo")

QUICK = ["--env.quality=preview", "--env.width=64", "--env.height=48", "--session.max_episode_steps=12"]
"""ALOHA episodes of a second; they end by timeout, since nobody can hand a cube over in 12 steps."""


def taketwo(*words, cwd=None, **environment):
    """Run a command line to its end; it must never show a traceback."""
    if not SCRIPT.exists():
        pytest.skip("the console script is not installed")
    done = subprocess.run(
        [SCRIPT, *map(str, words)], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def error_of(done):
    """The one line of an error."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("error: ")


PLUGIN = '''
import os
from dataclasses import dataclass
import gymnasium
import numpy
from taketwo.types import ActionChunk, EnvironmentSpec, Observation, StepResult


@dataclass(frozen=True)
class StillConfig:
    """Holds still.

    Attributes:
        value: what it answers.
        log: file to write into when it is closed.
    """

    value: float = 0.0
    log: str = ""

    def make(self, spec):
        return Still(self.value, spec.action_dim, open(self.log, "w") if self.log else None)


class Still:
    cameras = ()

    def __init__(self, value, width, log):
        self.value, self.width, self.log = value, width, log

    def reset(self, episode):
        pass

    def infer(self, observation):
        return ActionChunk(numpy.full((1, self.width), self.value))

    def close(self):
        if self.log is not None:
            self.log.write("closed\\n")
            self.log.flush()


@dataclass(frozen=True)
class FragileConfig:
    """An arm of one joint that breaks.

    Attributes:
        breaks: when.
    """

    breaks: str = "step"

    def make(self):
        return Fragile(self.breaks)


class Fragile:
    spec = EnvironmentSpec(
        "fragile", ("joint",), ("rad",), numpy.full(1, -1.0), numpy.full(1, 1.0), ("joint",), 10.0
    )

    def __init__(self, breaks):
        self.breaks = breaks

    def reset(self, seed, options=None):
        self.steps = 0
        return Observation(numpy.zeros(1))

    def step(self, action):
        self.steps += 1
        if self.breaks == "step" and self.steps == 3:
            raise RuntimeError("a cable\\ncame loose")
        return StepResult(Observation(numpy.zeros(1)), 1.0, self.steps == 3, False, True)

    def close(self):
        if self.breaks == "segfault":
            os.kill(os.getpid(), 11)
        if self.breaks == "close":
            raise RuntimeError("stuck")


class Broken(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))
    render_mode = "rgb_array"

    def __init__(self, breaks, render_mode=None):
        self.breaks = breaks
        if breaks == "making":
            raise RuntimeError("no robot,\\nsays making")

    def reset(self, seed=None, options=None):
        raise RuntimeError("no robot,\\nsays reset")


class Noise(gymnasium.Env):
    metadata = {"render_fps": 50}
    observation_space = gymnasium.spaces.Box(0, 255, (96, 96, 3), numpy.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action):
        return self.look(), 0.0, False, False, {}

    def look(self):
        return self.np_random.integers(0, 255, (96, 96, 3), dtype=numpy.uint8)


gymnasium.register("Broken-v0", Broken)
gymnasium.register("Noise-v0", Noise)
'''


def install_plugin(folder):
    """Make a package with a policy and an environment; put the folder that this returns on PYTHONPATH."""
    (folder / "still_plugin.py").write_text(PLUGIN)
    info = folder / "still_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: still-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[taketwo.policies]\nstill = still_plugin:StillConfig\nbroken = still_plugin:NoSuchConfig\n"
        "[taketwo.envs]\nfragile = still_plugin:FragileConfig\n"
    )
    return str(folder)
