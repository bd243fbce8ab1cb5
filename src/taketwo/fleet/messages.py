"""What travels between a command and its workers in processes, pickled.

Apart from `process`, which is run as a script: what is defined there belongs to another module in each process.
"""

from __future__ import annotations

from dataclasses import dataclass

from taketwo.fleet.executor import Refusal
from taketwo.fleet.trials import TrialResult
from taketwo.fleet.worker import WorkerConfig


@dataclass(frozen=True, slots=True)
class Order:
    """The first message to a worker.

    Attributes:
        name: what results call the worker.
    """

    name: str
    config: WorkerConfig


@dataclass(frozen=True, slots=True)
class Stepped:
    """How many actions the trial under way has had; a sign of life."""

    steps: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a trial."""

    result: TrialResult


@dataclass(frozen=True, slots=True)
class Hangs:
    """The environment hangs, and the process ends now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuses:
    """No trial can be run."""

    refusal: Refusal


Message = Stepped | Ended | Hangs | Refuses
