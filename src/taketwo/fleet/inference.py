"""One policy for all workers of this machine: a server that lives as long as the command, and answers them in batches.

The workers reach it as they reach any policy server, and recordings tell of the policy that it serves.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

from taketwo.envs.base import MakesOne
from taketwo.errors import PolicyError, TakeTwoError
from taketwo.fleet.executor import Refusal
from taketwo.fleet.worker import WorkerConfig, environment_config
from taketwo.policies.base import PolicyConfig
from taketwo.policies.remote import RemoteConfig
from taketwo.recording.naming import cannot_write, make_folder

HOST = "127.0.0.1"

START_S = 1800.0
"""How long a policy may take to load, weights that are downloaded included."""

CLOSE_S = 10.0
"""How long the server may take to end."""

METRICS_S = 5.0

LOOK_S = 0.25
"""How often somebody who wants to stop is noticed while the policy loads."""

LARGEST_REQUEST_BYTES = 256_000_000


@dataclass(frozen=True)
class ServerOrder:
    """The first message to the server's process.

    Attributes:
        env: what its workers have; it is made once, in a process of its own, to see what the policy is for.
        key: what clients have to give.
        max_clients: connections at a time.
    """

    env: MakesOne
    policy: PolicyConfig
    key: str = field(repr=False)
    max_clients: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The server takes clients."""

    port: int


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """What a server has done since it began.

    Attributes:
        answers: requests answered.
        queue_s: how long they have waited for the policy, together.
        inference_s: how long their forward passes took, together; one that several shared counts for each.
    """

    answers: int
    queue_s: float
    inference_s: float


class StoppedError(TakeTwoError):
    """Somebody wanted it to end before the policy was loaded."""


class PolicyServerProcess:
    """The server, in a process of its own."""

    def __init__(
        self,
        config: WorkerConfig,
        env: Mapping[str, object],
        log: Path,
        *,
        workers: int,
        environment: Mapping[str, str] | None = None,
        start_s: float = START_S,
        stopped: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Start it, and wait until the policy is loaded.

        Args:
            env: a trial's environment; all have to be alike in actions, states and cameras.
            log: file for what it prints.
            workers: how many there are to be.
            environment: variables that it gets besides those that are there, such as which GPU is its own.
            start_s: how long that may take, seconds.
            stopped: says why it shall not be waited for any longer, or None.

        Raises:
            StoppedError: `stopped` gave a reason, which is the message.
            TakeTwoError: the policy cannot be made; as a worker would tell it.
            PolicyError: the server dies, or is not ready in time.
            RecordingError: the log cannot be written.
        """
        self._log = log
        self._key = secrets.token_hex(16)
        ours, theirs = socket.socketpair()
        make_folder(log.parent)
        try:
            with theirs, log.open("ab") as sink:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "taketwo.fleet.policy_server", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    env={**os.environ, **(environment or {})},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the command
                )
        except OSError as error:
            ours.close()
            raise cannot_write(log, error) from error
        self._connection = Connection(ours.detach())
        try:
            self._send(ServerOrder(environment_config(config, env), config.policy, self._key, 2 * workers + 8))
            self._port = self._wait(start_s, stopped)
        except BaseException:
            self._end(0.0)  # nobody is answered yet, and what loads a policy does not listen
            raise

    @property
    def policy(self) -> RemoteConfig:
        """The way to it, for workers."""
        return RemoteConfig(host=HOST, port=self._port, api_key=self._key)

    def worker_config(self, config: WorkerConfig) -> WorkerConfig:
        """What workers have to know who ask it; what is recorded of the policy stays."""
        return replace(config, policy=self.policy)

    def failure(self) -> str | None:
        """Why it is not there any more; None while it is."""
        if self._process.poll() is None:
            return None
        return f"the policy server {_said_end(self._process.returncode)}; what it printed is in {self._log}"

    def load(self) -> ServerLoad | None:
        """What it has done; None where it does not tell."""
        request = urllib.request.Request(
            f"http://{HOST}:{self._port}/metrics", headers={"Authorization": f"Api-Key {self._key}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=METRICS_S) as response:
                return load_of(response.read().decode())
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """End it. Safe to call twice."""
        self._end(CLOSE_S)

    def _end(self, wait_s: float) -> None:
        self._connection.close()  # which is what it ends by
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _send(self, order: ServerOrder) -> None:
        try:
            self._connection.send(order)
        except OSError as error:
            raise self._silent() from error

    def _wait(self, start_s: float, stopped: Callable[[], str | None]) -> int:
        """Until it is ready; gives its port."""
        until = time.monotonic() + start_s
        try:
            while not self._connection.poll(max(0.0, min(LOOK_S, until - time.monotonic()))):
                if (reason := stopped()) is not None:
                    raise StoppedError(reason)
                if time.monotonic() >= until:
                    raise PolicyError(f"the policy server is not ready after {start_s:g} s; see {self._log}")
            said: Ready | Refusal = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._silent() from error
        if isinstance(said, Refusal):
            raise said.error()
        return said.port

    def _silent(self) -> PolicyError:
        """The connection has ended, and so will the process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_S)
        return PolicyError(self.failure() or f"the policy server says nothing; see {self._log}")


def load_of(metrics: str) -> ServerLoad:
    """What a policy server's `/metrics` tell, in Prometheus' text format.

    Raises:
        ValueError: it is not one's.
    """
    values = dict(re.findall(r"^(\w+) (\S+)$", metrics, re.MULTILINE))
    try:
        return ServerLoad(
            answers=int(float(values["taketwo_inference_seconds_count"])),
            queue_s=float(values["taketwo_queue_seconds_sum"]),
            inference_s=float(values["taketwo_inference_seconds_sum"]),
        )
    except KeyError as error:
        raise ValueError(f"there is no {error} in it") from error


def check_reach(far: bool) -> None:
    """Raise TakeTwoError where workers cannot reach a server of this machine.

    Args:
        far: whether workers run on other machines.
    """
    if far:
        raise TakeTwoError(
            "--inference=server serves workers of this machine, and these are on a cluster: start taketwo serve "
            "--host=0.0.0.0 with a key on a machine that they reach, and give --policy.type=remote and its address"
        )


def _said_end(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
