"""The trials that nobody has begun, and which of them a worker should have."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable

from taketwo.fleet.trials import Trial


class Waiting:
    """Trials by task, since a worker that stays with a task keeps its environment."""

    def __init__(self, trials: Iterable[Trial], done: Container[int] = (), *, in_rounds: bool = False) -> None:
        """In the order of the plan.

        Args:
            trials: the whole plan.
            done: indices of those that are not to be run.
            in_rounds: no task is to be further on than others by more than one trial.
        """
        self._in_rounds = in_rounds
        self._tasks: dict[str, deque[Trial]] = {}
        self._given_up: set[str] = set()
        self._rounds: dict[int, int] = {}
        turns: dict[str, int] = {}
        for trial in trials:
            self._rounds[trial.index] = turns[trial.task] = turns.get(trial.task, -1) + 1
            left = self._tasks.setdefault(trial.task, deque())
            if trial.index not in done:
                left.append(trial)

    def __bool__(self) -> bool:
        return bool(self._open_tasks())

    def put_back(self, trial: Trial) -> None:
        """It is to be tried again, next of its task."""
        self._tasks[trial.task].appendleft(trial)

    def give_up(self, task: str) -> None:
        """Hand out no trial of a task, until it is taken up again."""
        self._given_up.add(task)

    def take_up(self, task: str) -> None:
        """Hand out trials of a task."""
        self._given_up.discard(task)

    def take(self, last: str | None, others: Iterable[str | None]) -> Trial | None:
        """The trial that a worker should have next; None where there is none.

        Args:
            last: the task that it has an environment for.
            others: the tasks that the other workers have environments for.
        """
        there = self._open_tasks()
        if not there:
            return None
        if self._in_rounds:
            first = min(map(self._next_round, there))
            there = [task for task in there if self._next_round(task) == first]
        taken = list(others)
        task = last if last in there else min(there, key=taken.count)
        return self._tasks[task].popleft()

    def _open_tasks(self) -> list[str]:
        return [task for task, trials in self._tasks.items() if trials and task not in self._given_up]

    def _next_round(self, task: str) -> int:
        return self._rounds[self._tasks[task][0].index]
