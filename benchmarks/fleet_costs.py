"""Measures what `fleet_scale.py` reckons with: what episodes, bookkeeping and merging cost on this machine.

    python benchmarks/fleet_costs.py        # about four minutes; writes benchmarks/fleet_costs.json

Episodes are `taketwo collect`'s; bookkeeping is the fleet's own code with an executor that has each result at once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from taketwo.fleet.episodes import DATASET, Episodes
from taketwo.fleet.executor import Finished, Lost, WorkerState
from taketwo.fleet.folder import RunFolder
from taketwo.fleet.ledger import Ledger
from taketwo.fleet.merging import merge_episodes
from taketwo.fleet.plan import Plan, Task, trials_of
from taketwo.fleet.report import write_report
from taketwo.fleet.results import FleetResults, write_results
from taketwo.fleet.run import FleetRun, adopt
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.fleet.worker import EPISODES
from taketwo.gl import choose_backend
from taketwo.types import Outcome

COSTS = Path(__file__).with_suffix(".json")
EPISODES_RUN = 40
MERGED = (10, 40, 160, 640)
WORKERS = (2, 64, 1024)
KEPT_TRIALS = 2000
"""Trials that the bookkeeping is measured with."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what episodes, bookkeeping and merging cost.")
    parser.add_argument("--output", type=Path, default=COSTS, metavar="FILE", help="where the figures go")
    parser.add_argument("--episodes", type=int, default=EPISODES_RUN, help="episodes that are run")
    options = parser.parse_args()
    choose_backend()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = {
            "machine": _machine(),
            "episodes": _episodes(folder / "small", options.episodes, 224, 224),
            "large_picture": _episodes(folder / "large", 3, 640, 480),
            "merge_s": _merges(folder / "small" / "run" / EPISODES, folder / "merged"),
            "merge_again": _merge_again(folder / "merged"),
            "driver_s": {str(workers): _driver_s(folder / f"driver-{workers}", workers) for workers in WORKERS},
            "bookkeeping": _bookkeeping(folder / "kept"),
        }
    options.output.write_text(json.dumps(costs, indent=1) + "\n")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f} before"


def _episodes(place: Path, count: int, width: int, height: int) -> dict[str, Any]:
    """ALOHA with the scripted policy and one recorded camera, on one worker."""
    place.mkdir()
    words = [
        "collect", "--env.type=aloha", f"--env.width={width}", f"--env.height={height}", "--env.quality=preview",
        "--policy.type=scripted", f"--num_trials_per_task={count}", f"--output_dir={place / 'run'}", "--quiet",
    ]  # fmt: skip
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "taketwo", *words], check=True)
    command_s = time.perf_counter() - began
    content = json.loads((place / "run" / "results.json").read_text())
    results = [trial["result"] for trial in content["trials"]]
    run_s, in_trials_s = content["wall_s"], sum(result["wall_s"] for result in results)
    return {
        "size": [width, height],
        "command_s": command_s,
        "run_s": run_s,
        "not_in_trials_s": run_s - in_trials_s,
        "faults": sum(result["outcome"] == Outcome.FAULT for result in results),
        "steps": [result["steps"] for result in results],
        "wall_s": [result["wall_s"] for result in results],
        "sim_s": [result["sim_s"] for result in results],
        "policy_s": [result["timings_s"]["policy"] for result in results],
        "bytes": _sizes(place / "run" / EPISODES, count),
        "merged_files": sum(path.is_file() for path in (place / "run" / "dataset").rglob("*")),
    }


def _sizes(root: Path, count: int) -> dict[str, float]:
    """Bytes of an episode's folder by kind, and how many files and folders it is, in the mean."""
    kinds = {"data": "data", "videos": "videos", "traces": "traces", "meta": "meta"}
    sizes = dict.fromkeys([*kinds, "result"], 0.0)
    entries = 0
    for path in root.rglob("*"):
        entries += 1
        if path.is_file():
            inside = path.relative_to(root).parts
            kind = kinds[inside[2]] if len(inside) > 3 else "result"
            sizes[kind] += path.stat().st_size / count
    return {**sizes, "entries": entries / count}


def _merges(episodes: Path, place: Path) -> dict[str, float]:
    """Seconds that merging so many datasets takes; beyond those that were run, they are copies."""
    place.mkdir()
    there = sorted(path / DATASET for path in episodes.iterdir())
    took = {}
    for count in MERGED:
        sources = [there[i] if i < len(there) else place / f"copy-{i}" for i in range(count)]
        for i, source in enumerate(sources):
            if not source.exists():
                shutil.copytree(there[i % len(there)], source)
        merged = partial(merge_episodes, sources, place / f"merged-{count}", place / "work", str(count))
        took[str(count)] = _timed(merged)
    return took


def _merge_again(place: Path) -> dict[str, float]:
    """Seconds that merging four datasets takes that are each merged of many; they are copies of one."""
    count = MERGED[-2]
    sources = [place / f"part-{i}" for i in range(4)]
    for source in sources:
        shutil.copytree(place / f"merged-{count}", source)
    seconds = _timed(partial(merge_episodes, sources, place / "merged-again", place / "work", "again"))
    return {"episodes": 4 * count, "seconds": seconds}


def _timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


class _Instant:
    """An executor that has each result at once."""

    def __init__(self, workers: int) -> None:
        self._states = {f"worker-{i}": "idle" for i in range(workers)}
        self._given: list[tuple[Trial, str]] = []

    @property
    def workers(self) -> Sequence[WorkerState]:
        return [WorkerState(name, state, "task") for name, state in self._states.items()]  # type: ignore[arg-type]

    def submit(self, trial: Trial, worker: str) -> None:
        self._states[worker] = "running"
        self._given.append((trial, worker))

    def next(self, timeout_s: float) -> Finished | Lost | None:
        if not self._given:
            return None
        trial, worker = self._given.pop(0)
        self._states[worker] = "idle"
        return Finished(trial, _result(trial, worker))

    def close(self) -> None:
        pass


class _Nobody:
    """Is told how a run goes, and does not care."""

    def begin(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        pass

    def ended(self, result: TrialResult) -> None:
        pass

    def again(self, trial: Trial, reason: str) -> None:
        pass

    def look(self, workers: Sequence[WorkerState]) -> None:
        pass


def _plan(count: int) -> Plan:
    env = {"type": "aloha", "task": "transfer_cube", "cameras": ["top"], "width": 224, "height": 224}
    return Plan(trials_of([Task("transfer_cube", env)], [0], count), {})


def _result(trial: Trial, worker: str = "worker-0") -> TrialResult:
    return TrialResult(
        trial=trial.index,
        outcome=Outcome.SUCCESS,
        reason="solved; the environment ended it",
        episode_seed=3757552657 - trial.index,
        steps=159,
        sim_s=3.18,
        wall_s=1.768 + trial.index * 1e-6,
        reward_sum=172.0,
        reward_max=4.0,
        prompt="Transfer cube",
        worker=worker,
        timings_s={"reset": 0.0071, "policy": 0.2059, "environment": 0.1326},
        recorded=159,
    )


def _driver_s(place: Path, workers: int) -> float:
    """Seconds that the command itself spends on a trial, with so many workers."""
    count = max(KEPT_TRIALS // 4, 2 * workers)
    plan = _plan(count)
    with RunFolder(place) as folder, Ledger(folder.ledger, plan.fingerprint, plan.trials) as ledger:
        run = FleetRun(plan, folder, ledger, _Instant(workers), _Nobody(), max_attempts=3)
        return _timed(run.run) / count


def _bookkeeping(place: Path) -> dict[str, float]:
    """Bytes and seconds a trial, of what is written and read when a run ends or goes on."""
    plan = _plan(KEPT_TRIALS)
    with RunFolder(place) as folder:
        with Ledger(folder.ledger, plan.fingerprint, plan.trials) as ledger:
            episodes = Episodes(folder.root / EPISODES)
            results = {trial.index: _result(trial) for trial in plan.trials}
            for result in results.values():
                ledger.finish(result)
            commit_s = _timed(lambda: [episodes.commit(folder.work / str(i), r) for i, r in results.items()])
            adopt_s = _timed(lambda: adopt(plan, folder, ledger))
        run = FleetResults("run", plan.trials, results, plan.fingerprint, {}, "", 1.0, "")
        write_s = _timed(lambda: write_results(place / "results.json", run))
        report_s = _timed(lambda: write_report(place / "report.html", run, place / EPISODES))
        with sqlite3.connect(folder.ledger) as file:
            file.execute("vacuum")
        figures = {
            "commit_s": commit_s,
            "adopt_s": adopt_s,
            "write_results_s": write_s,
            "write_report_s": report_s,
            "ledger_bytes": folder.ledger.stat().st_size,
            "results_bytes": (place / "results.json").stat().st_size,
        }
        return {name: value / KEPT_TRIALS for name, value in figures.items()}


if __name__ == "__main__":
    main()
