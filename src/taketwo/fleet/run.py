"""Runs a plan to its end: gives trials to workers, tries again what was lost, and keeps count of what came of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from taketwo.errors import TakeTwoError
from taketwo.fleet.executor import Executor, Finished, Lost, WorkerState
from taketwo.fleet.folder import RunFolder
from taketwo.fleet.ledger import Ledger
from taketwo.fleet.plan import Plan
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.fleet.waiting import Waiting
from taketwo.fleet.worker import fault_of
from taketwo.seeding import episode_seed
from taketwo.types import Outcome

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often somebody who wants to stop is noticed, at least."""

MOST_FAULTS_IN_A_ROW = 5
"""After so many trials of a task that came to nothing, each after its last attempt and without one in between that went
well, it is not the trials: a server is away, a driver or the task's model broken. The task is given up then, and its
trials are left open; other tasks go on."""

ENDED = "all trials have ended"


class NothingWorksError(TakeTwoError):
    """Trial after trial of a task ends as a fault."""


class Watcher(Protocol):
    """Is told how a run goes, on its thread."""

    def begin(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """What is planned, and what of it was there before."""
        ...

    def ended(self, result: TrialResult) -> None:
        """A trial has ended."""
        ...

    def again(self, trial: Trial, reason: str) -> None:
        """A trial came to nothing, and will be tried again."""
        ...

    def look(self, workers: Sequence[WorkerState]) -> None:
        """What the workers are doing; called several times a second."""
        ...


class FleetRun:
    """A plan in a folder, on workers.

    Attributes:
        results: by index of the trial.
        wall_s: how long the plan has been run for, over all starts.
        started_at: when it was for the first time, ISO 8601.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        ledger: Ledger,
        executor: Executor,
        watcher: Watcher,
        *,
        max_attempts: int,
        stopped: Callable[[], str | None] = lambda: None,
        enough: Callable[[Mapping[int, TrialResult]], str | None] | None = None,
    ) -> None:
        """Look what is there already, and bring the ledger in line with it.

        Args:
            max_attempts: how often a trial is begun before it counts as a fault.
            stopped: says why no more shall be run, or None; trials under way are given up then.
            enough: says, from all results, why no further trial need be begun, or None. Trials are begun in rounds
                then, one of each task.
        """
        self._plan, self._folder, self._ledger, self._executor = plan, folder, ledger, executor
        self._watcher = watcher
        self._max_attempts = max_attempts
        self._stopped, self._enough = stopped, enough
        self.results = adopt(plan, folder, ledger)
        self._waiting = Waiting(plan.trials, self.results, in_rounds=enough is not None)
        self._attempts: dict[int, int] = {}
        self._under_way: dict[int, float] = {}  # since when
        self._faults: dict[str, list[TrialResult]] = {}  # by task, those since a trial of it went well
        self._began = time.monotonic()
        self._before_s = float(ledger.fact("wall_s") or 0.0)
        self.started_at = ledger.fact("started_at") or datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        ledger.set_fact("started_at", self.started_at)

    @property
    def wall_s(self) -> float:
        """How long the plan has been run for, over all starts."""
        return self._before_s + time.monotonic() - self._began

    def run(self) -> str:
        """Run what is left; returns why it ended.

        Raises:
            NothingWorksError: a task was given up; all others have ended.
            TakeTwoError: no trial can be run, or nothing can be written.
        """
        self._watcher.begin(self._plan.trials, list(self.results.values()))
        while (reason := self._stopped()) is None:
            if self._enough is not None:
                reason = self._enough(self.results)
            if reason is None:
                self._hand_out()
            if not self._under_way and (reason is not None or not self._waiting):
                break
            came = self._executor.next(LOOK_S)
            if came is not None:
                self._take(came)
            self._watcher.look(self._executor.workers)
        else:
            self._ledger.take_back()
            return reason
        self._end_faults()
        return reason or ENDED

    def _hand_out(self) -> None:
        workers = list(self._executor.workers)
        tasks = {worker.name: worker.task for worker in workers}
        for worker in workers:
            if worker.state != "idle":
                continue
            others = [task for name, task in tasks.items() if name != worker.name]
            trial = self._waiting.take(worker.task, others)
            if trial is None:
                return
            tasks[worker.name] = trial.task
            self._attempts[trial.index] = self._attempts.get(trial.index, 0) + 1
            self._ledger.begin(trial.index, worker.name)
            self._under_way[trial.index] = time.monotonic()
            self._executor.submit(trial, worker.name)

    def _take(self, came: Finished | Lost) -> None:
        trial = came.trial
        began = self._under_way.pop(trial.index, time.monotonic())
        # A worker that died may have finished before.
        result = came.result if isinstance(came, Finished) else self._folder.episodes.load(trial.index)
        if result is None:
            assert isinstance(came, Lost)
            result = fault_of(trial, came.reason, time.monotonic() - began)
        if result.outcome is not Outcome.FAULT:
            self._settle_faults(trial.task)
            self._waiting.take_up(trial.task)
            self._keep(result)
        elif self._attempts[trial.index] < self._max_attempts:
            self._ledger.give_back(trial.index)
            self._waiting.put_back(trial)
            self._watcher.again(trial, result.reason)
        else:
            faults = self._faults.setdefault(trial.task, [])
            faults.append(result)
            if len(faults) >= MOST_FAULTS_IN_A_ROW:
                self._waiting.give_up(trial.task)

    def _end_faults(self) -> None:
        """Put the faults among the results, unless their task was given up.

        Raises:
            NothingWorksError: one was.
        """
        given_up = []
        for task, faults in list(self._faults.items()):
            if len(faults) < MOST_FAULTS_IN_A_ROW:
                self._settle_faults(task)
                continue
            given_up.append(f"{task}: {faults[-1].reason}")
            for fault in faults:
                self._ledger.reopen(fault.trial)
        if given_up:
            raise NothingWorksError(
                f"{MOST_FAULTS_IN_A_ROW} trials in a row came to nothing. {'; '.join(given_up)}. What is left of this "
                "is left open; the same command goes on"
            )

    def _settle_faults(self, task: str) -> None:
        for fault in self._faults.pop(task, ()):
            work = self._folder.work / "faults" / f"{fault.trial:06d}"
            self._keep(self._folder.episodes.commit(work, self._with_attempts(fault)))

    def _keep(self, result: TrialResult) -> None:
        result = self._with_attempts(result)
        self._ledger.finish(result)
        self._keep_time()
        self.results[result.trial] = result
        self._watcher.ended(result)

    def _with_attempts(self, result: TrialResult) -> TrialResult:
        return replace(result, attempts=max(1, self._ledger.attempts(result.trial)))

    def _keep_time(self) -> None:
        self._ledger.set_fact("wall_s", f"{self.wall_s:.3f}")


def adopt(plan: Plan, folder: RunFolder, ledger: Ledger) -> dict[int, TrialResult]:
    """The results that are there, by trial; the ledger is brought in line with them.

    Raises:
        TakeTwoError: one is damaged, or another plan's.
        RecordingError: the ledger cannot be written.
    """
    there, known = folder.episodes.done(), ledger.done()
    results: dict[int, TrialResult] = {}
    for trial in plan.trials:
        result = folder.episodes.load(trial.index) if trial.index in there else None
        if result is None:
            if trial.index in known:
                ledger.reopen(trial.index)
            continue
        _check_own(trial, result, folder)
        results[trial.index] = replace(result, attempts=max(1, ledger.attempts(trial.index)))
        if trial.index not in known:
            ledger.finish(results[trial.index])
    ledger.take_back()
    return results


def _check_own(trial: Trial, result: TrialResult, folder: RunFolder) -> None:
    if (result.trial, result.episode_seed) != (trial.index, episode_seed(trial.seed, trial.number)):
        place = folder.episodes.folder(trial.index)
        raise TakeTwoError(
            f"{place} has an episode of another plan: give another --output_dir, or remove {place}, "
            "and the trial is run again"
        )


def faults_of(plan: Plan, folder: RunFolder, ledger: Ledger) -> list[int]:
    """The trials that ended as faults."""
    return [trial for trial, result in adopt(plan, folder, ledger).items() if result.outcome is Outcome.FAULT]


def reopen_faults(plan: Plan, folder: RunFolder, ledger: Ledger) -> int:
    """Let the trials that ended as faults be run again; returns how many there were."""
    faults = faults_of(plan, folder, ledger)
    for trial in faults:
        folder.episodes.remove(trial)
        ledger.reopen(trial)
    return len(faults)
