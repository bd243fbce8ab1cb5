"""A worker on a machine of a Ray cluster: an actor that keeps a process of its own for the trials, as on one machine.

So a simulator that crashes or hangs costs its trial there too, without ending the actor. This module does not import
Ray.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import socket
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from taketwo import __version__
from taketwo.errors import TakeTwoError
from taketwo.fleet.episodes import Episodes
from taketwo.fleet.executor import Finished, Lost, Refusal, WorkerState
from taketwo.fleet.folder import LOGS
from taketwo.fleet.local import Limits, LocalExecutor
from taketwo.fleet.trials import Trial
from taketwo.fleet.worker import EPISODES, WorkerConfig
from taketwo.types import Outcome


@dataclass(frozen=True)
class Posting:
    """What an actor is told when it starts.

    Attributes:
        name: what results call the worker.
        config: a pickled `WorkerConfig`, since it can hold classes that are importable only in `environment`.
        environment: variables for the worker's process.
        directory: where the command was given, which relative paths are meant from.
        token: a file in the folder of the run.
    """

    name: str
    config: bytes
    limits: Limits
    threads: int
    environment: Mapping[str, str]
    directory: str
    token: Path


@dataclass(frozen=True, slots=True)
class Hello:
    """What an actor tells first.

    Attributes:
        node: name of its machine.
        shared: whether it sees the folder of the run.
        version: of this package there.
    """

    node: str
    shared: bool
    version: str


@dataclass(frozen=True, slots=True)
class Report:
    """How a trial is going, or what came of it.

    Attributes:
        came: None while it is under way; a refusal where no trial can be run.
        packed: where the folder of the run is not shared, a tar archive of the finished trial's folder, or of the
            worker's logs for a trial that is lost.
    """

    state: WorkerState
    came: Finished | Lost | Refusal | None = None
    packed: bytes | None = None


class RayWorker:
    """The actor. Its methods are called one at a time."""

    def __init__(self, posting: Posting) -> None:
        """Nothing is started before the first trial."""
        _settle(posting)
        config: WorkerConfig = pickle.loads(posting.config)  # noqa: S301 - from the command that made this actor
        self._name = posting.name
        self._folder = config.folder
        self._own: Path | None = None
        if not posting.token.exists():
            self._own = Path(tempfile.mkdtemp(prefix="taketwo-ray-"))
            config = replace(config, folder=self._own)
        self._local = LocalExecutor(
            config,
            1,
            posting.limits,
            threads=posting.threads,
            logs=config.folder / LOGS,
            names=(self._name,),
        )

    def hello(self) -> Hello:
        """Tell where it is."""
        return Hello(socket.gethostname(), self._own is None, __version__)

    def run(self, trial: Trial, wait_s: float) -> Report:
        """Begin a trial, and look how it goes."""
        try:
            self._local.submit(trial, self._name)
        except TakeTwoError as error:
            return self._report(Refusal.of(error))
        return self.look(wait_s)

    def look(self, wait_s: float) -> Report:
        """Tell as soon as there is something to tell, after `wait_s` at the latest."""
        try:
            return self._report(self._local.next(wait_s))
        except TakeTwoError as error:
            return self._report(Refusal.of(error))

    def close(self) -> None:
        """End the process."""
        self._local.close()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _report(self, came: Finished | Lost | Refusal | None) -> Report:
        (state,) = self._local.workers
        if self._own is None or came is None:
            return Report(state, came)
        match came:
            case Finished(trial, result) if result.outcome is not Outcome.FAULT:
                episodes = Episodes(self._own / EPISODES)
                packed = pack(episodes.folder(trial.index))
                episodes.remove(trial.index)
                return Report(state, came, packed)
            case Lost(trial, reason):
                came = Lost(trial, reason.replace(str(self._own), str(self._folder)))
                return Report(state, came, pack(self._own / LOGS))
        return Report(state, came)


def pack(folder: Path) -> bytes:
    """A folder's content as a tar archive, uncompressed: videos are compressed already."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Write what `pack` gave into a folder, which is made.

    Raises:
        OSError: the disk does not take it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _settle(posting: Posting) -> None:
    """Take over the command's environment, where this machine has it."""
    environment = dict(posting.environment)
    path = environment.pop("PYTHONPATH", "")
    os.environ.update(environment)
    if path:
        # Ray may have put something there itself.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))
        sys.path += [entry for entry in path.split(os.pathsep) if entry and entry not in sys.path]
    with suppress(OSError):
        os.chdir(posting.directory)
