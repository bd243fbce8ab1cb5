"""A simulated cluster: discrete events, so many workers, one command that hands out trials, and what goes wrong."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Cluster:
    """Workers, and what befalls them.

    Attributes:
        start_s: what a worker takes until its first episode: process, imports, environment.
        gap_s: between two episodes of a worker.
        driver_s: what the command itself does for a trial; one after the other.
        per_machine: workers of a machine, which are lost together.
        machine_lasts_h: until a machine is lost, in the mean; exponentially distributed.
        machine_back_s: until there is another one.
        crashes: share of attempts in which the worker dies, at any moment of them.
        hangs: share of attempts that stand still from some moment on.
        silence_s: after so long a worker that stands still is given up.
        max_attempts: at a trial; then it is a fault.
    """

    workers: int
    start_s: float
    gap_s: float
    driver_s: float
    per_machine: int = 8
    machine_lasts_h: float = math.inf
    machine_back_s: float = 600.0
    crashes: float = 0.0
    hangs: float = 0.0
    silence_s: float = 600.0
    max_attempts: int = 3


@dataclass
class Ran:
    """What came of a simulated run.

    Attributes:
        wall_s: from its beginning until its last trial has ended.
        useful_s: of workers, in attempts that came to their end.
        lost_s: of workers, in attempts that did not, and until the worker was there again.
        driver_s: of the command.
        lost: attempts that came to nothing.
        faults: trials without a result.
    """

    wall_s: float = 0.0
    useful_s: float = 0.0
    lost_s: float = 0.0
    driver_s: float = 0.0
    lost: int = 0
    faults: int = 0


@dataclass
class _Machines:
    """When machines are lost; each draws its next loss when the last one is over."""

    cluster: Cluster
    random: np.random.Generator
    lost_at: dict[int, float] = field(default_factory=dict)

    def loss(self, worker: int, began: float, ends: float) -> float | None:
        """When the worker's machine is lost meanwhile, if it is."""
        mean_s = self.cluster.machine_lasts_h * 3600
        if math.isinf(mean_s):
            return None
        machine = worker // self.cluster.per_machine
        at = self.lost_at.setdefault(machine, float(self.random.exponential(mean_s)))
        while at < began - self.cluster.machine_back_s:  # lost between its workers' episodes
            at = self.lost_at[machine] = at + float(self.random.exponential(mean_s))
        return max(at, began) if at < ends else None


def simulate(trials: int, episode_s: Sequence[float], cluster: Cluster, seed: int = 0) -> Ran:
    """Run so many trials.

    Args:
        episode_s: measured durations, of which each attempt draws one.
    """
    random = np.random.default_rng(seed)
    durations = random.choice(np.asarray(episode_s), trials)
    machines, ran = _Machines(cluster, random), Ran()
    free = [(cluster.start_s, worker) for worker in range(min(cluster.workers, trials))]
    again: list[tuple[float, int, int]] = []  # from when on, trial, attempts so far
    fresh, driver_free = 0, 0.0
    while free and (fresh < trials or again):
        at, worker = heapq.heappop(free)
        if fresh < trials and not (again and again[0][0] <= at):
            trial, attempts, fresh = fresh, 0, fresh + 1
        else:
            ready, trial, attempts = heapq.heappop(again)
            at = max(at, ready)
        began = driver_free = max(at, driver_free) + cluster.driver_s
        ran.driver_s += cluster.driver_s
        takes = float(durations[trial]) + cluster.gap_s
        lost_at, back_at = _mishap(cluster, machines, random, worker, began, takes)
        if lost_at is None:
            ran.useful_s += takes
            ran.wall_s = max(ran.wall_s, began + takes)
            heapq.heappush(free, (began + takes, worker))
            continue
        ran.lost += 1
        ran.lost_s += back_at - began
        heapq.heappush(free, (back_at, worker))
        if attempts + 1 < cluster.max_attempts:
            heapq.heappush(again, (lost_at, trial, attempts + 1))
        else:
            ran.faults += 1
            ran.wall_s = max(ran.wall_s, lost_at)
    return ran


def _mishap(
    cluster: Cluster, machines: _Machines, random: np.random.Generator, worker: int, began: float, takes: float
) -> tuple[float | None, float]:
    """When the attempt is found to be lost, if it is, and when the worker is there again."""
    lost_at = back_at = math.inf
    if cluster.crashes or cluster.hangs:
        fate, moment = map(float, random.random(2))
        if fate < cluster.crashes:
            lost_at = began + moment * takes
        elif fate < cluster.crashes + cluster.hangs:
            lost_at = began + moment * takes + cluster.silence_s
        back_at = lost_at + cluster.start_s
    machine = machines.loss(worker, began, min(began + takes, lost_at))
    if machine is not None:
        lost_at, back_at = machine, machine + cluster.machine_back_s + cluster.start_s
    return (None, 0.0) if math.isinf(lost_at) else (lost_at, back_at)


@dataclass(frozen=True)
class Served:
    """What a policy server made of its workers.

    Attributes:
        rate: answers a second.
        latency_s: from request to answer, in the mean.
    """

    rate: float
    latency_s: float


def serve(workers: int, think_s: Callable[[np.random.Generator], float], pass_s: float, batch: int) -> Served:
    """Simulate a batching server: workers that think, ask and wait, and passes over all that wait, up to `batch`."""
    random = np.random.default_rng(0)
    asks = [(think_s(random), worker) for worker in range(workers)]
    heapq.heapify(asks)
    now, answered, waited_s, first = 0.0, 0, 0.0, 0.0
    warm, enough = 20 * workers, 120 * workers
    while answered < enough:
        now = max(now, asks[0][0])
        asked = [heapq.heappop(asks) for _ in range(min(batch, len(asks))) if asks and asks[0][0] <= now]
        now += pass_s
        for at, worker in asked:
            heapq.heappush(asks, (now + think_s(random), worker))
            if answered >= warm:
                waited_s += now - at
            answered += 1
            if answered == warm:
                first = now
    return Served((answered - warm) / (now - first), waited_s / (answered - warm))
