"""Workers as processes of this machine: found hanging, replaced, kept from fighting over cores."""

import os
from pathlib import Path

import pytest

from taketwo.control.config import ControlConfig
from taketwo.errors import MissingExtraError, RecordingError
from taketwo.fleet.executor import Finished, Lost, MisfitError
from taketwo.fleet.folder import RunFolder
from taketwo.fleet.local import Limits, LocalExecutor
from taketwo.fleet.plan import Task, trials_of
from taketwo.fleet.worker import Worker, WorkerConfig
from taketwo.recording.video import VideoConfig
from taketwo.session.config import SessionConfig
from taketwo.types import Outcome
from tests.fleet.running import ROOT, lives, wait_for
from tests.fleet.walking import WalkConfig, WaverConfig

ENV = {"type": "walk", "crash": [], "hang": [], "fail": [], "marks": None, "step_s": 0.0, "width": 64}
TRIALS = trials_of([Task("walk", ENV)], [0], 4)


def config_for(folder, env=None, **options):
    return WorkerConfig(
        folder=folder, env_type="walk", env=env or WalkConfig(), policy=WaverConfig(),
        session=SessionConfig(num_episodes=1), control=ControlConfig(), video=VideoConfig(mode="off"), dataset=None,
        prompt=None, described_as={"env": ENV}, **options,
    )  # fmt: skip


def test_a_worker_whose_command_was_replaced_makes_nothing_done(tmp_path):
    with RunFolder(tmp_path) as folder:  # as the next command does
        worker = Worker(config_for(tmp_path), "worker-0", stepped=lambda steps: folder.clear_work())
        with pytest.raises(RecordingError, match="cannot write"):
            worker.run(TRIALS[0])
        assert folder.episodes.done() == set()


def test_workers_of_the_same_name_in_two_commands_have_folders_of_their_own(tmp_path):
    seen = []
    for trial in TRIALS[:2]:
        worker = Worker(
            config_for(tmp_path),
            "worker-0",
            stepped=lambda steps: seen.extend((tmp_path / "work").glob("*/worker-0/*")),
        )
        worker.run(trial)
        worker.close()
    assert len({folder.parent.parent for folder in seen}) == 2


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def started(tmp_path, monkeypatch, clock):
    """Makes executors, and ends them."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = []

    def start(env=None, limits=None, count=1, threads=1):
        limits = limits or Limits(None, 1e6)
        made.append(
            LocalExecutor(
                config_for(tmp_path, env), count, limits, threads=threads, logs=tmp_path / "logs", now=lambda: clock[0]
            )
        )
        return made[-1]

    yield start
    for executor in made:
        executor.close()


def next_of(executor):
    return wait_for(lambda: executor.next(0.1))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(100.0, 1e6), "worker-0 was given up: the trial has taken more than 100 s"),
        (Limits(None, 100.0), "worker-0 was given up: no step in 100 s, so it hangs"),
    ],
)
def test_a_worker_that_hangs_is_replaced(started, clock, limits, reason):
    executor = started(WalkConfig(hang=(0,)), limits)
    executor.submit(TRIALS[0], "worker-0")
    wait_for(lambda: executor.next(0.1) or executor.workers[0].steps)
    (state,) = executor.workers
    assert (state.state, state.trial, state.task) == ("running", 0, "walk")
    clock[0] = 101.0
    assert next_of(executor) == Lost(TRIALS[0], reason)
    assert executor.workers[0].state == "idle"
    executor.submit(TRIALS[1], "worker-0")
    assert next_of(executor).result.outcome is Outcome.SUCCESS


def test_workers_use_as_many_threads_as_the_option_says_whatever_is_in_the_environment(started, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    executor = started(WalkConfig(hang=(0,)), threads=3)
    executor.submit(TRIALS[0], "worker-0")
    (worker,) = wait_for(lambda: [int(path.name) for path in Path("/proc").glob("[0-9]*") if is_worker(path)])
    there = Path(f"/proc/{worker}/environ").read_text().split("\0")
    assert {"OMP_NUM_THREADS=3", "OPENBLAS_NUM_THREADS=3", "MKL_NUM_THREADS=3"} <= set(there)
    executor.close()
    assert not lives(worker)


def is_worker(process):
    try:
        words = (process / "cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "taketwo.fleet.process" in words and words[-2] == str(os.getpid())


def test_an_idle_worker_keeps_its_process_and_a_crash_is_told_with_its_signal(started, tmp_path):
    executor = started(WalkConfig(crash=(2,)))
    for trial in TRIALS[:2]:
        executor.submit(trial, "worker-0")
        assert isinstance(next_of(executor), Finished)
    executor.submit(TRIALS[2], "worker-0")
    lost = next_of(executor)
    assert lost.reason == f"worker-0 was ended by SIGSEGV; what it printed is in {tmp_path / 'logs' / 'worker-0.log'}"
    assert executor.workers[0].done == 2


def test_an_option_that_does_not_fit_comes_back_with_its_place(started):
    executor = started(WalkConfig(width=1000))
    executor.submit(TRIALS[0], "worker-0")
    with pytest.raises(MisfitError, match="width must be below 1000") as caught:
        next_of(executor)
    assert caught.value.section == "env"


def test_a_worker_makes_things_once_for_a_task_and_anew_after_a_fault(tmp_path, monkeypatch):
    made = []
    make = WalkConfig.make
    monkeypatch.setattr(WalkConfig, "make", lambda config: made.append(config.width) or make(config))
    worker = Worker(config_for(tmp_path, WalkConfig(fail=(1,))), "w")
    wide = trials_of([Task("wide", {**ENV, "width": 80})], [0], 4)
    outcomes = [worker.run(trial).outcome for trial in (TRIALS[0], TRIALS[2], TRIALS[1], TRIALS[3])]
    assert outcomes == ["success", "success", "fault", "success"]
    assert made == [64, 64]
    assert worker.run(TRIALS[0]).outcome is Outcome.SUCCESS  # it was done before: what came of it then
    worker.run(wide[0])
    assert made == [64, 64, 80]
    worker.close()
    assert not list((tmp_path / "work").glob("*/*/*"))


def test_a_library_that_is_missing_and_a_disk_that_is_full_end_the_run_and_not_the_trial(tmp_path, monkeypatch):
    def lacks(config):
        raise MissingExtraError("walking", "walk")

    monkeypatch.setattr(WalkConfig, "make", lacks)
    with pytest.raises(MissingExtraError):
        Worker(config_for(tmp_path), "w").run(TRIALS[0])
    monkeypatch.undo()
    (tmp_path / "episodes").write_text("no folder")
    with pytest.raises(RecordingError, match="cannot write"):
        Worker(config_for(tmp_path), "w").run(TRIALS[0])
