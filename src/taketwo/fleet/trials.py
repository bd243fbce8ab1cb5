"""What is planned, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from taketwo.types import Outcome


@dataclass(frozen=True, slots=True)
class Trial:
    """One planned episode. It is the same wherever it runs, and whatever ran before it.

    Attributes:
        index: its place in the plan, from 0.
        task: the name of the group that it is counted in, such as a LIBERO task's.
        env: `type` and options of the environment, as plain values.
        seed: session seed.
        number: which episode of that session it is, from 0: `taketwo run` with this environment and `session.seed`
            has it as its episode of this number.
    """

    index: int
    task: str
    env: Mapping[str, Any]
    seed: int
    number: int


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a trial, after its last attempt.

    Attributes:
        trial: index of the trial.
        outcome: how it ended; a fault is neither success nor failure of the policy.
        reason: one sentence telling why it ended so.
        episode_seed: the environment's.
        init_state: number of the recorded initial state, where there are some.
        steps: actions applied.
        sim_s: how long they are in the environment's own time.
        wall_s: how long it took.
        attempts: how often it was begun; more than 1 where workers died or environments failed.
        worker: who ran it.
        timings_s: where the time went: `policy`, `environment`, `reset`, and so on.
        recorded: rows in the dataset; 0 where nothing was recorded.
    """

    trial: int
    outcome: Outcome
    reason: str
    episode_seed: int
    steps: int
    sim_s: float
    wall_s: float
    reward_sum: float = 0.0
    reward_max: float = 0.0
    init_state: int | None = None
    prompt: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    attempts: int = 1
    worker: str = ""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    recorded: int = 0
