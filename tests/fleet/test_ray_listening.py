"""How Ray's actors are heard and set up: on a stand-in for Ray, as no test machine has room for hundreds of actors."""

import importlib.machinery
import sys
import types
from dataclasses import dataclass, field
from itertools import islice

import pytest

from taketwo.errors import RecordingError
from taketwo.fleet.executor import Lost, WorkerState
from taketwo.fleet.local import THREAD_VARIABLES, Limits
from taketwo.fleet.plan import Task, trials_of
from taketwo.fleet.ray_actor import Hello, Report
from taketwo.fleet.ray_cluster import RayConfig
from taketwo.fleet.ray_workers import SILENT_S, RayExecutor
from tests.fleet.test_local import ENV, config_for

COUNT = 200


@dataclass(eq=False)
class Said:
    """What an actor says when its turn comes."""

    answer: object
    ready: bool = True


@dataclass(eq=False)
class Handle:
    """An actor whose trial never ends. Only its environment is real."""

    posting: object
    mute: bool = False
    closed: bool = False

    def __getattr__(self, name):
        return types.SimpleNamespace(remote=lambda *given: getattr(self, f"on_{name}")(*given))

    def on_hello(self):
        from taketwo import __version__

        return Said(Hello("machine", True, __version__))

    def on_run(self, trial, wait_s):
        return self.on_look(wait_s)

    def on_look(self, wait_s):
        return Said(Report(WorkerState(self.posting.name, "running", "walk", 0, 1)), ready=not self.mute)

    def on_close(self):
        self.closed = True
        return Said(None)


@dataclass
class Ray:
    """Ray's functions, as they are documented: `wait` gives the first ones in the order of the list."""

    handles: list = field(default_factory=list)
    killed: list = field(default_factory=list)
    exceptions = types.SimpleNamespace(RayError=ZeroDivisionError)
    __spec__ = importlib.machinery.ModuleSpec("ray", None)

    def remote(self, **options):
        return lambda cls: types.SimpleNamespace(remote=self.make)

    def make(self, posting):
        self.handles.append(Handle(posting))
        return self.handles[-1]

    def wait(self, references, *, num_returns=1, timeout=None):
        ready = list(islice((reference for reference in references if reference.ready), num_returns))
        return ready, [reference for reference in references if reference not in ready]

    def get(self, reference, timeout):
        return reference.answer

    def kill(self, handle):
        self.killed.append(handle.posting.name)


class Cluster:
    name = "the cluster"
    closed = False

    def room(self):
        return COUNT

    def has(self):
        return "much"

    def close(self):
        self.closed = True


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def ray(monkeypatch):
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def begin(folder, clock, cluster=None, count=COUNT, options=None):
    """An executor whose workers all have a trial."""
    config = config_for(folder)
    executor = RayExecutor(
        cluster or Cluster(), config, count, Limits(None, 60.0), options or RayConfig(), threads=3, now=lambda: clock[0]
    )
    executor.next(0.0)
    for trial, worker in zip(trials_of([Task("walk", ENV)], [0], count), executor.workers, strict=True):
        executor.submit(trial, worker.name)
    return executor


def test_hundreds_of_workers_are_all_heard(tmp_path, ray, clock):
    executor = begin(tmp_path, clock)
    for _ in range(100):
        clock[0] += 1.0
        assert executor.next(0.0) is None
    assert ray.killed == []
    assert {worker.state for worker in executor.workers} == {"running"}


def test_a_worker_that_says_nothing_is_given_up_and_the_others_stay(tmp_path, ray, clock):
    executor = begin(tmp_path, clock)
    ray.handles[7].mute = True
    executor.next(0.0)
    for _ in range(int(SILENT_S) - 1):
        clock[0] += 1.0
        assert executor.next(0.0) is None
    clock[0] += 3.0
    lost = executor.next(0.0)
    assert isinstance(lost, Lost)
    assert "worker-7 on machine was lost: nothing heard from machine in 60 s" in lost.reason
    assert ray.killed == ["worker-7"]


def test_no_worker_is_given_up_for_the_time_in_which_nobody_listened(tmp_path, ray, clock):
    executor = begin(tmp_path, clock)
    for handle in ray.handles:
        handle.mute = True
    executor.next(0.0)
    clock[0] += 3600.0
    assert executor.next(0.0) is None
    assert ray.killed == []


def test_busy_workers_are_closed_too_and_nothing_is_left(tmp_path, ray, clock):
    (tmp_path / ".shared-of-a-command-that-was-killed").touch()
    cluster = Cluster()
    executor = begin(tmp_path, clock, cluster, 3)
    assert len(list(tmp_path.glob(".shared-*"))) == 1
    executor.close()
    assert [handle.closed for handle in ray.handles] == [True] * 3
    assert not list(tmp_path.glob(".shared-*"))
    assert cluster.closed


def test_the_cluster_is_closed_where_the_folder_cannot_be_written(tmp_path, ray, clock):
    (tmp_path / "file").touch()
    cluster = Cluster()
    with pytest.raises(RecordingError, match="cannot write"):
        begin(tmp_path / "file", clock, cluster)
    assert cluster.closed


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_workers_get_the_threads_asked_for_and_the_commands_gpu_unless_ray_gives_one(
    tmp_path, ray, clock, monkeypatch, share
):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "1")
    begin(tmp_path, clock, count=1, options=RayConfig(gpus_per_worker=share))
    given = ray.handles[0].posting.environment
    assert {given[name] for name in THREAD_VARIABLES} == {"3"}
    expected = (None, None) if share else ("1", "1")
    assert (given.get("CUDA_VISIBLE_DEVICES"), given.get("MUJOCO_EGL_DEVICE_ID")) == expected


def test_what_comes_damaged_is_told_in_a_line(tmp_path, ray, clock):
    executor = begin(tmp_path, clock, count=1)
    with pytest.raises(RecordingError, match=r"what a worker sent for .* is damaged"):
        executor._unpack(b"no archive", tmp_path / "there")
