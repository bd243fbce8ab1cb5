"""One policy server for all workers: the same episodes as with the policy in process, and it ends with the command."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest

from taketwo.errors import ConfigError, PolicyError, TakeTwoError
from taketwo.fleet.executor import MisfitError
from taketwo.fleet.inference import PolicyServerProcess, ServerLoad, StoppedError, check_reach, load_of
from taketwo.fleet.policy_server import served
from taketwo.fleet.trials import Trial
from taketwo.fleet.worker import Worker
from taketwo.testing import PointEnvironment
from taketwo.types import CameraSpec
from tests.fleet.running import ROOT, lives, wait_for
from tests.fleet.test_ray import worker_config
from tests.fleet.walking import Waver, WaverConfig


@dataclass(frozen=True)
class Picky(WaverConfig):
    def make(self, spec):
        raise ConfigError(f"speed must be for {spec.action_names}")


@dataclass(frozen=True)
class Slow(WaverConfig):
    def make(self, spec):
        time.sleep(600)


@dataclass(frozen=True)
class Jammed:
    """Something whose own mistake ends the server: it cannot be unpickled there."""

    def __reduce__(self):
        return (_jam, ())


def _jam():
    if "taketwo.fleet.policy_server" in sys.orig_argv:
        raise RuntimeError("the paper\nis jammed")
    return Jammed()


@dataclass(frozen=True)
class Looking(WaverConfig):
    def make(self, spec):
        return Looks(self.speed)


class Looks(Waver):
    """Looks at the picture too, which has to be the one that was drawn."""

    cameras = ("top",)

    def infer(self, observation):
        chunk = super().infer(observation)
        return replace(chunk, actions=chunk.actions + 1e-6 * observation.images["top"].pixels.mean())


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def start(config, tmp_path, **options):
    return PolicyServerProcess(config, config.described_as["env"], tmp_path / "server.log", workers=2, **options)


def trial(config, number):
    return Trial(number, "walk", config.described_as["env"], 0, number)


def test_workers_that_share_a_server_have_the_episodes_of_a_policy_in_process(tmp_path):
    alone = replace(worker_config(tmp_path / "alone"), policy=Looking())
    shared = replace(alone, folder=tmp_path / "shared")
    server = start(shared, tmp_path)
    try:
        assert server.failure() is None
        config = server.worker_config(shared)
        workers = [Worker(config, f"worker-{number}") for number in range(2)]
        own = Worker(alone, "worker-0")
        for number in range(4):
            expected = own.run(trial(alone, number))
            found = workers[number % 2].run(trial(shared, number))
            assert (found.steps, found.outcome, found.reward_sum) == (
                expected.steps,
                expected.outcome,
                expected.reward_sum,
            )
        load = server.load()
        assert load.answers > 20
        assert load.inference_s > 0
        for worker in (*workers, own):
            worker.close()
    finally:
        server.close()
    assert "ended with status 0" in server.failure()


def test_what_is_recorded_is_the_policy_and_not_the_way_to_it(tmp_path):
    config = worker_config(tmp_path / "run")
    server = start(config, tmp_path)
    try:
        assert server.worker_config(config).described_as == config.described_as
        assert server.policy.api_key not in repr(server.policy)
    finally:
        server.close()


def test_a_policy_that_refuses_is_told_as_a_worker_would(tmp_path):
    config = replace(worker_config(tmp_path / "run"), policy=Picky())
    with pytest.raises(MisfitError, match=r"speed must be for \('x', 'y'\)") as caught:
        start(config, tmp_path)
    assert caught.value.section == "policy"


def test_an_environment_that_refuses_is_told_as_a_worker_would(tmp_path):
    config = worker_config(tmp_path / "run", width=5000)
    with pytest.raises(MisfitError, match="width must be below 1000") as caught:
        start(config, tmp_path)
    assert caught.value.section == "env"


def test_a_server_that_is_too_slow_to_load_is_given_up(tmp_path):
    with pytest.raises(PolicyError, match=r"not ready after 0.01 s; see .*server.log"):
        start(worker_config(tmp_path / "run"), tmp_path, start_s=0.01)


def test_loading_ends_when_somebody_wants_to_stop(tmp_path):
    config = replace(worker_config(tmp_path / "run"), policy=Slow())
    asked = []

    def stopped():
        asked.append(None)
        return "stopped by the operator (Ctrl-C)" if len(asked) > 2 else None

    with pytest.raises(StoppedError, match=r"^stopped by the operator"):
        start(config, tmp_path, stopped=stopped)
    assert len(asked) == 3


def test_a_mistake_of_the_server_itself_comes_as_one_line_and_its_traceback_is_printed(tmp_path):
    config = replace(worker_config(tmp_path / "run"), policy=Jammed())
    with pytest.raises(TakeTwoError) as caught:
        start(config, tmp_path)
    assert str(caught.value) == "the policy server failed: RuntimeError: the paper is jammed"
    assert "Traceback" in (tmp_path / "server.log").read_text()


def test_pictures_of_several_sizes_are_refused():
    spec = PointEnvironment(48, 64).spec
    served(spec)
    both = replace(spec, cameras={**spec.cameras, "wrist": CameraSpec(32, 32)})
    with pytest.raises(MisfitError, match=r"the cameras differ \(top 64x48, wrist 32x32\): .* --inference=process"):
        served(both)


def test_a_server_that_died_is_told(tmp_path):
    server = start(worker_config(tmp_path / "run"), tmp_path)
    os.kill(server._process.pid, signal.SIGKILL)
    wait_for(server.failure)
    assert "was ended by SIGKILL; what it printed is in" in server.failure()
    assert server.load() is None
    server.close()


def test_it_does_not_outlive_a_command_that_is_killed(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from tests.fleet.test_inference import start, worker_config\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "server = start(worker_config(folder / 'run'), folder)\n"
        "print(server._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as command:
        try:
            pid = int(command.stdout.readline())
            assert lives(pid)
        finally:
            command.kill()
        wait_for(lambda: not lives(pid))


def test_metrics_are_read_and_others_are_refused():
    text = (
        "# HELP taketwo_queue_seconds Waiting\ntaketwo_queue_seconds_sum 1.5\ntaketwo_inference_seconds_count 4.0\n"
        'taketwo_inference_seconds_bucket{le="0.1"} 3.0\ntaketwo_inference_seconds_sum 0.25\n'
    )
    assert load_of(text) == ServerLoad(answers=4, queue_s=1.5, inference_s=0.25)
    with pytest.raises(ValueError, match="taketwo_inference_seconds_count"):
        load_of("up 1\n")


def test_workers_on_other_machines_are_told_what_to_do_instead():
    check_reach(False)
    with pytest.raises(TakeTwoError, match="start taketwo serve"):
        check_reach(True)
