"""Measures taketwo's datasets against LeRobot itself: recording them, and reading frames at random.

    python benchmarks/dataset.py [--quick] [--check] [--markdown docs/performance.md] [--json FILE]

LeRobot 0.4.4 and 0.6.1 run in environments of their own, which `scripts/peer_environment.sh` builds on first use.
Everybody records the same pictures, by turns, one at a time, each turn in a new process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from dataset_process import MemoryWatch, Process, quiet_environment
from dataset_report import DEFAULT, FINE, OURS, VERSIONS, machine, print_table, rows_of, write_section
from dataset_rollout import rollout_folder
from dataset_workload import IMAGE_PREFIX

LEAST_PSNR = 26.0
FIRST_ROWS = 10
"""Rows of an episode that is recorded first, so that what libraries load when they are first used is there."""

HERE = Path(__file__).parent
PEER_SCRIPT = HERE.parent / "scripts" / "peer_environment.sh"


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: how often all take turns.
        episodes: of each turn.
        rows: of each episode.
        reads: random frames of each turn.
    """

    rounds: int = 3
    episodes: int = 4
    rows: int = 150
    reads: int = 200


QUICK = Plan(rounds=1, episodes=2, rows=50, reads=40)


@dataclass(frozen=True)
class Contender:
    """Somebody who records.

    Attributes:
        name: such as `0.6.1 best`, or `taketwo`.
        mode: what its worker calls its way to record.
    """

    name: str
    python: Path
    script: str
    mode: str


def main() -> None:
    options = _options()
    plan = QUICK if options.quick else Plan()
    rollout = rollout_folder()
    with tempfile.TemporaryDirectory(prefix="taketwo-bench-") as folder:
        quiet_environment(Path(folder))
        about_machine = machine()
        measured = Benchmark(plan, rollout, Path(folder)).run()
    rows = rows_of(measured)
    print_table(rows, about_machine)
    if options.markdown is not None:
        command = f"python benchmarks/dataset.py{' --quick' if options.quick else ''} --markdown docs/performance.md"
        write_section(options.markdown, command, about_machine, rows, measured, plan)
    if options.json is not None:
        everything = {"machine": about_machine, "rows": [asdict(row) for row in rows], **measured}
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    missed = [row.what for row in rows if not row.met]
    if options.check and missed:
        raise SystemExit(f"error: missed: {'; '.join(missed)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure taketwo's datasets against LeRobot's.")
    parser.add_argument("--quick", action="store_true", help="three minutes instead of twenty; figures are coarse")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target is missed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table into its place there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


class Benchmark:
    """All turns of all contenders."""

    def __init__(self, plan: Plan, rollout: Path, folder: Path) -> None:
        self._plan = plan
        self._rollout = rollout
        self._folder = folder
        self._pythons = {version: _peer_python(version) for version in VERSIONS}
        self._contenders = [
            Contender(OURS, Path(sys.executable), "dataset_ours.py", "default"),
            Contender(FINE, Path(sys.executable), "dataset_ours.py", "fine"),
            *(
                Contender(f"{version} {mode}", python, "dataset_lerobot.py", mode)
                for version, python in self._pythons.items()
                for mode in ("default", "best")
            ),
        ]

    def run(self) -> dict[str, Any]:
        """Every figure; the datasets are those of the last round."""
        return {
            "about": {contender.name: self._about(contender) for contender in self._contenders},
            "unpaced": [self._round(self._unpaced, number) for number in range(self._plan.rounds)],
            "quality": {contender.name: self._quality(contender) for contender in self._contenders},
            "reading": [self._read_round(number) for number in range(self._plan.rounds)],
            "at_rate": [self._round(self._at_rate, number) for number in range(self._plan.rounds)],
        }

    def _round(self, job: Callable[[Contender], dict[str, Any]], number: int) -> dict[str, Any]:
        """One turn each; every round begins with another one."""
        first = number % len(self._contenders)
        return {contender.name: job(contender) for contender in self._contenders[first:] + self._contenders[:first]}

    def _about(self, contender: Contender) -> dict[str, str]:
        with self._process(contender) as worker:
            about: dict[str, str] = worker.do("about")
        return about

    def _unpaced(self, contender: Contender) -> dict[str, Any]:
        root = self._root(contender)
        shutil.rmtree(root, ignore_errors=True)
        with self._process(contender) as worker:
            first = self._folder / "first"
            worker.do("unpaced", **self._recording(contender, first) | {"episodes": 2, "rows": FIRST_ROWS})
            shutil.rmtree(first)
            with MemoryWatch(worker.pid) as memory:
                turn: dict[str, Any] = worker.do("unpaced", **self._recording(contender, root))
        return turn | {"growth_mb": memory.growth_mb}

    def _at_rate(self, contender: Contender) -> dict[str, Any]:
        root = self._folder / "at-rate"
        with self._process(contender) as worker:
            turn: dict[str, Any] = worker.do("at_rate", **self._recording(contender, root))
        shutil.rmtree(root)
        return turn

    def _quality(self, contender: Contender) -> dict[str, float]:
        with self._process(self._contenders[0]) as worker:
            quality: dict[str, float] = worker.do(
                "quality", root=str(self._root(contender)), episodes=self._plan.episodes, rows=self._plan.rows
            )
        return quality

    def _read_round(self, number: int) -> dict[str, Any]:
        """One camera's frames: by our reader on our file, by LeRobot on its default file and on ours."""
        ours, *peers = self._contenders
        common = {"count": self._plan.reads, "seed": number}
        of_file = {"episodes": self._plan.episodes, "rows": self._plan.rows}
        with self._process(ours) as worker:
            turn = {OURS: worker.do("read", root=str(self._root(ours)), **common)}
        for peer in (peer for peer in peers if peer.name in DEFAULT):
            with self._process(peer) as worker:
                for backend, (whose, root) in product(
                    ("pyav", "torchcodec"), (("own", self._root(peer)), ("taketwo", self._root(ours)))
                ):
                    path = root / "videos" / (IMAGE_PREFIX + "top") / "chunk-000" / "file-000.mp4"
                    answer = worker.do("read", path=str(path), backend=backend, **of_file, **common)
                    turn[f"{peer.name.split()[0]} {backend} {whose}"] = answer
        for reader, answer in turn.items():
            if answer["worst_psnr"] < LEAST_PSNR:
                raise SystemExit(f"error: {reader} read a frame that is another: {answer['worst_psnr']:.1f} dB")
        return turn

    def _recording(self, contender: Contender, root: Path) -> dict[str, Any]:
        return {
            "mode": contender.mode,
            "root": str(root),
            "episodes": self._plan.episodes,
            "rows": self._plan.rows,
        }

    def _root(self, contender: Contender) -> Path:
        return self._folder / contender.name.replace(" ", "-")

    @contextmanager
    def _process(self, contender: Contender) -> Iterator[Process]:
        with Process(contender.python, contender.script, self._folder / "worker.log") as worker:
            worker.do("prepare", rollout=str(self._rollout))
            yield worker


def _peer_python(version: str) -> Path:
    built = subprocess.run([PEER_SCRIPT, version], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        raise SystemExit(f"error: there is no LeRobot {version} to measure against; what was said stands above")
    return Path(built.stdout.strip())


if __name__ == "__main__":
    main()
