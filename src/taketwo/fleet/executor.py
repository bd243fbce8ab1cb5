"""Who runs trials: workers in processes, or on a cluster. It only moves trials to workers, and results back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from taketwo.errors import ConfigError, RecordingError, TakeTwoError
from taketwo.fleet.trials import Trial, TrialResult

State = Literal["idle", "starting", "running"]


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial that a worker has run to an end, which may be a fault of the environment or the policy."""

    trial: Trial
    result: TrialResult


@dataclass(frozen=True, slots=True)
class Lost:
    """A trial that came to no end, since its worker died or was ended.

    Attributes:
        reason: one sentence telling why.
    """

    trial: Trial
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker is doing.

    Attributes:
        state: `idle` can be given a trial; `starting` builds what a trial needs; `running` is in an episode.
        task: of its last trial, for which it has an environment.
        trial: index of the one under way; None where there is none.
        steps: of the one under way.
        done: trials that it has finished.
    """

    name: str
    state: State
    task: str | None = None
    trial: int | None = None
    steps: int = 0
    done: int = 0


class MisfitError(ConfigError):
    """An option of a part does not fit, as a worker found when it made the part.

    Attributes:
        section: where the option is in the configuration, such as `env`.
    """

    def __init__(self, section: str, message: str) -> None:
        super().__init__(message)
        self.section = section


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no trial can be run, in a form that travels: errors of libraries may not.

    Attributes:
        kind: `config` where an option does not fit, `recording` where the disk does not take it.
        section: of the option.
    """

    kind: Literal["config", "recording", "other"]
    section: str
    message: str

    @classmethod
    def of(cls, error: TakeTwoError) -> Refusal:
        """An error as what travels."""
        if isinstance(error, MisfitError):
            return cls("config", error.section, str(error))
        return cls("recording" if isinstance(error, RecordingError) else "other", "", str(error))

    def error(self) -> TakeTwoError:
        """The error again."""
        if self.kind == "config":
            return MisfitError(self.section, self.message)
        return RecordingError(self.message) if self.kind == "recording" else TakeTwoError(self.message)


class Executor(Protocol):
    """Workers that each run one trial at a time. Used from a single thread."""

    @property
    def workers(self) -> Sequence[WorkerState]:
        """All of them; where they come and go, those that there are now."""
        ...

    def submit(self, trial: Trial, worker: str) -> None:
        """Give a trial to a worker that is idle.

        Raises:
            TakeTwoError: no worker can be started.
        """
        ...

    def next(self, timeout_s: float) -> Finished | Lost | None:
        """What came of a trial that was submitted; None where nothing has come within the time.

        Raises:
            TakeTwoError: a worker cannot run any trial, as an option does not fit, a library is missing or the disk
                is full.
        """
        ...

    def close(self) -> None:
        """End all workers, and what they are doing. Safe to call twice."""
        ...
