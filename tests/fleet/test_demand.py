"""Where the bottleneck is, from made-up and from real times, and who gets which GPU."""

from dataclasses import dataclass, replace

import pytest

from taketwo.fleet.demand import Cores, Demand, Measured, bottleneck
from taketwo.fleet.gpus import infers_on_gpu, place, visible_gpus
from taketwo.fleet.inference import ServerLoad
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.fleet.worker import Worker
from taketwo.policies.noop import NoopConfig
from taketwo.types import Outcome
from tests.fleet.test_ray import worker_config

EVEN = Measured(
    workers=2,
    trials=20,
    span_s=100.0,
    spent_s={"policy": 20.0, "environment": 50.0, "reset": 5.0, "rest": 23.0},
    cores_busy=0.5,
    cores=4,
)


def result(worker, wall_s, **timings_s):
    return TrialResult(0, Outcome.SUCCESS, "", 0, 10, 1.0, wall_s, worker=worker, timings_s=timings_s)


def spent(**seconds):
    return replace(EVEN, spent_s={"policy": 0.0, "environment": 0.0, "reset": 0.0, "rest": 0.0, **seconds})


def test_the_first_line_tells_the_shares_largest_first():
    first, _ = bottleneck(EVEN)
    assert first == (
        "time of 2 workers in episodes: simulation 51%, pictures for recordings, and the rest 23%, the policy 20%, "
        "resets 5%; cores 50% busy"
    )


@pytest.mark.parametrize(
    ("measured", "advice"),
    [
        (EVEN, "bottleneck: simulation: .*; so do more workers, as 2 leave 50% of 4 cores free"),
        (replace(EVEN, cores_busy=0.97, cores=2), "bottleneck: the cores, most of all for simulation"),
        (replace(EVEN, cores_busy=0.97, cores=1), "the cores; 2 workers share 1: --workers=1 gives the same rate"),
        (replace(EVEN, span_s=200.0), "bottleneck: none in the episodes; workers wait between them"),
        (spent(policy=90.0), "bottleneck: the policy: each worker has its own; on a GPU --inference=server"),
        (spent(reset=90.0), "bottleneck: resets: longer episodes"),
        (spent(rest=90.0), "bottleneck: pictures for recordings, and the rest: fewer or smaller cameras"),
        (
            replace(spent(policy=90.0), shared=True, server=ServerLoad(100, 8.0, 4.0)),
            "bottleneck: the policy server; a request waits 80 ms for its turn and takes 40 ms: more workers give noth",
        ),
        (
            replace(spent(policy=90.0), shared=True, server=ServerLoad(100, 1.0, 4.0)),
            "bottleneck: the policy: a smaller policy",
        ),
    ],
)
def test_the_second_line_tells_what_to_do(measured, advice):
    import re

    assert re.search(advice, bottleneck(measured)[1]), bottleneck(measured)[1]


def test_nothing_is_said_of_too_little():
    assert bottleneck(replace(EVEN, trials=2)) == []
    assert bottleneck(spent(policy=1.0)) == []


def test_a_workers_first_trial_is_not_counted_and_its_waits_are():
    clock = iter([10.0, 12.0, 17.0, 20.0])
    demand = Demand(cores=None, now=lambda: next(clock))
    demand.ended(result("a", 9.0, policy=9.0))
    demand.ended(result("b", 9.0, policy=9.0))
    demand.ended(result("a", 4.0, policy=1.0, environment=2.0, reset=0.5))
    demand.ended(result("b", 8.0, policy=1.0, environment=6.0))
    measured = demand.measured()
    assert (measured.workers, measured.trials, measured.span_s) == (2, 2, 7.0 + 8.0)
    assert measured.spent_s == {"policy": 2.0, "environment": 8.0, "reset": 0.5, "rest": 1.5}
    assert measured.cores_busy is None


def test_what_the_server_did_before_is_not_counted():
    loads = iter([ServerLoad(10, 5.0, 5.0), ServerLoad(30, 6.0, 7.0)])
    demand = Demand(cores=None, load=lambda: next(loads))
    demand.ended(result("a", 1.0))
    assert demand.measured().server == ServerLoad(20, 1.0, 2.0)


def test_a_slow_simulator_is_found_out_on_real_trials(tmp_path):
    config = worker_config(tmp_path / "run", step_s=0.02)
    worker = Worker(config, "worker-0")
    demand = Demand(cores=Cores())
    for number in range(16):
        demand.ended(worker.run(Trial(number, "walk", config.described_as["env"], 0, number)))
    worker.close()
    measured = demand.measured()
    assert measured.trials == 15
    assert measured.busy_s <= measured.span_s
    steps = [name for name in measured.spent_s if measured.spent_s[name] == max(measured.spent_s.values())]
    assert steps == ["environment"]
    assert 0 < measured.cores_busy <= 1


def test_cores_are_read_as_linux_counts_them(tmp_path):
    path = tmp_path / "stat"
    path.write_text("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 1 1 1\n")
    cores = Cores(path)
    assert cores.busy() is None
    path.write_text("cpu  40 0 20 100 30 0 0 10 99 0\n")
    assert cores.busy() == pytest.approx(0.5)
    path.unlink()
    assert cores.busy() is None


@dataclass(frozen=True)
class OnDevice(NoopConfig):
    device: str | None = None


@pytest.fixture
def no_variables(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)


def test_a_policy_on_the_processor_needs_no_place(no_variables):
    assert not infers_on_gpu(NoopConfig())
    assert not infers_on_gpu(OnDevice("cpu"))
    assert place(NoopConfig(), shared=False, gpus=["0"]).warning is None
    assert place(OnDevice("cuda"), shared=False, gpus=[]).warning is None


def test_one_gpu_for_both_is_warned_of(no_variables, monkeypatch):
    assert "MUJOCO_GL=osmesa" in place(OnDevice("cuda"), shared=True, gpus=["0"]).warning
    assert "--inference=server" in place(OnDevice(), shared=False, gpus=["0", "1"]).warning
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert place(OnDevice("cuda"), shared=True, gpus=["0"]).warning is None


def test_a_server_gets_a_gpu_of_its_own_where_there_are_two(no_variables):
    found = place(OnDevice("cuda"), shared=True, gpus=["2", "3", "5"])
    assert found.server == {"CUDA_VISIBLE_DEVICES": "2"}
    assert found.workers == {"CUDA_VISIBLE_DEVICES": "3,5", "MUJOCO_EGL_DEVICE_ID": "3"}
    assert found.warning is None


def test_gpus_are_those_of_the_driver_or_of_the_variable(no_variables, monkeypatch, tmp_path):
    assert visible_gpus(tmp_path / "none") == []
    for bus in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / bus).mkdir()
    assert visible_gpus(tmp_path) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible_gpus(tmp_path) == ["1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus(tmp_path) == []
