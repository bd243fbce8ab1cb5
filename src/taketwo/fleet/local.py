"""Workers as processes of this machine: one that crashes or hangs costs its trial, and is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from taketwo.errors import TakeTwoError
from taketwo.fleet.executor import Finished, Lost, WorkerState
from taketwo.fleet.messages import Ended, Hangs, Message, Order, Refuses, Stepped
from taketwo.fleet.trials import Trial
from taketwo.fleet.worker import WorkerConfig
from taketwo.recording.naming import cannot_write, make_folder

CLOSE_S = 10.0
"""How long idle workers may take to close their environments."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "LP_NUM_THREADS",
)
"""How libraries are told their number of threads; the last one is Mesa's software renderer."""


@dataclass(frozen=True)
class Limits:
    """When a worker is given up.

    Attributes:
        trial_s: after so long with one trial, seconds; None for no limit.
        silence_s: after so long without a step, a new trial's preparation included, seconds.
    """

    trial_s: float | None
    silence_s: float


class LocalExecutor:
    """Processes that are started when they get their first trial."""

    def __init__(
        self,
        config: WorkerConfig,
        count: int,
        limits: Limits,
        *,
        threads: int,
        logs: Path,
        names: Sequence[str] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is started yet.

        Args:
            count: processes at most.
            threads: how many threads each may use for arithmetic. It is the same for any number of workers, since
                results can depend on it in their last bits. It counts more than what is set in the environment.
            logs: folder for what workers print.
            names: what results call the workers; worker-0 and so on where not given.
            now: gives seconds.
        """
        names = names or [f"worker-{number}" for number in range(count)]
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        self._workers = {name: _Process(name, config, environment, logs / f"{name}.log", now) for name in names}
        self._limits = limits
        self._came: list[Finished | Lost] = []

    @property
    def workers(self) -> Sequence[WorkerState]:
        """All of them."""
        return [worker.state() for worker in self._workers.values()]

    def submit(self, trial: Trial, worker: str) -> None:
        """Give a trial to a worker that is idle; its process is started where there is none.

        Raises:
            TakeTwoError: it cannot be started.
        """
        self._workers[worker].submit(trial)

    def next(self, timeout_s: float) -> Finished | Lost | None:
        """What came of a trial; None where nothing has come within the time.

        Raises:
            TakeTwoError: a worker cannot run any trial.
        """
        if not self._came:
            self._look(timeout_s)
        return self._came.pop(0) if self._came else None

    def close(self) -> None:
        """End all of them: those with a trial at once, the others when they have closed their environment."""
        for worker in self._workers.values():
            worker.dismiss()
        until = time.monotonic() + CLOSE_S
        for worker in self._workers.values():
            worker.wait(max(0.0, until - time.monotonic()))

    def _look(self, timeout_s: float) -> None:
        connections = {worker.connection: worker for worker in self._workers.values() if worker.connection is not None}
        if not connections:
            time.sleep(timeout_s)
            return
        for connection in wait(list(connections), timeout_s):
            came = connections[connection].receive()  # type: ignore[index]  # they are what was given
            if came is not None:
                self._came.append(came)
        self._came += [lost for worker in self._workers.values() if (lost := worker.give_up(self._limits))]


class _Process:
    """One worker, whatever processes it has one after the other.

    Attributes:
        connection: to its process; None while it has none.
    """

    def __init__(
        self, name: str, config: WorkerConfig, environment: Mapping[str, str], log: Path, now: Callable[[], float]
    ) -> None:
        self.connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._name, self._config, self._environment, self._log, self._now = name, config, environment, log, now
        self._trial: Trial | None = None
        self._task: str | None = None
        self._steps = self._done = 0
        self._began = self._heard = 0.0

    def state(self) -> WorkerState:
        trial = None if self._trial is None else self._trial.index
        state = "idle" if self._trial is None else "running" if self._steps else "starting"
        return WorkerState(self._name, state, self._task, trial, self._steps, self._done)  # type: ignore[arg-type]

    def submit(self, trial: Trial) -> None:
        self._trial, self._task, self._steps = trial, trial.task, 0
        self._began = self._heard = self._now()
        if self.connection is None:
            self.connection = self._start()
        with suppress(OSError):  # it has died, which is found out by listening to it
            self.connection.send(trial)

    def receive(self) -> Finished | Lost | None:
        """Take its next message, or find it dead."""
        assert self.connection is not None
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            return self._bury(None)
        self._heard = self._now()
        match message:
            case Stepped(steps):
                self._steps = steps
                return None
            case Ended(result):
                assert self._trial is not None
                trial, self._trial = self._trial, None
                self._done += 1
                return Finished(trial, result)
            case Hangs(reason):
                return self._bury(f"{self._name} was given up: {reason}")
            case Refuses(refusal):
                raise refusal.error()

    def give_up(self, limits: Limits) -> Lost | None:
        """End it where its trial takes too long."""
        if self._trial is None:
            return None
        now = self._now()
        if limits.trial_s is not None and now - self._began > limits.trial_s:
            return self._bury(f"{self._name} was given up: the trial has taken more than {limits.trial_s:g} s")
        if now - self._heard > limits.silence_s:
            return self._bury(f"{self._name} was given up: no step in {limits.silence_s:g} s, so it hangs")
        return None

    def dismiss(self) -> None:
        """Let it go: it ends by itself when it finds the connection closed, or is ended where it has a trial."""
        if self._trial is not None:
            self._kill()
        if self.connection is not None:
            self.connection.close()
        self.connection = self._trial = None

    def wait(self, timeout_s: float) -> None:
        """Until it has ended, and end it after the time."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self._kill()

    def _bury(self, reason: str | None) -> Lost | None:
        """The trial that is lost with its process, where it had one."""
        assert self._process is not None
        if reason is None:
            with suppress(subprocess.TimeoutExpired):  # it has closed its end, so it is ending
                self._process.wait(CLOSE_S)
            reason = f"{self._name} {_said_end(self._process.poll())}; what it printed is in {self._log}"
        self._kill()
        trial = self._trial
        self.dismiss()
        return None if trial is None else Lost(trial, reason)

    def _kill(self) -> None:
        """End the process and those that it has begun."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "taketwo.fleet.process", str(theirs.fileno()), str(os.getpid())]
        make_folder(self._log.parent)
        try:
            with theirs, self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the parent; and its processes can be ended with it
                )
        except OSError as error:
            ours.close()
            if error.filename == str(self._log):
                raise cannot_write(self._log, error) from error
            raise TakeTwoError(f"{self._name} cannot be started: {error.strerror or error}") from error
        connection = Connection(ours.detach())
        with suppress(OSError):  # it has died already, which is found out by listening to it
            connection.send(Order(self._name, self._config))
        return connection


def _said_end(status: int | None) -> str:
    if status is None:
        return "does not answer any more"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
