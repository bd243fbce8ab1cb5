"""Plans and results as a fleet has them, without running anything."""

from taketwo.fleet.results import FleetResults
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.types import Outcome

LETTERS = {
    "s": Outcome.SUCCESS,
    "f": Outcome.FAILURE,
    "t": Outcome.TIMEOUT,
    "X": Outcome.FAULT,
    "u": Outcome.UNJUDGED,
}

REASONS = {
    Outcome.SUCCESS: "solved; the environment ended it",
    Outcome.FAILURE: "the environment ended it",
    Outcome.TIMEOUT: "cut off after 50 steps",
    Outcome.FAULT: "the worker was killed by signal 9",
    Outcome.UNJUDGED: "cut off after 50 steps; the environment does not report success",
}

PENDING = "."


def a_result(trial, outcome=Outcome.SUCCESS, **values):
    """A result of this trial."""
    usual = {
        "reason": REASONS[outcome],
        "episode_seed": 1000 + trial,
        "steps": 50 if outcome is Outcome.TIMEOUT else 20 + trial % 10,
        "sim_s": 2.0,
        "wall_s": 4.0,
        "timings_s": {"policy": 2.5, "environment": 1.0},
        "worker": f"local-{trial % 2}",
    }
    return TrialResult(trial, outcome, **usual | values)


def a_run(tasks, name="run", **values):
    """A run whose tasks ended as letters say: s solved, f failed, t timed out, X fault, u unjudged, . not ended.

    Args:
        tasks: name to letters, such as `{"stack": "sstX."}`.
    """
    trials, results = [], {}
    for task, letters in tasks.items():
        for number, letter in enumerate(letters):
            trial = Trial(len(trials), task, {"type": "point", "task": task}, 42, number)
            trials.append(trial)
            if letter != PENDING:
                results[trial.index] = a_result(trial.index, LETTERS[letter])
    return FleetResults(name, trials, results, **values)
