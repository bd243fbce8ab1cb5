"""Workers on real Ray clusters on this machine: the same episodes as without Ray, each of them once, whatever dies."""

import os
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from taketwo.control.config import ControlConfig
from taketwo.datasets.reader import Dataset
from taketwo.datasets.sink import DatasetConfig
from taketwo.errors import ConfigError, MissingExtraError, TakeTwoError
from taketwo.fleet import ray_workers
from taketwo.fleet.episodes import DATASET
from taketwo.fleet.executor import MisfitError
from taketwo.fleet.folder import RunFolder
from taketwo.fleet.ledger import Ledger
from taketwo.fleet.local import Limits, LocalExecutor
from taketwo.fleet.plan import Plan, Task, trials_of
from taketwo.fleet.ray_cluster import QUIET, RayCluster, RayConfig, address_of, told_of
from taketwo.fleet.ray_workers import RayExecutor
from taketwo.fleet.run import ENDED, FleetRun
from taketwo.fleet.worker import WorkerConfig
from taketwo.recording.video import VideoConfig
from taketwo.session.config import SessionConfig
from taketwo.types import Outcome
from tests.fleet.running import ROOT, SAME, done, lives, wait_for
from tests.fleet.walking import WalkConfig, WaverConfig

os.environ.update(QUIET)  # before Ray is imported, as the command does
pytest.importorskip("ray")

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(300)]


class Notes:
    """What a run tells."""

    def __init__(self):
        self.lost = []

    def begin(self, trials, results):
        pass

    def ended(self, result):
        pass

    def again(self, trial, reason):
        self.lost.append((trial.index, reason))

    def look(self, workers):
        pass


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="module")
def head():
    """A cluster of one machine with a core, which tests add machines to."""
    from ray.cluster_utils import Cluster

    handler = signal.getsignal(signal.SIGTERM)
    options = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    yield cluster
    cluster.shutdown()
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What comes of 24 trials on a worker without Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        folder = tmp_path_factory.mktemp("undisturbed")
        config = worker_config(folder)
        executor = LocalExecutor(config, 1, Limits(None, 60.0), threads=1, logs=folder / "logs")
        _, run = run_on(executor, config, 24)
    return told(run), episodes_of(folder)


def worker_config(folder, **env):
    walk = WalkConfig(**env)
    return WorkerConfig(
        folder=folder,
        env_type="walk",
        env=walk,
        policy=WaverConfig(),
        session=SessionConfig(num_episodes=1),
        control=ControlConfig(),
        video=VideoConfig(mode="off"),
        dataset=DatasetConfig(),
        prompt=None,
        described_as={"env": {"type": "walk", **asdict(walk)}, "session": {}},
    )


def run_on(executor, config, trials):
    """Run trials to their end; gives what was lost on the way, and the run."""
    env = config.described_as["env"]
    plan = Plan(trials_of([Task("walk", env)], [0], trials), {})
    notes = Notes()
    try:
        with RunFolder(config.folder) as folder:
            ledger = Ledger(folder.ledger, plan.fingerprint, plan.trials)
            run = FleetRun(plan, folder, ledger, executor, notes, max_attempts=3)
            assert run.run() == ENDED
    finally:
        executor.close()
    return notes.lost, run


def on_ray(config, count, options=None, cluster="ray", silence_s=60.0):
    options = options or RayConfig()
    connection = RayCluster(cluster, options, room_for=count)
    try:
        return RayExecutor(connection, config, count, Limits(None, silence_s), options, threads=1)
    except BaseException:
        connection.close()
        raise


def idle(executor):
    """How many workers are up and have nothing to do."""
    assert executor.next(0.05) is None
    return [worker.state for worker in executor.workers].count("idle")


def told(run):
    return [{name: getattr(result, name) for name in SAME} for _, result in sorted(run.results.items())]


def episodes_of(folder):
    """States and actions of each trial as bytes, in the order of the plan."""
    found = []
    for root in sorted(folder.glob(f"episodes/*/{DATASET}")):
        with Dataset.open(root) as dataset:
            rows = dataset.rows(0, ["observation.state", "action"])
            found.append((root.parent.name, dataset.episodes[0].note.seed, *(c.tobytes() for c in rows.values())))
    return found


def children_of(pid):
    """Processes that a process or a thread of it has begun."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            found.append(int(path.parent.name))
    return found


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


def actors_of(node):
    """The actors of a machine that have a worker's process, with that."""
    pairs = {actor: children_of(actor) for actor in children_of(raylet_of(node))}
    return {actor: own[0] for actor, own in pairs.items() if own}


def test_a_cluster_on_this_machine_runs_what_processes_run_bit_for_bit_and_is_silent(tmp_path, capfd, undisturbed):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    marks = tmp_path / "marks"
    marks.mkdir()
    config = worker_config(tmp_path / "run", crash=(3,), marks=marks)
    executor = on_ray(config, 2)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    wait_for(lambda: idle(executor) == 2)
    lost, run = run_on(executor, config, 24)
    assert told(run) == undisturbed[0]
    assert episodes_of(tmp_path / "run") == undisturbed[1]
    assert {result.worker for result in run.results.values()} == {"worker-0", "worker-1"}
    ((trial, reason),) = lost
    assert trial == 3
    assert "was ended by SIGSEGV" in reason
    assert run.results[3].attempts == 2
    assert capfd.readouterr() == ("", "")
    assert not list((tmp_path / "run").glob(".shared-*"))


def test_whatever_is_killed_each_trial_is_there_once(tmp_path, monkeypatch, head, undisturbed):
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    node = head.add_node(num_cpus=1, object_store_memory=100_000_000)
    folder = tmp_path / "run"
    config = worker_config(folder, step_s=0.05)
    executor = on_ray(config, 2)
    wait_for(lambda: idle(executor) == 2)
    seen = {}

    def look():
        now = done(folder)
        assert all(now[trial] == stamp for trial, stamp in seen.items())
        seen.update(now)
        return len(seen)

    def disturb():
        wait_for(lambda: look() >= 2)
        os.kill(next(iter(wait_for(lambda: actors_of(node)).values())), signal.SIGKILL)
        wait_for(lambda: look() >= 4)
        os.kill(next(iter(wait_for(lambda: actors_of(node)))), signal.SIGKILL)
        wait_for(lambda: look() >= 6 and actors_of(node))
        machine = [raylet_of(node), *children_of(raylet_of(node))]
        killed.extend(machine)
        for pid in machine:
            os.kill(pid, signal.SIGKILL)

    killed = []
    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    lost, run = run_on(executor, config, 24)
    disturbing.join()
    look()
    head.remove_node(node)
    assert killed
    assert wait_for(lambda: not any(map(lives, killed)))
    assert len(lost) >= 2
    assert all(result.outcome is not Outcome.FAULT for result in run.results.values())
    assert told(run) == undisturbed[0]
    assert episodes_of(folder) == undisturbed[1]


def test_trials_of_machines_without_the_folder_come_back_whole_and_what_their_workers_printed(
    tmp_path, monkeypatch, head, undisturbed
):
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    # The machines of this cluster are one, so the file that workers look for is not left.
    monkeypatch.setattr(ray_workers, "_leave_token", lambda folder: folder / "not there")
    marks, folder = tmp_path / "marks", tmp_path / "run"
    marks.mkdir()
    config = worker_config(folder, crash=(5,), marks=marks)
    lost, run = run_on(on_ray(config, 1), config, 24)
    assert told(run) == undisturbed[0]
    assert episodes_of(folder) == undisturbed[1]
    ((trial, reason),) = lost
    assert trial == 5
    assert f"what it printed is in {folder / 'logs' / 'worker-0.log'}" in reason
    assert (folder / "logs" / "worker-0.log").exists()


def test_a_worker_that_is_stopped_in_a_trial_leaves_nothing_on_its_machine(tmp_path, monkeypatch, head):
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    monkeypatch.setattr(ray_workers, "_leave_token", lambda folder: folder / "not there")
    config = worker_config(tmp_path / "run", hang=(0,))
    before = set(Path(tempfile.gettempdir()).glob("taketwo-ray-*"))
    executor = on_ray(config, 1)
    wait_for(lambda: idle(executor) == 1)
    executor.submit(trials_of([Task("walk", config.described_as["env"])], [0], 1)[0], "worker-0")
    wait_for(lambda: executor.next(0.1) or executor.workers[0].steps)
    assert set(Path(tempfile.gettempdir()).glob("taketwo-ray-*")) - before
    executor.close()
    assert not set(Path(tempfile.gettempdir()).glob("taketwo-ray-*")) - before


def test_a_machine_that_comes_later_gets_a_worker(tmp_path, monkeypatch, head):
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    executor = on_ray(worker_config(tmp_path / "run"), 2)

    wait_for(lambda: idle(executor) == 1)
    wait_for(lambda: not executor._cluster.spread)  # a machine that an earlier test killed is missed after a while
    node = head.add_node(num_cpus=1, object_store_memory=100_000_000)
    wait_for(lambda: idle(executor) == 2)
    assert executor._cluster.spread
    executor.close()
    head.remove_node(node)


def test_a_cluster_without_room_is_told_after_the_time(tmp_path, monkeypatch, head, caplog):
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    config = worker_config(tmp_path / "run")
    executor = on_ray(config, 1, RayConfig(gpus_per_worker=0.5, start_timeout_s=1.0))
    with pytest.raises(TakeTwoError, match=r"no room for a worker in 1 s: each needs 1 core and 0.5 GPUs free"):
        run_on(executor, config, 2)
    assert "room for 0 of 1 workers (1 machine with 1 core and 0 GPUs)" in caplog.text


def test_an_option_that_does_not_fit_is_told_as_without_ray(tmp_path, monkeypatch, head):
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    config = worker_config(tmp_path / "run", width=5000)
    executor = on_ray(config, 1)
    with pytest.raises(MisfitError, match="width must be below 1000") as caught:
        run_on(executor, config, 2)
    assert caught.value.section == "env"


def test_a_simulator_that_hangs_costs_its_trial(tmp_path, monkeypatch, head):
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    marks = tmp_path / "marks"
    marks.mkdir()
    config = worker_config(tmp_path / "run", hang=(1,), marks=marks)
    lost, run = run_on(on_ray(config, 1, silence_s=3.0), config, 3)
    ((trial, reason),) = lost
    assert trial == 1
    assert "no step in 3 s" in reason
    assert run.results[1].attempts == 2


def test_an_address_where_nobody_is_is_told_in_a_line():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(TakeTwoError, match=f"the Ray cluster at {address} cannot be reached: connection refused"):
            RayCluster(address, RayConfig(), room_for=1)


@pytest.mark.parametrize("wrong", ["slurm", "ray://", "ray://head:x", "ray://head:70000", "ray://a b", "head:6379", ""])
def test_an_address_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"cluster must be ray, or an address such as ray://head:10001"):
        address_of(wrong)


def test_addresses_are_the_given_one_or_the_environments(monkeypatch):
    assert address_of("ray").place is None
    assert address_of("ray://head").given == "ray://head:10001"
    assert address_of("ray://[::1]:7").place == ("::1", 7)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert address_of("ray").given == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    with pytest.raises(ConfigError, match="RAY_ADDRESS 'somewhere' is no address"):
        address_of("ray")


def test_ray_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed: pip install 'taketwo\[ray\]'"):
        RayCluster("ray", RayConfig(), room_for=1)


def test_versions_that_differ_are_named():
    error = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.11.7\n"
        "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    )
    message = told_of("the Ray cluster at ray://head:10001", error)
    assert message == (
        "the Ray cluster at ray://head:10001 does not go with the Ray here: Ray 2.9.0 there and 2.60.0 here; install "
        "the same Ray and Python on both"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"cpus_per_worker": 0.0}, "cpus_per_worker must be more than 0"),
        ({"gpus_per_worker": 1.5}, "gpus_per_worker must be from 0 to 1, or a whole number"),
        ({"start_timeout_s": 0.0}, "start_timeout_s must be"),
    ],
)
def test_resources_that_cannot_be_are_refused(option, message):
    with pytest.raises(ConfigError, match=message):
        RayConfig(**option)


def test_a_runtime_environment_that_is_no_map_is_refused(tmp_path):
    (tmp_path / "env.yaml").write_text("- pip\n")
    with pytest.raises(ConfigError, match=r"runtime_env .* must hold a map"):
        RayCluster("ray", RayConfig(runtime_env=tmp_path / "env.yaml"), room_for=1)
