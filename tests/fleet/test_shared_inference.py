"""`--inference=server`: one policy for all workers, the same episodes; and what is told of where the time went."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from taketwo.cli.fleet import read_command
from taketwo.cli.fleet_progress import DemandProgress
from taketwo.errors import ConfigError
from taketwo.fleet.demand import Demand
from taketwo.fleet.trials import TrialResult
from taketwo.types import ActionChunk, Outcome
from tests.cli.support import SCRIPT, error_of, taketwo
from tests.fleet.running import ROOT, children, done, results, wait_for
from tests.fleet.walking import Walk, WalkConfig

VARIABLES = ("CUDA_VISIBLE_DEVICES", "MUJOCO_EGL_DEVICE_ID")

RUN = ("eval", "--env.type=seen", "--policy.type=steer", "--output_dir=run", "--workers=2")


def leave_mark(folder, what):
    """Tell which process has made something, and on which GPU."""
    if folder is not None:
        values = ",".join(os.environ.get(name, "") for name in VARIABLES)
        (folder / f"{what}-{os.getpid()}").write_text(values)


def marks(folder, what):
    return [path.read_text() for path in folder.glob(f"{what}-*")]


@dataclass(frozen=True)
class SeenConfig(WalkConfig):
    """Tells where it is made, in the folder of its marks."""

    def make(self):
        leave_mark(self.marks, "env")
        return Walk(self)


@dataclass(frozen=True)
class SteerConfig:
    """Steers to the target.

    Attributes:
        speed: metres a step.
        device: nothing is computed there.
        marks: folder to tell in where it is made.
        load_s: how long that takes.
    """

    speed: float = 0.05
    device: str = "cpu"
    marks: Path | None = None
    load_s: float = 0.0

    def make(self, spec):
        if self.speed > 1:
            raise ConfigError(f"speed must be 1 or less, not {self.speed:g}")
        leave_mark(self.marks, "policy")
        time.sleep(self.load_s)
        return Steer(self.speed)


class Steer:
    cameras = ()

    def __init__(self, speed):
        self._speed = speed

    def reset(self, episode):
        pass

    def infer(self, observation):
        return self.infer_batch([observation])[0]

    def infer_batch(self, observations):
        return [ActionChunk((o.state[2:] - o.state[:2])[None].clip(-self._speed, self._speed)) for o in observations]

    def close(self):
        pass


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """What has to be on PYTHONPATH for the plug-ins to be found."""
    folder = tmp_path_factory.mktemp("plugins")
    info = folder / "seen-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: seen\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[taketwo.envs]\nseen = {__name__}:SeenConfig\n[taketwo.policies]\nsteer = {__name__}:SteerConfig\n"
    )
    return os.pathsep.join([str(folder), str(ROOT)])


def test_workers_that_share_a_policy_have_the_results_of_those_that_have_one_each(tmp_path, path):
    flags = ["--num_trials_per_task=16", "--env.marks=m", "--policy.marks=m", "--policy.device=cuda"]
    ended = {}
    for inference, step_s in (("process", 0), ("server", 0.03)):
        folder = tmp_path / inference
        (folder / "m").mkdir(parents=True)
        ended[inference] = taketwo(
            *RUN, *flags, f"--env.step_s={step_s}", f"--inference={inference}", cwd=folder,
            PYTHONPATH=path, CUDA_VISIBLE_DEVICES="4,5", MUJOCO_GL="egl",
        )  # fmt: skip
        assert ended[inference].returncode == 0, ended[inference].stderr
    alone, shared = tmp_path / "process", tmp_path / "server"
    assert results(shared / "run") == results(alone / "run")
    assert marks(alone / "m", "policy") == ["4,5,"] * 2
    assert "--inference=server gives the policy a GPU of its own" in ended["process"].stderr
    assert marks(shared / "m", "policy") == ["4,"]
    assert sorted(marks(shared / "m", "env")) == ["4,", "5,5", "5,5"]
    assert "warning" not in ended["server"].stderr
    assert (shared / "run" / "logs" / "policy-server.log").exists()
    assert "bottleneck: " not in ended["process"].stdout
    for told in (ended["server"].stdout, ended["server"].stderr):
        assert told.count("time of 2 workers in episodes: simulation ") == 1
        assert told.count("bottleneck: ") == 1


def test_a_server_that_dies_ends_the_command_and_costs_no_episode_that_has_ended(tmp_path, path):
    flags = ["--num_trials_per_task=12", "--env.step_s=0.02", "--inference=server"]
    process = subprocess.Popen(
        [SCRIPT, *RUN, *flags],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: done(tmp_path / "run"))
    (server,) = (
        pid for pid in children(process) if b"taketwo.fleet.policy_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(server, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    printed = tmp_path / "run" / "logs" / "policy-server.log"
    assert f"error: the policy server was ended by SIGKILL; what it printed is in {printed}. Nothing that" in err
    kept = done(tmp_path / "run")
    assert 1 <= len(kept) < 12


def test_ctrl_c_ends_the_command_while_the_policy_is_loaded(tmp_path, path):
    (tmp_path / "m").mkdir()
    process = subprocess.Popen(
        [SCRIPT, *RUN, "--inference=server", "--policy.load_s=600", "--policy.marks=m"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: marks(tmp_path / "m", "policy"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in err
    assert "error" not in err


def test_an_option_that_the_server_finds_wrong_is_named_in_full(tmp_path, path):
    ended = taketwo(*RUN, "--inference=server", "--policy.speed=2", cwd=tmp_path, PYTHONPATH=path)
    assert ended.returncode == 2
    assert error_of(ended) == "--policy.speed must be 1 or less, not 2"


def test_workers_on_another_machine_cannot_share_a_server_of_this_one(tmp_path, path):
    ended = taketwo(*RUN, "--inference=server", "--cluster=ray://127.0.0.1:9", cwd=tmp_path, PYTHONPATH=path)
    assert ended.returncode == 1
    assert "start taketwo serve" in error_of(ended)
    assert not (tmp_path / "run").exists()


def test_who_infers_is_not_in_the_fingerprint():
    prints = {read_command("eval", words, "").plan.fingerprint for words in ([], ["--inference=server"])}
    assert len(prints) == 1


class Ignored:
    """A watcher."""

    def __init__(self):
        self.ended_trials = []

    def begin(self, trials, results):
        pass

    def ended(self, result):
        self.ended_trials.append(result.trial)

    def again(self, trial, reason):
        pass

    def look(self, workers):
        pass


def tell(outcomes, planned, workers=2):
    """What is told after each of so many trials, which take a second each."""
    now, lines, told = [0.0], [], []
    watcher = Ignored()
    progress = DemandProgress(watcher, Demand(cores=None, now=lambda: now[0]), workers, lines.append)
    progress.begin([None] * planned, [])
    for number, outcome in enumerate(outcomes):
        now[0] += 1.0 / workers
        name = "" if outcome is Outcome.FAULT else f"worker-{number % workers}"
        spent = {"environment": 0.9, "policy": 0.1}
        progress.ended(TrialResult(number, outcome, "", 0, 9, 0.9, 1.0, worker=name, timings_s=spent))
        told.append(len(lines))
    assert watcher.ended_trials == list(range(len(outcomes)))
    return told, lines


def test_where_the_time_goes_is_told_once_when_each_worker_has_run_a_few_trials():
    told, lines = tell([Outcome.SUCCESS] * 12, planned=20)
    assert told == [0] * 7 + [2] * 5
    assert lines[0].startswith("time of 2 workers in episodes: simulation 90%, the policy 10%")
    assert lines[1].startswith("bottleneck: simulation")


def test_where_the_time_goes_is_not_told_of_faults_nor_when_nothing_is_left_to_run():
    told, _ = tell([Outcome.FAULT] * 7 + [Outcome.SUCCESS] * 7, planned=20)
    assert told == [0] * 14
    assert tell([Outcome.SUCCESS] * 8, planned=8)[0] == [0] * 8
