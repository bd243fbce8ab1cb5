"""Two runs on the same trials, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from taketwo.fleet.results import FleetResults, ResultsError
from taketwo.fleet.statistics import (
    CONFIDENCE,
    Interval,
    McNemar,
    difference_sequence,
    difference_wealth,
    holm,
    mcnemar,
    paired_difference,
)
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.types import Outcome

Key = tuple[str, int, int]
"""Task, seed and number: the same episode in every run that plans it."""

ONLY_A, ONLY_B = "only in A's plan", "only in B's plan"
NOT_ENDED = "not ended in one of them"
NO_ATTEMPT = "no attempt in one of them, such as a fault"
OTHER_START = "began from another state: its environment's seed or initial state differs"


@dataclass(frozen=True)
class Pair:
    """An episode that both runs attempted."""

    a: Trial
    b: Trial
    result_a: TrialResult
    result_b: TrialResult

    @property
    def solved(self) -> tuple[bool, bool]:
        """Whether A solved it, and whether B did."""
        return self.result_a.outcome is Outcome.SUCCESS, self.result_b.outcome is Outcome.SUCCESS

    @property
    def differs(self) -> bool:
        """Whether one solved it and the other did not."""
        a, b = self.solved
        return a is not b


@dataclass(frozen=True)
class TaskComparison:
    """The pairs of a task, or of all tasks.

    Attributes:
        task: its name; None for all.
        both: pairs that both solved.
        only_a: pairs that A solved and B did not.
        only_b: pairs that B solved and A did not.
        neither: pairs that none solved.
        interval: of the difference of the success rates, B minus A.
        p: that of McNemar's test (mid-p); of a task raised by Holm's method for the number of tasks. Where one of the
            runs was stopped by its results, a p-value that holds at any time instead.
        test: McNemar's test alone; None where one of the runs was stopped by its results.
    """

    task: str | None
    both: int
    only_a: int
    only_b: int
    neither: int
    interval: Interval
    p: float
    test: McNemar | None

    @property
    def pairs(self) -> int:
        """Episodes that both attempted."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def rates(self) -> tuple[float, float]:
        """Success rates of A and of B on these pairs; a comparison has one at least."""
        return (self.both + self.only_a) / self.pairs, (self.both + self.only_b) / self.pairs

    @property
    def difference(self) -> float:
        """Success rate of B minus that of A."""
        return (self.only_b - self.only_a) / self.pairs


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same trials.

    Attributes:
        tasks: those with a pair, in the order of A's plan.
        differing: pairs that one solved and the other did not, in the order of A's plan.
        unpaired: how many trials were left out, by why.
        changed: what of the configurations differs, by its dotted name: A's value and B's.
        sequential: whether results decided when to stop one of the runs, so that intervals are confidence sequences.
    """

    total: TaskComparison
    tasks: Sequence[TaskComparison]
    differing: Sequence[Pair]
    unpaired: Mapping[str, int]
    changed: Mapping[str, tuple[Any, Any]]
    confidence: float
    sequential: bool


def compare(a: FleetResults, b: FleetResults, confidence: float = CONFIDENCE) -> Comparison:
    """Compare two runs by the trials that they share.

    Raises:
        ResultsError: they share none that both attempted.
    """
    pairs, unpaired = _paired(a, b)
    if not pairs:
        why = ", ".join(f"{count} {reason}" for reason, count in unpaired.items())
        raise ResultsError(
            f"{a.name} and {b.name} share no episode that both attempted ({why or 'both plans are empty'}); "
            "only runs with the same tasks, seeds and numbers of episodes can be compared"
        )
    sequential = a.until is not None or b.until is not None
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.a.task, []).append(pair)
    tasks = [_compared(task, own, confidence, sequential) for task, own in groups.items()]
    raised = holm([task.p for task in tasks])
    return Comparison(
        total=_compared(None, pairs, confidence, sequential),
        tasks=[replace(task, p=p) for task, p in zip(tasks, raised, strict=True)],
        differing=[pair for pair in pairs if pair.differs],
        unpaired=unpaired,
        changed=_changed(a.config, b.config),
        confidence=confidence,
        sequential=sequential,
    )


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON has it; differences are B minus A."""
    return {
        "confidence": comparison.confidence,
        "interval_method": "confidence_sequence" if comparison.sequential else "tango",
        "total": _plain(comparison.total),
        "tasks": [_plain(task) for task in comparison.tasks],
        "differing": [_plain_pair(pair) for pair in comparison.differing],
        "unpaired": dict(comparison.unpaired),
        "changed": {name: {"a": a, "b": b} for name, (a, b) in comparison.changed.items()},
    }


def _paired(a: FleetResults, b: FleetResults) -> tuple[list[Pair], dict[str, int]]:
    """The pairs in the order of A's plan, and how many trials have none, by why."""
    others = {_key(trial): trial for trial in b.trials}
    pairs = []
    unpaired = dict.fromkeys((ONLY_A, ONLY_B, NOT_ENDED, NO_ATTEMPT, OTHER_START), 0)
    for trial in a.trials:
        other = others.pop(_key(trial), None)
        if other is None:
            unpaired[ONLY_A] += 1
            continue
        result_a, result_b = a.results.get(trial.index), b.results.get(other.index)
        if result_a is None or result_b is None:
            unpaired[NOT_ENDED] += 1
        elif not (result_a.outcome.is_attempt and result_b.outcome.is_attempt):
            unpaired[NO_ATTEMPT] += 1
        elif _start(result_a) != _start(result_b):
            unpaired[OTHER_START] += 1
        else:
            pairs.append(Pair(trial, other, result_a, result_b))
    unpaired[ONLY_B] = len(others)
    return pairs, {why: count for why, count in unpaired.items() if count}


def _key(trial: Trial) -> Key:
    return trial.task, trial.seed, trial.number


def _start(result: TrialResult) -> tuple[int, int | None]:
    return result.episode_seed, result.init_state


def _compared(task: str | None, pairs: Sequence[Pair], confidence: float, sequential: bool) -> TaskComparison:
    solved = [pair.solved for pair in pairs]
    only_a, only_b = solved.count((True, False)), solved.count((False, True))
    test = None if sequential else mcnemar(only_b, only_a)
    interval = difference_sequence if sequential else paired_difference
    return TaskComparison(
        task=task,
        both=solved.count((True, True)),
        only_a=only_a,
        only_b=only_b,
        neither=solved.count((False, False)),
        interval=interval(only_b, only_a, len(pairs), confidence),
        p=min(1.0, 1 / difference_wealth(only_b, only_a, len(pairs))) if test is None else test.mid_p,
        test=test,
    )


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    flat_a, flat_b = dict(_flat(a)), dict(_flat(b))
    names = list(dict.fromkeys([*flat_a, *flat_b]))
    return {name: (flat_a.get(name), flat_b.get(name)) for name in names if flat_a.get(name) != flat_b.get(name)}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(task: TaskComparison) -> dict[str, Any]:
    rate_a, rate_b = task.rates
    return {
        "task": task.task,
        "pairs": task.pairs,
        "both": task.both,
        "only_a": task.only_a,
        "only_b": task.only_b,
        "neither": task.neither,
        "rate_a": rate_a,
        "rate_b": rate_b,
        "difference": task.difference,
        "interval": [task.interval.low, task.interval.high],
        "p": task.p,
        "mcnemar": None if task.test is None else asdict(task.test),
    }


def _plain_pair(pair: Pair) -> dict[str, Any]:
    return {
        "task": pair.a.task,
        "seed": pair.a.seed,
        "number": pair.a.number,
        "index_a": pair.a.index,
        "index_b": pair.b.index,
        "outcome_a": str(pair.result_a.outcome),
        "outcome_b": str(pair.result_b.outcome),
    }
