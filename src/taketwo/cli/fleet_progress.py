"""Progress of a run over many episodes: a few lines that are kept up to date in a terminal, plain ones elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taketwo.cli.progress import LINE_EVERY_S, REFRESH_HZ
from taketwo.cli.wording import said_count, said_seconds
from taketwo.errors import one_line
from taketwo.fleet.demand import Demand
from taketwo.fleet.executor import WorkerState
from taketwo.fleet.run import Watcher
from taketwo.fleet.statistics import wilson
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.types import Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SHOWN_WORKERS = 8
"""Workers that have a line of their own in a terminal."""

DEMAND_AFTER = 4
"""After so many trials a worker it is told where the time goes; the first one of each is not counted there."""


class Standing:
    """How far a run is."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds."""
        self._now = now
        self._planned = self._before = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._began = now()

    def begin(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """What is planned, and what is there already."""
        self._planned, self._before = len(trials), len(results)
        self._outcomes = Counter(result.outcome for result in results)
        self._began = self._now()

    def ended(self, result: TrialResult) -> None:
        """Count a trial."""
        self._outcomes[result.outcome] += 1

    def line(self) -> str:
        """Such as `12/40 episodes: success 9/11 81.8 % (52.3 to 94.9 %), 1 fault; 5.1 a minute, 5 min 30 s left`."""
        parts = [self._success()]
        parts += [
            f"{self._outcomes[outcome]} {outcome}"
            for outcome in Outcome
            if self._outcomes[outcome] and not outcome.is_attempt
        ]
        done = self._outcomes.total()
        return f"{done}/{said_count(self._planned, 'episode')}: {', '.join(parts)}{self._pace(done)}"

    def _success(self) -> str:
        attempts = sum(count for outcome, count in self._outcomes.items() if outcome.is_attempt)
        if not attempts:
            return "no attempt yet"
        solved = self._outcomes[Outcome.SUCCESS]
        interval = wilson(solved, attempts)
        rate = f"{100 * solved / attempts:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f} %)"
        return f"success {solved}/{attempts} {rate}"

    def _pace(self, done: int) -> str:
        here, spent_s = done - self._before, self._now() - self._began
        if not here or spent_s <= 0:
            return ""
        left = self._planned - done
        to_go = f", {said_seconds(left * spent_s / here)} left" if left else f" in {said_seconds(spent_s)}"
        return f"; {60 * here / spent_s:.1f} a minute{to_go}"


def said_worker(worker: WorkerState) -> str:
    """What a worker is doing."""
    if worker.trial is None:
        return f"{worker.name} {worker.state}"
    step = f"step {worker.steps}" if worker.state == "running" else worker.state
    return f"{worker.name} episode {worker.trial} {step}"


def said_again(trial: Trial, reason: str) -> str:
    """That a trial came to nothing."""
    return f"episode {trial.index} ({trial.task}) is tried again: {one_line(reason)}"


def said_fault(result: TrialResult) -> str:
    """That a trial came to nothing for good."""
    tried = said_count(result.attempts, "attempt")
    return f"episode {result.trial} is a fault after {tried}: {one_line(result.reason)}"


class PlainFleetProgress:
    """Prints a line every `LINE_EVERY_S`, and one for each trial that comes to nothing."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        """Lines go to `say`; `now` gives seconds."""
        self._say, self._now = say, now
        self._standing = Standing(now)
        self._said = now()
        self._changed = False

    def begin(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Tell what is there already."""
        self._standing.begin(trials, results)
        if results:
            self._say(f"going on: {self._standing.line()}")

    def ended(self, result: TrialResult) -> None:
        """Count a trial."""
        self._standing.ended(result)
        self._changed = True
        if result.outcome is Outcome.FAULT:
            self._say(said_fault(result))

    def again(self, trial: Trial, reason: str) -> None:
        """Tell why a trial is tried again."""
        self._say(said_again(trial, reason))

    def look(self, workers: Sequence[WorkerState]) -> None:
        """Print a line now and then."""
        if self._now() - self._said >= LINE_EVERY_S:
            self._said = self._now()
            self._changed = False
            self._say(f"{self._standing.line()} | {', '.join(map(said_worker, workers))}")

    def close(self) -> None:
        """Print what has not been told."""
        if self._changed:
            self._say(self._standing.line())
        self._changed = False


class LiveFleetProgress:
    """Keeps lines up to date at the bottom of a terminal: one of all, and one of each of the first workers."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`, which log messages must use too."""
        from rich.live import Live

        self._console = console
        self._standing = Standing()
        self._workers: Sequence[WorkerState] = ()
        self._live = Live(console=console, get_renderable=self._lines, refresh_per_second=REFRESH_HZ, transient=True)

    def begin(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Begin to draw."""
        self._standing.begin(trials, results)
        self._live.start()

    def ended(self, result: TrialResult) -> None:
        """Count a trial."""
        self._standing.ended(result)
        if result.outcome is Outcome.FAULT:
            self._print(said_fault(result), "bold red")

    def again(self, trial: Trial, reason: str) -> None:
        """Tell why a trial is tried again."""
        self._print(said_again(trial, reason), "yellow")

    def look(self, workers: Sequence[WorkerState]) -> None:
        """Draw them from now on."""
        self._workers = workers

    def close(self) -> None:
        """Take the lines away. Safe to call twice."""
        self._live.stop()

    def _print(self, line: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(line, style=style))

    def _lines(self) -> Text:
        from rich.text import Text

        lines = [said_worker(worker) for worker in self._workers[:SHOWN_WORKERS]]
        if len(self._workers) > SHOWN_WORKERS:
            lines.append(f"and {said_count(len(self._workers) - SHOWN_WORKERS, 'other worker')}")
        text = Text.assemble((self._standing.line(), "bold"), *((f"\n  {line}", "dim") for line in lines))
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


class DemandProgress:
    """A watcher that besides takes note of where the time goes, and tells it once while that is of use."""

    def __init__(self, watcher: Watcher, demand: Demand, workers: int, say: Callable[[str], None]) -> None:
        """Hand everything on to `watcher`.

        Args:
            workers: how many there are.
            say: gets the lines.
        """
        self._watcher, self._demand, self._say = watcher, demand, say
        self._enough = DEMAND_AFTER * workers
        self._counted = self._left = 0
        self._said = False

    def begin(self, trials: Sequence[Trial], results: Sequence[TrialResult]) -> None:
        """Count what is left."""
        self._left = len(trials) - len(results)
        self._watcher.begin(trials, results)

    def ended(self, result: TrialResult) -> None:
        """Take note of a trial, unless it is a fault: when it ended and whose it was is not known then."""
        self._watcher.ended(result)
        self._left -= 1
        if result.outcome is Outcome.FAULT:
            return
        self._demand.ended(result)
        self._counted += 1
        if self._counted >= self._enough and self._left and not self._said:
            lines = self._demand.lines()
            self._said = bool(lines)
            for line in lines:
                self._say(line)

    def again(self, trial: Trial, reason: str) -> None:
        """Hand it on."""
        self._watcher.again(trial, reason)

    def look(self, workers: Sequence[WorkerState]) -> None:
        """Hand it on."""
        self._watcher.look(workers)
