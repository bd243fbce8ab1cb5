"""Workers on a Ray cluster: an actor each, on whatever machine has room; one that is lost is replaced."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import secrets
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from taketwo import __version__
from taketwo.errors import RecordingError, TakeTwoError, one_line
from taketwo.fleet.episodes import Episodes
from taketwo.fleet.executor import Finished, Lost, Refusal, WorkerState
from taketwo.fleet.folder import LOGS
from taketwo.fleet.local import CLOSE_S, THREAD_VARIABLES, Limits
from taketwo.fleet.ray_actor import Hello, Posting, RayWorker, Report, unpack
from taketwo.fleet.ray_cluster import RayCluster, RayConfig, needs
from taketwo.fleet.trials import Trial
from taketwo.fleet.worker import EPISODES, WORK, WorkerConfig
from taketwo.recording.naming import cannot_write, make_folder

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often an actor tells how its trial goes, at least."""

SILENT_S = 60.0
"""An actor that tells nothing for so long is given up: its machine is away, or has stopped."""

MOST_LISTENED_S = 5.0
"""What counts as listened at most between one look and the next: what an actor said while this process was stopped, or
busy, is not heard yet."""

MOST_FAILED_STARTS = 5
"""After so many actors in a row that died before they said a word, it is not their machines."""

HANDED_ON = ("PYTHONPATH", "MUJOCO_GL", "TAKETWO_API_KEY")
"""Variables that the workers get from here, besides those for threads."""

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "MUJOCO_EGL_DEVICE_ID")
"""The same where Ray does not say itself which GPU is a worker's."""

TOKEN = ".shared-"
"""How the name of the file begins by which workers see that they have the folder of the run."""


class RayExecutor:
    """Actors that are asked for at once; Ray starts them when and where there is room."""

    def __init__(
        self,
        cluster: RayCluster,
        config: WorkerConfig,
        count: int,
        limits: Limits,
        options: RayConfig,
        *,
        threads: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes over the cluster, and closes it.

        Args:
            count: workers at most.
            threads: how many threads each may use for arithmetic, see `LocalExecutor`.
            now: gives seconds.

        Raises:
            RecordingError: the folder of the run cannot be written; the cluster is closed then, too.
        """
        import ray

        self._ray = ray
        self._cluster, self._options, self._now = cluster, options, now
        self._came: list[Finished | Lost] = []
        self._failed_starts = 0
        self._listened_s, self._looked = 0.0, now()
        self._last_alive_s = 0.0
        self._numbers = itertools.count()
        with ExitStack() as stack:
            stack.callback(cluster.close)
            self._begin(config, limits, threads)
            stack.callback(self._remove_token)
            self._actors = [self._new() for _ in range(count)]
            self._warn_of_room(count)
            stack.pop_all()

    def _begin(self, config: WorkerConfig, limits: Limits, threads: int) -> None:
        """What all actors are made of."""
        self._episodes = Episodes(config.folder / EPISODES)
        self._folder = config.folder
        self._token = _leave_token(config.folder)
        self._posting = Posting(
            name="",
            config=pickle.dumps(config),
            limits=limits,
            threads=threads,
            environment=_environment(threads, gpus=self._options.gpus_per_worker > 0),
            directory=str(Path.cwd()),
            token=self._token,
        )
        self._class = self._ray.remote(
            num_cpus=self._options.cpus_per_worker,
            num_gpus=self._options.gpus_per_worker,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )(RayWorker)

    def _warn_of_room(self, count: int) -> None:
        room = self._cluster.room()
        if room < count:
            said = "%s has room for %d of %d workers (%s); others start when it has more"
            log.warning(said, self._cluster.name, room, count, self._cluster.has())

    @property
    def workers(self) -> Sequence[WorkerState]:
        """Those that there are now, and those that wait for a machine with room."""
        return [actor.state for actor in self._actors]

    def submit(self, trial: Trial, worker: str) -> None:
        """Give a trial to a worker that is idle."""
        (actor,) = (actor for actor in self._actors if actor.name == worker)
        actor.submit(trial, self._listened_s)

    def next(self, timeout_s: float) -> Finished | Lost | None:
        """What came of a trial; None where nothing has come within the time.

        Raises:
            TakeTwoError: a worker cannot run any trial, none can be started, or the cluster is lost.
            RecordingError: a trial from a machine without the run's folder cannot be written here.
        """
        if not self._came:
            try:
                self._look(timeout_s)
            except ConnectionError as error:
                raise TakeTwoError(
                    f"{self._cluster.name} was lost ({one_line(error)}): the same command goes on when it is back"
                ) from error
        return self._came.pop(0) if self._came else None

    def close(self) -> None:
        """End all of them: those with a trial at once, the others when they have closed their environment."""
        actors, self._actors = self._actors, []
        with suppress(ConnectionError, self._ray.exceptions.RayError):
            # Busy ones hear of it when they have told how their trial goes, so within `LOOK_S`.
            closing = [actor.handle.close.remote() for actor in actors if actor.greeted]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
        for actor in actors:
            self._kill(actor)
        self._remove_token()
        self._cluster.close()

    def _look(self, timeout_s: float) -> None:
        awaited = {actor.awaited: actor for actor in self._actors if actor.awaited is not None}
        if not awaited:
            time.sleep(timeout_s)
            return
        self._ray.wait(list(awaited), timeout=timeout_s)
        # That ends with the first one that has something to say; all that have are heard.
        ready, silent = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        self._listen()
        for reference in ready:
            self._hear(awaited[reference], reference)
        for actor in map(awaited.__getitem__, silent):
            if actor.silent_s(self._listened_s) > SILENT_S:
                self._bury(actor, f"nothing heard from {actor.place} in {SILENT_S:g} s")
        self._check_alive()

    def _listen(self) -> None:
        """Count the time in which actors could be heard."""
        now = self._now()
        self._listened_s += min(now - self._looked, MOST_LISTENED_S)
        self._looked = now

    def _hear(self, actor: _Actor, reference: Any) -> None:
        """Take what an actor says, or find it dead."""
        try:
            said = self._ray.get(reference, timeout=SILENT_S)
        except self._ray.exceptions.RayError as error:
            self._bury(actor, _said(error))
            return
        if isinstance(said, Hello):
            self._check_version(said)
            self._failed_starts = 0
            actor.greet(said, self._listened_s)
            return
        assert isinstance(said, Report)
        actor.hear(said, self._listened_s)
        match said.came:
            case Finished(trial, result):
                if said.packed is not None:
                    work = self._folder / WORK / self._token.name / actor.name / f"{trial.index:06d}"
                    self._unpack(said.packed, work)
                    result = self._episodes.commit(work, result)
                self._came.append(Finished(trial, result))
            case Lost(trial, reason):
                if said.packed is not None:
                    self._unpack(said.packed, self._folder / LOGS)
                self._came.append(Lost(trial, f"{reason} (on {actor.place})"))
            case Refusal() as refusal:
                raise refusal.error()

    def _bury(self, actor: _Actor, reason: str) -> None:
        """Replace an actor that is lost, and tell of its trial."""
        self._kill(actor)
        if actor.trial is not None:
            self._came.append(Lost(actor.trial, f"{actor.name} on {actor.place} was lost: {reason}"))
        if not actor.greeted:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise TakeTwoError(f"no worker can be started on {self._cluster.name}: {reason}")
        self._actors[self._actors.index(actor)] = self._new()

    def _check_alive(self) -> None:
        """Somebody has to be there, or to come within the time."""
        if any(actor.greeted for actor in self._actors):
            self._last_alive_s = self._listened_s
        elif self._listened_s - self._last_alive_s > self._options.start_timeout_s:
            raise TakeTwoError(
                f"{self._cluster.name} has had no room for a worker in {self._options.start_timeout_s:g} s: each needs "
                f"{needs(self._options)} free on one machine, and there is {self._cluster.has()}; see "
                "--ray.cpus_per_worker, --ray.gpus_per_worker and --ray.start_timeout_s"
            )

    def _check_version(self, hello: Hello) -> None:
        if hello.version != __version__:
            raise TakeTwoError(
                f"{hello.node} of {self._cluster.name} has taketwo {hello.version}, and this is {__version__}: install "
                "the same on all machines"
            )

    def _new(self) -> _Actor:
        name = f"worker-{next(self._numbers)}"
        return _Actor(name, self._class.remote(replace(self._posting, name=name)))

    def _kill(self, actor: _Actor) -> None:
        with suppress(ConnectionError, ValueError, self._ray.exceptions.RayError):
            self._ray.kill(actor.handle)

    def _unpack(self, packed: bytes, folder: Path) -> None:
        try:
            unpack(packed, folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
        except tarfile.TarError as error:
            raise RecordingError(f"what a worker sent for {folder} is damaged: {one_line(error)}") from error

    def _remove_token(self) -> None:
        with suppress(OSError):
            self._token.unlink(missing_ok=True)


class _Actor:
    """One worker, as it is known here.

    Attributes:
        handle: Ray's.
        awaited: reference to what it will say next; None while nothing was asked of it.
        greeted: whether it has begun to run.
        place: its machine.
        trial: the one under way.
    """

    def __init__(self, name: str, handle: Any) -> None:
        self.name, self.handle = name, handle
        self.awaited: Any = handle.hello.remote()
        self.greeted = False
        self.place = "a machine of the cluster"
        self.trial: Trial | None = None
        self.state = WorkerState(name, "starting")
        self._heard = 0.0

    def greet(self, hello: Hello, listened_s: float) -> None:
        self.greeted, self.place, self._heard, self.awaited = True, hello.node, listened_s, None
        self.state = WorkerState(self.name, "idle")

    def submit(self, trial: Trial, listened_s: float) -> None:
        self.trial = trial
        self.state = replace(self.state, state="starting", task=trial.task, trial=trial.index, steps=0)
        self._heard = listened_s
        self.awaited = self.handle.run.remote(trial, LOOK_S)

    def hear(self, report: Report, listened_s: float) -> None:
        self.state, self._heard = report.state, listened_s
        if report.came is None:
            self.awaited = self.handle.look.remote(LOOK_S)
        else:
            self.awaited = self.trial = None

    def silent_s(self, listened_s: float) -> float:
        """How long it has owed an answer; one that waits for a machine owes none."""
        return listened_s - self._heard if self.greeted and self.awaited is not None else 0.0


def _environment(threads: int, *, gpus: bool) -> Mapping[str, str]:
    """Variables for workers.

    Ray sets the number of threads by the cores that it keeps for an actor, and results can depend on it.

    Args:
        gpus: whether Ray keeps some for each worker.
    """
    names = HANDED_ON if gpus else HANDED_ON + GPU_VARIABLES
    return {name: os.environ[name] for name in names if name in os.environ} | dict.fromkeys(
        THREAD_VARIABLES, str(threads)
    )


def _leave_token(folder: Path) -> Path:
    """A file that workers find where they see the folder; those of commands that were killed are removed."""
    token = folder / f"{TOKEN}{secrets.token_hex(8)}"
    make_folder(folder)
    try:
        for old in folder.glob(f"{TOKEN}*"):
            old.unlink(missing_ok=True)
        token.touch()
    except OSError as error:
        raise cannot_write(token, error) from error
    return token


def _said(error: Exception) -> str:
    """What Ray says, without the page of advice and the other machine's traceback around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        if "Error: " in line and not line.startswith(("ray.exceptions", "File ")):
            return one_line(line)
    return one_line(lines[0]) if lines else type(error).__name__
