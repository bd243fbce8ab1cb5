"""What a run over many episodes comes to, in all and per task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from taketwo.fleet.statistics import CONFIDENCE, Interval, rate_sequence, wilson
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.types import Outcome

OTHER = "other"
"""What a trial took beyond the times that its parts were measured to take."""


@dataclass(frozen=True)
class TaskSummary:
    """What the trials of a task, or of all tasks, come to.

    Attributes:
        task: its name; None for all.
        planned: trials of the plan.
        ended: those that have a result.
        successes: trials that were solved.
        attempts: trials that count: those that ended in success, failure or timeout.
        interval: of the success rate.
        outcomes: how many trials ended so, in the order of `Outcome`.
        reasons: how many trials ended so, and for this reason, most frequent first; successes are not among them.
        faults: trials whose last attempt was a fault too.
        tried_again: trials that were begun more than once, whatever came of them.
        mean_steps: actions per attempt; None without attempts.
        mean_sim_s: seconds of the environment's own time per attempt; None without attempts.
        wall_s: seconds that the trials took, added up.
        timings_s: where those went, largest first, with what was not measured under `other`.
    """

    task: str | None
    planned: int
    ended: int
    successes: int
    attempts: int
    interval: Interval
    outcomes: Mapping[Outcome, int]
    reasons: Mapping[tuple[Outcome, str], int]
    faults: int
    tried_again: int
    mean_steps: float | None
    mean_sim_s: float | None
    wall_s: float
    timings_s: Mapping[str, float]

    @property
    def rate(self) -> float | None:
        """Success rate, from 0 to 1; None without attempts."""
        return self.successes / self.attempts if self.attempts else None

    @property
    def not_attempts(self) -> Mapping[Outcome, int]:
        """Outcomes that are reported beside the success rate, and not in it."""
        return {outcome: count for outcome, count in self.outcomes.items() if not outcome.is_attempt}


@dataclass(frozen=True)
class Summary:
    """What a run comes to.

    Attributes:
        tasks: in the order in which they come in the plan.
        confidence: of the intervals.
        sequential: whether they are confidence sequences, which also hold where the results decided when to stop.
    """

    total: TaskSummary
    tasks: Sequence[TaskSummary]
    confidence: float
    sequential: bool


def summarize(
    trials: Sequence[Trial],
    results: Mapping[int, TrialResult],
    confidence: float = CONFIDENCE,
    sequential: bool = False,
) -> Summary:
    """Count what came of a plan.

    Args:
        results: by index of the trial.
        sequential: whether it was decided while looking at results how many episodes there are.
    """
    tasks: dict[str, list[Trial]] = {}
    for trial in trials:
        tasks.setdefault(trial.task, []).append(trial)
    return Summary(
        _summary(None, trials, results, confidence, sequential),
        [_summary(task, own, results, confidence, sequential) for task, own in tasks.items()],
        confidence,
        sequential,
    )


def as_plain(summary: Summary) -> dict[str, Any]:
    """The summary as JSON has it.

    `interval_method` is `wilson` or `confidence_sequence`; `total` and each of `tasks` hold the attributes of
    `TaskSummary`, with `rate`, `interval` as [low, high], and `reasons` as a list.
    """
    return {
        "confidence": summary.confidence,
        "interval_method": "confidence_sequence" if summary.sequential else "wilson",
        "total": _plain(summary.total),
        "tasks": [_plain(task) for task in summary.tasks],
    }


def _summary(
    task: str | None,
    trials: Sequence[Trial],
    results: Mapping[int, TrialResult],
    confidence: float,
    sequential: bool,
) -> TaskSummary:
    own = [results[trial.index] for trial in trials if trial.index in results]
    attempts = [result for result in own if result.outcome.is_attempt]
    counts = Counter(result.outcome for result in own)
    reasons = Counter((result.outcome, result.reason) for result in own if result.outcome is not Outcome.SUCCESS)
    interval = rate_sequence if sequential else wilson
    return TaskSummary(
        task=task,
        planned=len(trials),
        ended=len(own),
        successes=counts[Outcome.SUCCESS],
        attempts=len(attempts),
        interval=interval(counts[Outcome.SUCCESS], len(attempts), confidence),
        outcomes={outcome: counts[outcome] for outcome in Outcome if counts[outcome]},
        reasons=dict(reasons.most_common()),
        faults=counts[Outcome.FAULT],
        tried_again=sum(result.attempts > 1 for result in own),
        mean_steps=_mean(result.steps for result in attempts),
        mean_sim_s=_mean(result.sim_s for result in attempts),
        wall_s=sum(result.wall_s for result in own),
        timings_s=_timings(own),
    )


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return fmean(numbers) if numbers else None


def _timings(results: Sequence[TrialResult]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for result in results:
        for name, seconds in result.timings_s.items():
            total[name] += seconds  # type: ignore[assignment]  # a Counter adds up floats as well
    rest = sum(result.wall_s for result in results) - sum(total.values())
    if total and rest > 0:
        total[OTHER] += rest  # type: ignore[assignment]
    return dict(total.most_common())


def _plain(task: TaskSummary) -> dict[str, Any]:
    return {
        **vars(task),
        "rate": task.rate,
        "interval": [task.interval.low, task.interval.high],
        "reasons": [
            {"outcome": outcome, "reason": reason, "trials": count} for (outcome, reason), count in task.reasons.items()
        ],
    }
