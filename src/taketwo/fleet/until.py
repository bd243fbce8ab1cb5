"""Rules that end a run once it has told enough, and that hold although one looks after every episode.

Two things would spoil them, and are seen to here. Episodes that succeed end sooner than those that run into the step
limit, so what has *ended* by some moment is better than what was begun: a rule only looks at trials in the order in
which they were begun, up to the first that has not ended. And tasks differ: a rule only looks when each task has had
as many turns, so trials are begun in rounds, one of each task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taketwo.errors import ConfigError, one_of
from taketwo.fleet.results import FleetResults, ResultsError, read_results
from taketwo.fleet.statistics import CONFIDENCE, difference_sequence, difference_wealth, rate_sequence
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.types import Outcome

RULES = ("half_width", "differs")


class Rule(Protocol):
    """Decides from trials in the order in which they were begun; it is given each once."""

    def add(self, trial: Trial, result: TrialResult) -> None:
        """Count a trial."""
        ...

    def reason(self) -> str | None:
        """Why it is enough, in one sentence; None while it is not."""
        ...


@dataclass
class HalfWidth:
    """Enough when the confidence sequence of the success rate is this narrow to each side."""

    width: float
    confidence: float = CONFIDENCE
    _successes: int = 0
    _attempts: int = 0

    def add(self, trial: Trial, result: TrialResult) -> None:
        """Count a trial; one that is no attempt is left out."""
        self._successes += result.outcome is Outcome.SUCCESS
        self._attempts += result.outcome.is_attempt

    def reason(self) -> str | None:
        """The interval that is narrow enough."""
        interval = rate_sequence(self._successes, self._attempts, self.confidence)
        if interval.half_width > self.width:
            return None
        return (
            f"the success rate lies between {100 * interval.low:.1f} % and {100 * interval.high:.1f} % "
            f"after {self._attempts} attempts, within {100 * self.width:g} points to each side"
        )


@dataclass
class Differs:
    """Enough when the success rate is shown to differ from that of another run on the same trials."""

    baseline: FleetResults
    confidence: float = CONFIDENCE
    _better: int = 0
    _worse: int = 0
    _pairs: int = 0

    def __post_init__(self) -> None:
        self._others = {
            (trial.task, trial.seed, trial.number): self.baseline.results[trial.index]
            for trial in self.baseline.trials
            if trial.index in self.baseline.results
        }

    def shared(self, trials: Sequence[Trial]) -> int:
        """How many of these trials the other run has a result of."""
        return sum((trial.task, trial.seed, trial.number) in self._others for trial in trials)

    def add(self, trial: Trial, result: TrialResult) -> None:
        """Count a pair; a trial without a partner, and a pair of which one is no attempt, is left out."""
        other = self._others.get((trial.task, trial.seed, trial.number))
        if other is None or not (other.outcome.is_attempt and result.outcome.is_attempt):
            return
        before, now = other.outcome is Outcome.SUCCESS, result.outcome is Outcome.SUCCESS
        self._better += now and not before
        self._worse += before and not now
        self._pairs += 1

    def reason(self) -> str | None:
        """The interval of the difference, once 0 is outside."""
        if difference_wealth(self._better, self._worse, self._pairs) < 1 / (1 - self.confidence):
            return None
        interval = difference_sequence(self._better, self._worse, self._pairs, self.confidence)
        return (
            f"the success rate is {_points(interval.low)} to {_points(interval.high)} points "
            f"from that of {self.baseline.name} after {self._pairs} pairs"
        )


class Watch:
    """Looks at the results of a run as they come, and tells when they are enough."""

    def __init__(self, rule: Rule, trials: Sequence[Trial]) -> None:
        self._rule = rule
        self._rounds = in_rounds(trials)
        self._looked_at = 0
        self._reason: str | None = None

    def reason(self, results: Mapping[int, TrialResult]) -> str | None:
        """Why the results so far are enough, in one sentence; None while they are not.

        Args:
            results: by index of the trial; those of earlier calls must still be there.
        """
        while self._reason is None and self._looked_at < len(self._rounds):
            trials = self._rounds[self._looked_at]
            if any(trial.index not in results for trial in trials):
                break
            for trial in trials:
                self._rule.add(trial, results[trial.index])
            self._looked_at += 1
            self._reason = self._rule.reason()
        return self._reason


def in_rounds(trials: Sequence[Trial]) -> list[list[Trial]]:
    """A plan in rounds: the first trial of each task, the second of each, and so on. They are begun in this order."""
    rounds: list[list[Trial]] = []
    turns: dict[str, int] = {}
    for trial in trials:
        turn = turns.get(trial.task, 0)
        turns[trial.task] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(trial)
    return rounds


def parse_until(text: str, trials: Sequence[Trial], confidence: float = CONFIDENCE) -> Rule:
    """The rule that `--until` names: `half_width:0.05`, or `differs:DIR` with the folder of another run.

    Raises:
        ConfigError: there is no such rule, its value is of no use, or the other run shares no trial with the plan.
    """
    name, colon, value = text.partition(":")
    if name not in RULES or not colon:
        known = "give half_width:W, such as half_width:0.05, or differs:DIR, the folder of another run"
        raise ConfigError(
            f"until must be a rule and its value, not {text!r}; {known}"
            if name in RULES
            else f"until: {one_of('rule', name, RULES)} It is followed by its value: {known}"
        )
    if name == "half_width":
        return HalfWidth(_width(value), confidence)
    try:
        rule = Differs(read_results(Path(value).expanduser()), confidence)
    except ResultsError as error:
        raise ConfigError(f"until: {error}") from error
    if not rule.shared(trials):
        raise ConfigError(
            f"until: {value} has run none of this plan's trials, so there is nothing to compare with: "
            "tasks, seeds and numbers of episodes have to be the same"
        )
    return rule


def _width(text: str) -> float:
    try:
        width = float(text)
    except ValueError:
        width = math.nan
    if not 0 < width < 0.5:
        raise ConfigError(f"until: half_width must be a number between 0 and 0.5, such as 0.05, not {text!r}")
    return width


def _points(rate: float) -> str:
    return f"{100 * rate:+.1f}"
