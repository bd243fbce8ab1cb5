"""Plans past one machine: simulates clusters with measured costs, and writes the tables and pictures of docs/scale.md.

python benchmarks/fleet_costs.py        # measures the costs, about four minutes
python benchmarks/fleet_scale.py        # simulates, about a minute; the same figures each time
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fleet_cluster import Cluster, Ran, Served, serve, simulate
from sections import put_section

ROOT = Path(__file__).parents[1]
COSTS = Path(__file__).with_name("fleet_costs.json")
DOCUMENT = ROOT / "docs" / "scale.md"
IMAGES = ROOT / "docs" / "images"

PLANS = {10: 2, 100: 2, 1000: 16, 10_000: 128, 100_000: 128, 1_000_000: 1024}
"""Episodes, and workers that one might have for them."""

WORKERS = (2, 16, 128, 1024)

LLAMA_H = 54 * 24 * 2048 / 419
"""Hours until a machine of 8 GPUs was lost in Llama 3's training: 419 unexpected interruptions in 54 days of 16,384
GPUs (https://arxiv.org/abs/2407.21783, section 3.3.4)."""

DAY_H, HOUR_H = 24.0, 1.0
"""Hours until a machine that is rented at a discount is taken back: assumptions."""

RARE = 1e-3
"""Of attempts: an assumption; in the measured episodes there was no fault."""

MISHAPS: dict[str, Callable[[Cluster], Cluster]] = {
    "nothing goes wrong": lambda cluster: cluster,
    "machines as in Llama 3's training": lambda cluster: replace(cluster, machine_lasts_h=LLAMA_H),
    "rented machines, taken back after a day in the mean": lambda c: replace(c, machine_lasts_h=DAY_H),
    "rented machines, taken back after an hour": lambda cluster: replace(cluster, machine_lasts_h=HOUR_H),
    "1 attempt in 1000 crashes": lambda cluster: replace(cluster, crashes=RARE),
    "1 in 1000 hangs": lambda cluster: replace(cluster, hangs=RARE),
    "1 in 1000 hangs, `--silence_timeout_s=30`": lambda c: replace(c, hangs=RARE, silence_s=30.0),
    "1 in 5 crashes and 1 in 7 hangs": lambda cluster: replace(cluster, crashes=1 / 5, hangs=1 / 7),
    "the same, `--silence_timeout_s=30`": lambda c: replace(c, crashes=1 / 5, hangs=1 / 7, silence_s=30.0),
}
MISHAP_EPISODES, MISHAP_WORKERS = 1_000_000, 128

PASS_S, BATCH = 8 / 299, 16
"""What a policy server takes for a pass of 20 ms and all that comes with it: 8 clients got 299 answers a second from it
(docs/performance.md, Serving)."""

HORIZON = 8
"""Steps between two questions to the policy."""

SERVED_WORKERS = (1, 4, 8, 16, 32, 64, 128, 256, 1024)

INODE_BYTES = 16384
"""ext4 makes one inode for so much disk (`inode_ratio` in mke2fs.conf)."""

INODE_QUOTA = 1_000_000
"""Files that a user of a shared file system may have: an assumption; a common quota."""


@dataclass(frozen=True)
class Costs:
    """What `fleet_costs.py` has measured."""

    measured: Mapping[str, Any]

    @property
    def episode_s(self) -> list[float]:
        return list(self.measured["episodes"]["wall_s"])

    @property
    def step_s(self) -> float:
        return sum(self.episode_s) / float(sum(self.measured["episodes"]["steps"]))

    @property
    def gap_s(self) -> float:
        """Between two episodes: the run's time beyond its episodes, by their number."""
        many, few = self.measured["episodes"], self.measured["large_picture"]
        trials = len(many["steps"]) - len(few["steps"])
        return float(max(0.0, (many["not_in_trials_s"] - few["not_in_trials_s"]) / trials))

    @property
    def start_s(self) -> float:
        """Of a worker."""
        few = self.measured["large_picture"]
        return float(few["not_in_trials_s"] - self.gap_s * len(few["steps"]))

    def driver_s(self, workers: int) -> float:
        """Of the command, for a trial: a line through what was measured."""
        figures = self.measured["driver_s"]
        counts, seconds = [int(count) for count in figures], list(figures.values())
        slope, base = np.polyfit(np.array(counts, float), np.array(seconds), 1)
        return float(max(base + slope * workers, min(seconds)))

    @cached_property
    def merge_law(self) -> tuple[float, float]:
        """Seconds a dataset, and a pair of datasets."""
        counts, seconds = (np.array(list(side), float) for side in zip(*self._merges, strict=True))
        weights = 1 / seconds  # each point counts by its relative error
        terms = np.stack([counts, counts**2], axis=1)
        linear, square = np.linalg.lstsq(terms * weights[:, None], seconds * weights, rcond=None)[0]
        if square < 0:
            return float(np.mean(seconds[-2:] / counts[-2:])), 0.0
        return float(linear), float(square)

    @property
    def _merges(self) -> Iterable[tuple[int, float]]:
        return ((int(count), seconds) for count, seconds in self.measured["merge_s"].items())

    @property
    def merge_again_s(self) -> float:
        """Seconds an episode, where the parts have been merged before."""
        return float(self.measured["merge_again"]["seconds"] / self.measured["merge_again"]["episodes"])

    def merge_s(self, episodes: int) -> float:
        linear, square = self.merge_law
        return linear * episodes + square * episodes**2

    def bytes_of(self, kind: str, large: bool = False) -> float:
        return float(self.measured["large_picture" if large else "episodes"]["bytes"][kind])

    def video_rate(self, large: bool = False) -> float:
        """Bytes of one camera for one second of the environment's time."""
        figures = self.measured["large_picture" if large else "episodes"]
        return float(figures["bytes"]["videos"] / statistics.fmean(figures["sim_s"]))

    @property
    def numbers_bytes(self) -> float:
        """An episode without pictures."""
        return sum(self.bytes_of(kind) for kind in ("data", "traces", "meta", "result"))

    @property
    def entries(self) -> float:
        return self.bytes_of("entries")

    def kept(self, name: str) -> float:
        return float(self.measured["bookkeeping"][name])

    def cluster(self, workers: int) -> Cluster:
        return Cluster(workers, self.start_s, self.gap_s, self.driver_s(workers))


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate clusters with measured costs.")
    parser.add_argument("--costs", type=Path, default=COSTS, metavar="FILE", help="what fleet_costs.py has written")
    parser.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE", help="where the tables go")
    parser.add_argument("--images", type=Path, default=IMAGES, metavar="DIR", help="where the pictures go")
    options = parser.parse_args()
    costs = Costs(json.loads(options.costs.read_text()))
    runs = {
        (episodes, workers): simulate(episodes, costs.episode_s, costs.cluster(workers))
        for episodes in PLANS
        for workers in WORKERS
    }
    mishaps = {
        name: simulate(MISHAP_EPISODES, costs.episode_s, change(costs.cluster(MISHAP_WORKERS)))
        for name, change in MISHAPS.items()
    }
    served = {workers: _served(costs, workers) for workers in SERVED_WORKERS}
    tables = {
        "measured": _measured(costs),
        "plans": _plans(costs, runs),
        "mishaps": _mishaps(mishaps),
        "policy": _policy(costs, served),
        "breaks": _breaks(costs, runs),
    }
    for name, table in tables.items():
        put_section(options.document, f"benchmarks/fleet_scale.py: {name}", table)
    _draw(costs, runs, served, options.images)


def _served(costs: Costs, workers: int) -> Served:
    mean_s = HORIZON * costs.step_s
    return serve(workers, lambda random: mean_s * float(random.uniform(0.9, 1.1)), PASS_S, BATCH)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _measured(costs: Costs) -> str:
    episodes, large, kept = costs.measured["episodes"], costs.measured["large_picture"], costs.kept
    wall, steps = costs.episode_s, episodes["steps"]
    linear, square = costs.merge_law
    sizes = {kind: _size(costs.bytes_of(kind)) for kind in ("data", "traces", "meta", "result")}
    ends_s = kept("write_results_s") + kept("write_report_s")
    figures = {
        "an episode": f"{statistics.fmean(wall):.2f} s ({min(wall):.2f} to {max(wall):.2f}), "
        f"{statistics.fmean(steps):.0f} steps ({min(steps)} to {max(steps)})",
        "a step, with drawing and encoding": f"{costs.step_s * 1000:.1f} ms",
        "between two episodes of a worker": f"{costs.gap_s * 1000:.0f} ms",
        "a worker's start": f"{costs.start_s:.1f} s",
        "faults": f"{episodes['faults'] + large['faults']} in {len(steps) + len(large['steps'])} episodes",
        "an episode without pictures": f"{_size(costs.numbers_bytes)}: states and actions {sizes['data']}, simulator "
        f"states {sizes['traces']}, statistics and descriptions {sizes['meta']}, result {sizes['result']}",
        "a second of video of a camera, 50 Hz": f"{_size(costs.video_rate())} at 224 x 224, "
        f"{_size(costs.video_rate(large=True))} at 640 x 480",
        "files and folders of an episode": f"{costs.entries:.0f}; the merged dataset has {episodes['merged_files']} "
        f"files for all {len(steps)}",
        "merging": f"{linear * 1000:.1f} ms an episode"
        + (f", and {square * 1e6:.1f} us a pair of episodes" if square else "")
        + f"; measured with {', '.join(costs.measured['merge_s'])}",
        "merging what was merged": f"{costs.merge_again_s * 1000:.1f} ms an episode",
        "the command's own work for an episode": ", ".join(
            f"{seconds * 1000:.2f} ms with {count} workers" for count, seconds in costs.measured["driver_s"].items()
        ),
        "ledger, and results.json": f"{kept('ledger_bytes'):.0f}, and {kept('results_bytes'):.0f} bytes an episode",
        "reading what is done, to go on after a stop": f"{kept('adopt_s') * 1e6:.0f} us an episode",
        "writing results.json and report.html": f"{ends_s * 1e6:.0f} us an episode",
    }
    return f"On {costs.measured['machine']}:\n\n" + _table(("what", "measured"), figures.items())


PLANS_HEAD = ("episodes", "workers", "run", "merge", "core-hours", "workers busy", "command busy", "without pictures",
              "video, one camera", "files and folders", "ledger")  # fmt: skip


def _plans(costs: Costs, runs: Mapping[tuple[int, int], Ran]) -> str:
    rows = []
    for episodes, workers in PLANS.items():
        ran, merge_s = runs[episodes, workers], costs.merge_s(episodes)
        hours = (workers * ran.wall_s + merge_s) / 3600
        row = (
            f"{episodes:,}",
            f"{workers:,}",
            _time(ran.wall_s),
            _time(merge_s),
            f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}",
            f"{ran.useful_s / (workers * ran.wall_s):.0%}",
            f"{ran.driver_s / ran.wall_s:.1%}",
            _size(episodes * costs.numbers_bytes),
            _size(episodes * costs.bytes_of("videos")),
            f"{episodes * costs.entries:,.0f}",
            _size(episodes * costs.kept("ledger_bytes")),
        )
        rows.append(row)
    return _table(PLANS_HEAD, rows)


def _mishaps(mishaps: Mapping[str, Ran]) -> str:
    calm = next(iter(mishaps.values()))
    rows = [
        (
            name,
            _time(ran.wall_s),
            f"{ran.wall_s / calm.wall_s:.2f} x",
            f"{ran.lost:,}",
            f"{ran.lost_s / (ran.lost_s + ran.useful_s):.1%}",
            f"{ran.faults:,}",
        )
        for name, ran in mishaps.items()
    ]
    return _table(("", "run", "against the first", "attempts lost", "of the workers' time", "faults"), rows)


def _policy(costs: Costs, served: Mapping[int, Served]) -> str:
    rows = []
    think_s = HORIZON * costs.step_s
    for workers, one in served.items():
        slower = (think_s + one.latency_s) / think_s
        alone = (think_s + served[1].latency_s) / think_s
        rows.append(
            (
                f"{workers:,}",
                f"{workers / (think_s + PASS_S):,.0f}/s",
                f"{one.rate:,.0f}/s",
                f"{one.latency_s * 1000:,.0f} ms",
                f"{slower / alone:.2f} x",
                f"{max(1, -(-workers // _fits(served, think_s)))}",
            )
        )
    head = ("workers", "they would ask", "one server answers", "an answer takes", "episodes take", "servers wanted")
    return _table(head, rows)


def _fits(served: Mapping[int, Served], think_s: float) -> int:
    """The most workers of those simulated that one server slows down by less than a fifth, against one worker alone."""
    alone = think_s + served[1].latency_s
    return max(workers for workers, one in served.items() if think_s + one.latency_s < 1.2 * alone)


def _breaks(costs: Costs, runs: Mapping[tuple[int, int], Ran]) -> str:
    rows = []
    for episodes, workers in PLANS.items():
        if episodes < 1000:
            continue
        run_s, merge_s = runs[episodes, workers].wall_s, costs.merge_s(episodes)
        entries = episodes * costs.entries
        after_s = episodes * (costs.kept("write_results_s") + costs.kept("write_report_s"))
        rows.append(
            (
                f"{episodes:,}",
                f"{_time(merge_s)}, {merge_s / run_s:.1f} x the run",
                _time(costs.merge_s(episodes // 10) + episodes * costs.merge_again_s),
                f"{entries / INODE_QUOTA:.2g} of a quota of a million; all of {_size(entries * INODE_BYTES)} of ext4",
                f"{runs[episodes, workers].driver_s / run_s:.0%} busy",
                f"{_size(episodes * costs.kept('ledger_bytes'))}, "
                f"results.json {_size(episodes * costs.kept('results_bytes'))}, written in {_time(after_s)}",
                _time(episodes * costs.kept("adopt_s")),
            )
        )
    head = (
        "episodes",
        "merge",
        "of ten runs at once, and again",
        "files and folders",
        "command",
        "ledger and results",
        "until it goes on after a stop",
    )
    full = statistics.fmean(costs.episode_s) + costs.gap_s
    most = next(workers for workers in range(1, 1_000_000) if workers * costs.driver_s(workers) > full)
    last = f"\nFrom {most:,} workers on the command has no time left, with episodes as short as these.\n"
    return _table(head, rows) + last


def _time(seconds: float) -> str:
    for unit, length, above in (("days", 86400, 2 * 86400), ("h", 3600, 2 * 3600), ("min", 60, 120)):
        if seconds >= above:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 20 else f"{value:.1f} {unit}"
    return f"{count:.0f} bytes"


def _draw(costs: Costs, runs: Mapping[tuple[int, int], Ran], served: Mapping[int, Served], folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "taketwo", "svg.fonttype": "none", "font.size": 9, "axes.grid": True})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "grid.alpha": 0.3})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for workers in WORKERS:
        hours = [runs[episodes, workers].wall_s / 3600 for episodes in PLANS]
        axes.loglog(list(PLANS), hours, marker="o", markersize=3, label=f"run, {workers:,} workers")
    merges = [costs.merge_s(episodes) / 3600 for episodes in PLANS]
    axes.loglog(list(PLANS), merges, "k--", label="merge, one process")
    axes.set(xlabel="episodes", ylabel="hours", title="simulated with measured costs")
    axes.legend(frameon=False)
    _save(figure, folder / "scale_time.svg")

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    think_s = HORIZON * costs.step_s
    axes.loglog(
        list(served), [one.rate for one in served.values()], marker="o", markersize=3, label="one server answers"
    )
    axes.loglog(list(served), [n / (think_s + PASS_S) for n in served], "k--", label="workers would ask")
    axes.set(xlabel="workers", ylabel="answers a second", title="simulated with a measured pass")
    axes.legend(frameon=False)
    _save(figure, folder / "scale_policy.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
