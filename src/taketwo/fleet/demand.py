"""Where the time of a fleet goes, and what would make it faster: from measured times alone.

What counts is a worker's time from the end of its first trial on, since the first one loads libraries and policy.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taketwo.fleet.inference import ServerLoad
from taketwo.fleet.trials import TrialResult

LEAST_TRIALS = 3
LEAST_S = 2.0
"""With less than these nothing is said: it would be chance."""

BUSY = 0.9
"""Share of the cores' time from which on they are the limit."""

IDLE = 0.25
"""Share of the workers' time without a trial that is worth a word."""

SAID = {
    "policy": "the policy",
    "environment": "simulation",
    "reset": "resets",
    "rest": "pictures for recordings, and the rest",
}


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        workers: how many have finished a trial.
        trials: how many are counted.
        span_s: how long the workers have been there, together.
        spent_s: how long they have spent with what: `policy`, `environment`, `reset`, `rest`. The pictures that a
            policy looks at are drawn in its time.
        cores_busy: share of the time of this machine's cores that something ran on them; None where unknown, such as
            with workers on other machines.
        cores: of this machine.
        shared: whether the workers share a policy server that the command has started.
        server: what that has done meanwhile.
    """

    workers: int
    trials: int
    span_s: float
    spent_s: Mapping[str, float]
    cores_busy: float | None = None
    cores: int = 1
    shared: bool = False
    server: ServerLoad | None = None

    @property
    def busy_s(self) -> float:
        """How long they have been in trials, together."""
        return sum(self.spent_s.values())


def bottleneck(measured: Measured) -> list[str]:
    """Where the time goes and what to do about it, in two lines; none where too little was measured."""
    if measured.trials < LEAST_TRIALS or measured.busy_s < LEAST_S:
        return []
    shares = {name: spent / measured.busy_s for name, spent in measured.spent_s.items()}
    parts = [f"{SAID[name]} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1])]
    idle = max(0.0, 1 - measured.busy_s / measured.span_s) if measured.span_s > 0 else 0.0
    workers = "1 worker" if measured.workers == 1 else f"{measured.workers} workers"
    told = f"; {idle:.0%} of the time without an episode" if idle >= 0.05 else ""
    cores = "" if measured.cores_busy is None else f"; cores {measured.cores_busy:.0%} busy"
    return [f"time of {workers} in episodes: {', '.join(parts)}{told}{cores}", _advice(measured, shares, idle)]


def _advice(measured: Measured, shares: Mapping[str, float], idle: float) -> str:
    server = measured.server
    if measured.shared and shares["policy"] >= 0.4 and server is not None and server.queue_s > server.inference_s:
        waits, takes = (1000 * spent / server.answers for spent in (server.queue_s, server.inference_s))
        return (
            f"bottleneck: the policy server; a request waits {waits:.0f} ms for its turn and takes {takes:.0f} ms: "
            "more workers give nothing; a faster GPU, or longer action chunks, do"
        )
    if idle >= IDLE:
        return "bottleneck: none in the episodes; workers wait between them: fewer workers, or longer episodes"
    saturated = measured.cores_busy is not None and measured.cores_busy >= BUSY
    most = max(shares, key=lambda name: shares[name])
    if saturated and measured.workers > measured.cores:
        return (
            f"bottleneck: the cores; {measured.workers} workers share {measured.cores}: "
            f"--workers={measured.cores} gives the same rate with less memory"
        )
    if saturated:
        return f"bottleneck: the cores, most of all for {SAID[most]}: {_LESS[most]}, or more cores"
    more = _more(measured)
    return f"bottleneck: {SAID[most]}: {_policy_less(measured) if most == 'policy' else _LESS[most]}{more}"


_LESS = {
    "policy": "a smaller policy, or longer action chunks, help",
    "environment": "a coarser or faster simulation helps",
    "reset": "longer episodes, or trials of a task one after the other, help",
    "rest": "fewer or smaller cameras, or --video.mode=off, help",
}


def _policy_less(measured: Measured) -> str:
    if measured.shared or measured.workers == 1:
        return _LESS["policy"]
    return "each worker has its own; on a GPU --inference=server answers them in batches"


def _more(measured: Measured) -> str:
    """Whether more workers would help."""
    if measured.cores_busy is None or measured.workers >= measured.cores:
        return ""
    free = f"{1 - measured.cores_busy:.0%} of {measured.cores} cores"
    return f"; so do more workers, as {measured.workers} leave {free} free"


class Cores:
    """How busy this machine's cores are, by what Linux counts (proc_stat(5))."""

    def __init__(self, path: Path = Path("/proc/stat")) -> None:
        """Measure from now on."""
        self._path = path
        self._before = self._read()

    @property
    def count(self) -> int:
        """How many this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def busy(self) -> float | None:
        """Share of their time that something ran, since `restart`; None where it is not counted."""
        now = self._read()
        if now is None or self._before is None or now[1] <= self._before[1]:
            return None
        return 1 - (now[0] - self._before[0]) / (now[1] - self._before[1])

    def restart(self) -> None:
        """Measure from now on."""
        self._before = self._read()

    def _read(self) -> tuple[int, int] | None:
        """Idle and all ticks."""
        try:
            first = self._path.read_text(encoding="ascii").splitlines()[0].split()
            ticks = list(map(int, first[1:9]))  # those of guests are in the others already
        except (OSError, ValueError, IndexError):
            return None
        return ticks[3] + ticks[4], sum(ticks)


@dataclass
class _Own:
    """What is known of a worker."""

    since: float
    until: float
    trials: int = 0
    spent_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


class Demand:
    """Takes note of finished trials."""

    def __init__(
        self,
        *,
        cores: Cores | None,
        load: Callable[[], ServerLoad | None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Measure from now on.

        Args:
            cores: None where workers run on other machines.
            load: what the shared policy server has done; None where there is none.
            now: gives seconds.
        """
        self._cores, self._load, self._now = cores, load, now
        self._workers: dict[str, _Own] = {}
        self._load_before: ServerLoad | None = None

    def ended(self, result: TrialResult) -> None:
        """A trial has ended."""
        now = self._now()
        own = self._workers.get(result.worker)
        if own is None:
            self._workers[result.worker] = _Own(now, now)
            self._restart()
            return
        own.until = now
        own.trials += 1
        known = {name: result.timings_s.get(name, 0.0) for name in SAID if name != "rest"}
        for name, spent in known.items():
            own.spent_s[name] += spent
        own.spent_s["rest"] += max(0.0, result.wall_s - sum(known.values()))

    def measured(self) -> Measured:
        """What there is up to now."""
        own = list(self._workers.values())
        spent = {name: sum(worker.spent_s[name] for worker in own) for name in SAID}
        return Measured(
            workers=len(own),
            trials=sum(worker.trials for worker in own),
            span_s=sum(worker.until - worker.since for worker in own),
            spent_s=spent,
            cores_busy=None if self._cores is None else self._cores.busy(),
            cores=1 if self._cores is None else self._cores.count,
            shared=self._load is not None,
            server=self._server(),
        )

    def lines(self) -> list[str]:
        """Where the time goes and what to do about it; none where too little was measured."""
        return bottleneck(self.measured())

    def _restart(self) -> None:
        """One worker more is past its first trial: cores and server, which all share, are measured from there.

        What is known of the other workers stays, since it is theirs alone.
        """
        if self._cores is not None:
            self._cores.restart()
        if self._load is not None:
            self._load_before = self._load()

    def _server(self) -> ServerLoad | None:
        now = None if self._load is None else self._load()
        before = self._load_before
        if now is None or before is None or now.answers <= before.answers:
            return None
        return ServerLoad(
            now.answers - before.answers, now.queue_s - before.queue_s, now.inference_s - before.inference_s
        )
