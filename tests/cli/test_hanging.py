"""Environments that hang, or give what is no number: recordings are whole, and a line tells."""

import json
import os
import subprocess

import av
import pytest

from taketwo.datasets.reader import Dataset
from tests.cli.support import SCRIPT, error_of, taketwo

PLUGIN = '''
import ctypes
import time
from dataclasses import dataclass, replace

import numpy as np

from taketwo.testing.point import PointEnvironment


@dataclass(frozen=True)
class AilingConfig:
    """A point that ails.

    Attributes:
        ailment: how, at its fifth step.
    """

    ailment: str = "hang"

    def make(self):
        return Ailing(self.ailment)


class Ailing(PointEnvironment):
    def __init__(self, ailment):
        super().__init__()
        self.ailment = ailment

    def step(self, action):
        if self._steps == 5 and self.ailment == "hang":
            time.sleep(600)
        if self._steps == 5 and self.ailment == "hold the lock":
            ctypes.PyDLL(None).sleep(600)
        result = super().step(action)
        if self._steps == 5 and self.ailment == "nan":
            state = result.observation.state.copy()
            state[1] = np.nan
            return replace(result, observation=replace(result.observation, state=state))
        return result
'''


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "ailing_plugin.py").write_text(PLUGIN)
    info = tmp_path / "ailing_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ailing-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taketwo.envs]\nailing = ailing_plugin:AilingConfig\n")
    return str(tmp_path)


def run(folder, plugin, *words):
    return taketwo(
        "run", "--env.type=ailing", "--policy.type=noop", "--session.num_episodes=2", "--dataset.root=data",
        "--output_dir=out", *words, cwd=folder, PYTHONPATH=plugin,
    )  # fmt: skip


def session_of(folder):
    return json.loads((folder / "session.json").read_text())


def frames_in(path):
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


@pytest.mark.parametrize("num_envs", [1, 2])
def test_an_environment_that_hangs_is_given_up_with_all_recordings_whole(tmp_path, plugin, num_envs):
    done = run(tmp_path, plugin, "--session.step_timeout_s=1", f"--env.num_envs={num_envs}")
    assert done.returncode == 1
    assert "has taken more than 1 s: it hangs, and is given up" in error_of(done)
    session = session_of(tmp_path / "out")
    assert session["complete"]
    assert [(episode["outcome"], episode["steps"]) for episode in session["episodes"]] == [("fault", 5)] * num_envs
    assert frames_in(tmp_path / session["video"]["path"]) == 5
    with Dataset.open(tmp_path / "data") as dataset:
        assert [episode.entry.length for episode in dataset.episodes] == [5] * num_envs


def test_even_one_that_holds_pythons_lock_ends_and_leaves_a_video_that_plays(tmp_path, plugin):
    words = ["run", "--env.type=ailing", "--env.ailment=hold the lock", "--policy.type=noop"]
    process = subprocess.run(
        [SCRIPT, *words, "--session.step_timeout_s=0.5", "--output_dir=out"], cwd=tmp_path, timeout=60,
        env=os.environ | {"PYTHONPATH": plugin}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 1
    assert "Timeout" in process.stderr
    assert not session_of(tmp_path / "out")["complete"]
    (film,) = (tmp_path / "out").glob("*.partial.mp4")
    assert film.exists()


@pytest.mark.parametrize("num_envs", [1, 2])
def test_what_is_no_number_is_a_fault_that_names_it(tmp_path, plugin, num_envs):
    done = run(tmp_path, plugin, "--env.ailment=nan", f"--env.num_envs={num_envs}")
    assert done.returncode == 1
    assert error_of(done) == "the environment gave NaN for y"
    session = session_of(tmp_path / "out")
    assert session["complete"]
    assert {episode["outcome"] for episode in session["episodes"]} <= {"fault", "stopped"}
    with Dataset.open(tmp_path / "data") as dataset:
        assert len(dataset.episodes) == num_envs


PROCESSES = """
import os
import time
from pathlib import Path

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv


class Hangs(CartPoleEnv):
    def step(self, action):
        Path(f"{os.getpid()}.pid").touch()
        if len(list(Path().glob("*.pid"))) == 2:
            time.sleep(600)
        return super().step(action)


gymnasium.register("Hangs-v0", Hangs)
"""


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_processes_of_one_that_is_given_up_are_ended(tmp_path):
    (tmp_path / "hangs_plugin.py").write_text(PROCESSES)
    done = taketwo(
        "run", "--env.type=gym_vector", "--env.id=hangs_plugin:Hangs-v0", "--env.vectorization_mode=async",
        "--env.num_envs=2", "--env.render=false", "--policy.type=noop", "--session.step_timeout_s=1",
        "--output_dir=out", cwd=tmp_path, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 1
    assert "it hangs, and is given up" in error_of(done)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    assert not [pid for pid in pids if is_running(pid)]


def test_what_fails_after_one_was_given_up_is_told(tmp_path, plugin):
    words = ["--dataset.repo_id=me/point", "--dataset.push_to_hub=true", "--video.mode=off"]
    done = taketwo(
        "run", "--env.type=ailing", "--policy.type=noop", "--session.step_timeout_s=1", "--dataset.root=data",
        "--output_dir=out", *words, cwd=tmp_path, PYTHONPATH=plugin,
        HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_none",
    )  # fmt: skip
    assert done.returncode == 1
    hung, unsent = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "it hangs, and is given up" in hung
    assert unsent.startswith("error: The Hub cannot be reached")
