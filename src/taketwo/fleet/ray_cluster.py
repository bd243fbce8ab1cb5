"""The way to a Ray cluster: started on this machine, or joined."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from taketwo.errors import ConfigError, MissingExtraError, TakeTwoError, one_line

log = logging.getLogger(__name__)

CLIENT_PORT = 10001
"""Where a cluster listens for drivers outside of it
(https://docs.ray.io/en/latest/cluster/running-applications/job-submission/ray-client.html)."""

KNOCK_S = 10.0
"""How long a cluster's port may take to answer."""

OBJECT_STORE_BYTES = 200_000_000
"""For a cluster that is started here: its workers share the disk, and only messages go through it."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # workers without a share of a GPU can still draw with it
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # its reports of what died, which we tell in a line
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use the Python that they are started with
}
"""What Ray reads from the environment when it is imported."""


@dataclass(frozen=True)
class RayConfig:
    """Ray workers.

    Attributes:
        cpus_per_worker: cores that Ray keeps for each.
        gpus_per_worker: GPUs that Ray keeps for each; 0.25 lets four share one.
        start_timeout_s: how long to wait where the cluster has no room for any worker, such as while it grows.
        runtime_env: YAML file with a Ray runtime environment, such as pip or py_modules, for the workers.
    """

    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    start_timeout_s: float = 600.0
    runtime_env: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.cpus_per_worker < float("inf"):
            raise ConfigError(f"cpus_per_worker must be more than 0, not {self.cpus_per_worker:g}")
        gpus = self.gpus_per_worker
        if not 0 <= gpus < float("inf") or (gpus > 1 and gpus != int(gpus)):
            raise ConfigError(f"gpus_per_worker must be from 0 to 1, or a whole number, not {gpus:g}")
        if not 0 < self.start_timeout_s < float("inf"):
            raise ConfigError(f"start_timeout_s must be a number of seconds above 0, not {self.start_timeout_s:g}")


@dataclass(frozen=True)
class Address:
    """Where the cluster is.

    Attributes:
        given: as Ray takes it; None for one that `ray start` has begun on this machine, or a new one.
        place: host and port to knock at; None where there are none.
    """

    given: str | None
    place: tuple[str, int] | None

    @property
    def name(self) -> str:
        """For messages."""
        return "this machine's Ray cluster" if self.given is None else f"the Ray cluster at {self.given}"


def address_of(cluster: str) -> Address:
    """What `--cluster` means: `ray` is `RAY_ADDRESS`, else this machine; `ray://HOST:PORT` is somewhere else.

    Raises:
        ConfigError: it is neither; the message begins with the option's name.
    """
    if cluster == "ray":
        there = os.environ.get("RAY_ADDRESS", "")
        if there in ("", "auto", "local"):
            return Address(None, None)
        shown = f"cluster is ray, and RAY_ADDRESS {there!r} is no address: it must be ray://HOST:PORT or HOST:PORT"
    else:
        there = cluster
        shown = f"cluster must be ray, or an address such as ray://head:{CLIENT_PORT}, not {cluster!r}"
    found = re.fullmatch(r"(?P<scheme>ray://)?(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\])(:(?P<port>\d{1,5}))?/?", there)
    if found is None or (cluster != "ray" and not found["scheme"]) or not (found["scheme"] or found["port"]):
        raise ConfigError(shown)
    port = int(found["port"] or CLIENT_PORT)
    if not 1 <= port <= 65535:
        raise ConfigError(shown)
    return Address(f"{found['scheme'] or ''}{found['host']}:{port}", (found["host"].strip("[]"), port))


class RayCluster:
    """A connection to a cluster, which is one for the whole process."""

    def __init__(self, cluster: str, config: RayConfig, *, room_for: int) -> None:
        """Connect; within a minute, or not at all.

        Args:
            cluster: `ray`, or an address `ray://HOST:PORT`.
            room_for: how many workers a cluster that is started here has to hold; 0 for as many as there are cores.

        Raises:
            ConfigError: `cluster` or an option is wrong.
            MissingExtraError: Ray is not installed.
            TakeTwoError: there is no cluster, or it does not go with this Ray.
        """
        self._config = config
        self._address = address_of(cluster)
        runtime_env = _runtime_env(config.runtime_env)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        self._ray = ray
        if self._address.place is not None:
            _knock(self._address)
        try:
            with _own_signals(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Ray has to say of a failure is in its error too
                self._connect(runtime_env, room_for)
        except (TakeTwoError, KeyboardInterrupt):
            raise
        except BaseException as error:  # Ray exits the process for some mistakes, by SystemExit
            self.close()
            raise TakeTwoError(told_of(self.name, error)) from error

    @property
    def name(self) -> str:
        """For messages."""
        return self._address.name

    @property
    def spread(self) -> bool:
        """Whether it has more than one machine now, so that some workers may not run where the command does."""
        return len(self._machines()) > 1

    def room(self) -> int:
        """How many workers fit on the machines that it has now."""
        config = self._config
        rooms = 0
        for has in self._machines():
            fits = [has.get("CPU", 0.0) / config.cpus_per_worker]
            if config.gpus_per_worker:
                fits.append(has.get("GPU", 0.0) / config.gpus_per_worker)
            rooms += int(min(fits) + 1e-9)  # shares such as 0.1 are not exact
        return rooms

    def has(self) -> str:
        """What its machines have, for messages."""
        nodes = self._machines()
        cores, gpus = (sum(has.get(kind, 0.0) for has in nodes) for kind in ("CPU", "GPU"))
        return f"{_count(len(nodes), 'machine')} with {_count(cores, 'core')} and {_count(gpus, 'GPU')}"

    def close(self) -> None:
        """Disconnect; a cluster that was started here ends. Safe to call twice."""
        with _own_signals():
            self._ray.shutdown()

    def _machines(self) -> list[dict[str, float]]:
        """What each machine has, used or not."""
        nodes: list[dict[str, Any]] = self._ray.nodes()  # type: ignore[no-untyped-call]
        return [node["Resources"] for node in nodes if node["Alive"]]

    def _connect(self, runtime_env: Mapping[str, Any] | None, room_for: int) -> None:
        options: dict[str, Any] = {
            "logging_level": logging.CRITICAL,
            "log_to_driver": False,
            "runtime_env": runtime_env,
        }
        if self._address.given is not None:
            self._ray.init(self._address.given, **options)
            return
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        try:
            # More workers than cores are wanted sometimes, as with `--workers`; Ray goes by what it is told.
            self._ray.init(
                num_cpus=max(cores, int(room_for * self._config.cpus_per_worker + 0.999)),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **options,
            )
        except ValueError:  # there is one already, that `ray start` has begun: it takes no such options
            self._ray.init(**options)


def needs(config: RayConfig) -> str:
    """What a worker asks for, for messages."""
    return f"{_count(config.cpus_per_worker, 'core')} and {_count(config.gpus_per_worker, 'GPU')}"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"


def told_of(name: str, error: BaseException) -> str:
    """What is wrong with the cluster of this name, in a line."""
    text = one_line(error)
    if "ersion mismatch" in text:
        return f"{name} does not go with the Ray here: {_versions(text)}; install the same Ray and Python on both"
    if "ray[client]" in text:
        return f"{name} is reached by Ray's client, which is not installed: pip install 'ray[client]'"
    if isinstance(error, ConnectionError):
        return (
            f"{name} does not answer as one ({text}): is this its port for drivers ({CLIENT_PORT} unless told "
            "otherwise)? If it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        )
    return f"{name} cannot be used: {type(error).__name__}: {text}"


def _versions(text: str) -> str:
    """Which versions, out of Ray's message: of the cluster first."""
    told = re.findall(r"(Ray|Python): (\S+)", text)
    if len(told) < 4:
        return text
    there, here = told[:2], told[2:4]
    return ", ".join(f"{name} {a} there and {b} here" for (name, a), (_, b) in zip(there, here, strict=True) if a != b)


def _knock(address: Address) -> None:
    """Ray itself waits for minutes where nobody answers."""
    assert address.place is not None
    try:
        socket.create_connection(address.place, KNOCK_S).close()
    except OSError as error:
        reason = f"no answer in {KNOCK_S:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise TakeTwoError(
            f"{address.name} cannot be reached: {reason.lower()}; is it running (ray status on its head), and is this "
            f"its port for drivers ({CLIENT_PORT} unless told otherwise)?"
        ) from error


def _runtime_env(path: Path | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"runtime_env {path} cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"runtime_env {path} must hold a map, such as pip: [my-plugin]")
    return content


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and the command has its own way to stop."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not on the main thread, where Ray has not done it either
            for number, handler in before.items():
                signal.signal(number, handler)
