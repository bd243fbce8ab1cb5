"""Measures taketwo's session loop against gym_aloha under openpi's client runtime, and our own promises.

    python benchmarks/session.py [--quick] [--check] [--markdown docs/performance.md] [--json FILE]

Each side is a process with a virtual environment of its own; the peer's is built on first use in
`$XDG_CACHE_HOME/taketwo/bench-openpi`. Both run the same policy on the same seeds, by turns, one at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sections import put_section
from taketwo.gl import choose_backend, probe
from taketwo.seeding import episode_seed

HERE = Path(__file__).parent
PEER_PINS = HERE.parent / "requirements" / "bench-openpi.txt"


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: how often the two sides take turns.
        steps: of each turn.
        overhead_steps: of each round of the idle loop.
        real_time_steps: at 50 Hz.
    """

    rounds: int = 3
    steps: int = 300
    overhead_steps: int = 20_000
    real_time_steps: int = 1500


QUICK = Plan(rounds=1, steps=40, overhead_steps=5000, real_time_steps=250)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        result: what is to be compared with the target.
        target: what is promised.
        met: whether it is kept.
    """

    what: str
    ours: str
    theirs: str
    result: str
    target: str
    met: bool


class Worker:
    """A process that does measuring jobs, one at a time."""

    def __init__(self, python: Path, script: str) -> None:
        self._script = script
        self._process = subprocess.Popen(
            [python, HERE / script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def do(self, job: str, **options: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died before; there is no answer then either
            self._process.stdin.write(json.dumps({"job": job, **options}) + "\n")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {self._script} died during {job}; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    options = _options()
    plan = QUICK if options.quick else Plan()
    choose_backend()
    machine = _machine()
    measured = _measure(plan)
    rows = _rows(measured)
    _print(rows, machine)
    if options.markdown is not None:
        put_section(
            options.markdown,
            "benchmarks/session.py",
            _markdown(rows, machine, measured["about"], plan, options.quick),
        )
    if options.json is not None:
        options.json.write_text(
            json.dumps({"machine": machine, "rows": [asdict(row) for row in rows], **measured}, indent=1) + "\n"
        )
    missed = [row.what for row in rows if not row.met]
    if options.check and missed:
        raise SystemExit(f"error: missed: {'; '.join(missed)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure taketwo against openpi's client runtime.")
    parser.add_argument("--quick", action="store_true", help="a minute instead of five; figures are coarse")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target is missed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


def _peer_python() -> Path:
    """The interpreter of the peer's virtual environment, which is built where it is missing or outdated."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "taketwo" / "bench-openpi"
    python = home / "bin" / "python"
    stamp = home / "stamp"
    wanted = hashlib.sha256(PEER_PINS.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    if sys.version_info >= (3, 13):
        raise SystemExit("error: openpi-client asks for numpy 1, which has no wheel for Python 3.13: use 3.11 or 3.12")
    print(f"building the peer's environment in {home}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check"]
    if subprocess.run([*pip, "install", "--no-deps", "--requirement", str(PEER_PINS)]).returncode:
        raise SystemExit("error: the peer's environment cannot be built; what pip said stands above")
    stamp.write_text(wanted)
    return python


def _measure(plan: Plan) -> dict[str, Any]:
    theirs = Worker(_peer_python(), "peer_openpi.py")
    ours = Worker(Path(sys.executable), "ours_taketwo.py")
    with tempfile.TemporaryDirectory() as folder:
        about = {"ours": ours.do("about"), "theirs": theirs.do("about")}
        for side in (ours, theirs):  # the first picture compiles shaders
            side.do("episode", seed=0, steps=20, action_horizon=1, video=None)
        measured = {
            "about": about,
            "every_step": _compare(ours, theirs, plan, action_horizon=1, folder=folder),
            "every_10": _compare(ours, theirs, plan, action_horizon=10, folder=None),
            "overhead": [
                {"ours": ours.do("overhead", steps=n), "theirs": theirs.do("overhead", steps=n)}
                for n in [plan.overhead_steps] * 5
            ],
        }
        theirs.close()
        measured["real_time"] = ours.do("real_time", steps=plan.real_time_steps, video=folder)
        ours.close()
    return measured


def _compare(ours: Worker, theirs: Worker, plan: Plan, action_horizon: int, folder: str | None) -> list[dict[str, Any]]:
    """The same episodes on both sides by turns.

    Raises:
        SystemExit: the sides' policies did not see the same pictures and states.
    """
    rounds = []
    for seed in range(plan.rounds):
        common = {"steps": plan.steps, "action_horizon": action_horizon}
        a = ours.do("episode", seed=seed, video=folder, **common)
        video = folder and str(Path(folder) / "peer.mp4")
        b = theirs.do("episode", seed=episode_seed(seed, 0), video=video, **common)
        for same in ("fingerprint", "pictures", "steps"):
            if a[same] != b[same]:
                raise SystemExit(f"error: the sides differ in {same}: ours {a[same]}, theirs {b[same]}")
        rounds.append({"ours": a, "theirs": b, "ratio": b["wall_s"] / a["wall_s"]})
    return rounds


def _rows(measured: dict[str, Any]) -> list[Row]:
    return [
        _speed("video of every frame, policy sees every frame", measured["every_step"], 3),
        _speed("no video, replanning every 10 steps", measured["every_10"], 20),
        _memory(measured),
        _overhead(measured),
        _punctuality(measured["real_time"]),
    ]


def _speed(what: str, rounds: list[dict[str, Any]], target: float) -> Row:
    rates = {
        side: statistics.median(turn[side]["steps"] / turn[side]["wall_s"] for turn in rounds)
        for side in ("ours", "theirs")
    }
    ratio = statistics.median(turn["ratio"] for turn in rounds)
    ours, theirs = (f"{rates[side]:.1f} steps/s" for side in ("ours", "theirs"))
    return Row(what, ours, theirs, f"{ratio:.1f} x", f">= {target:g} x", ratio >= target)


def _memory(measured: dict[str, Any]) -> Row:
    ours = measured["real_time"]["growth_mb_per_1000"]
    # What it let go of after the first filmed episode is used again for the next ones.
    theirs = measured["every_step"][0]["theirs"]["growth_mb_per_1000"]
    return Row(
        "memory growth in 1,000 filmed steps",
        f"{ours:.2f} MB",
        f"{theirs:.0f} MB",
        f"{ours:.2f} MB",
        "< 1 MB",
        ours < 1,
    )


def _overhead(measured: dict[str, Any]) -> Row:
    ours, bare = (
        statistics.median(turn[side]["us_per_step"] for turn in measured["overhead"]) for side in ("ours", "theirs")
    )
    around = statistics.median(turn["theirs"]["outside_step_ms"] for turn in measured["every_step"])
    theirs = f"{bare:.0f} us bare, {around:.1f} ms around the simulator's step"
    return Row("loop overhead a step", f"{ours:.0f} us", theirs, f"{ours:.0f} us", "< 50 us", ours < 50)


def _punctuality(figures: dict[str, Any]) -> Row:
    p99, overruns = figures["jitter_ms_p99"], figures["overruns"]
    ours = f"p50 {figures['jitter_ms_p50']:.2f} ms, p99 {p99:.2f} ms"
    result = f"p99 {p99:.2f} ms, {overruns} overruns"
    met = p99 < 2 and overruns == 0
    return Row("lateness at 50 Hz, filmed 224 x 224 preview", ours, "-", result, "p99 < 2 ms, 0 overruns", met)


def _machine() -> str:
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    backend = os.environ["MUJOCO_GL"]
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before; "
        f"{backend} on {probe(backend).renderer}; Python {platform.python_version()}"
    )


def _print(rows: list[Row], machine: str) -> None:
    table = Table("", "taketwo", "openpi client + gym_aloha", "", "target", "", title=machine)
    for row in rows:
        verdict = "[green]met[/]" if row.met else "[red]missed[/]"
        table.add_row(row.what, row.ours, row.theirs, row.result, row.target, verdict)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def _markdown(rows: list[Row], machine: str, about: dict[str, dict[str, str]], plan: Plan, quick: bool) -> str:
    lines = "\n".join(
        f"| {row.what} | {row.ours} | {row.theirs} | {row.result} | {row.target} | {'yes' if row.met else '**no**'} |"
        for row in rows
    )
    sides = [", ".join(f"{name} {number}" for name, number in about[side].items()) for side in ("ours", "theirs")]
    return TEMPLATE.format(
        command=f"python benchmarks/session.py{' --quick' if quick else ''} --markdown docs/performance.md",
        machine=machine,
        lines=lines,
        ours=sides[0],
        theirs=sides[1],
        rounds=plan.rounds,
        steps=plan.steps,
        real_time_steps=plan.real_time_steps,
    )


TEMPLATE = """\
# Performance

Made by

    {command}

on: {machine}.

| | taketwo | openpi client + gym_aloha | result | target | met |
|---|---|---|---|---|---|
{lines}

- taketwo: {ours}.
- The peer: {theirs}, in an environment of its own.
  Runtime, chunk broker and resizing are `openpi_client`'s own; `benchmarks/peer_openpi.py` stands in for its
  ALOHA example, which is not a package.
- Both sides run the same policy from the same seeds, taking turns in {rounds} rounds of {steps} steps. Figures are
  medians; the ratio is the median of the rounds' ratios. A turn lasts from the episode's reset until its video
  is written.
- One view of 480 x 640 is resized to 224 x 224 with padding. Every picture and state that the policies saw is
  fingerprinted, and the run fails if the sides differ in one bit.
- Why it is faster: `gym_aloha` draws three views in every step and hands out one; taketwo draws a view when
  somebody looks at it. The view itself takes about a seventh less time in software, as its shadow map is kept small
  (`src/taketwo/envs/shadow_map.py`).
- The videos differ: taketwo's shows the full 480 x 640 and is encoded while the episode runs; the peer's is 224 x 224,
  kept in memory and encoded at the end.
- Memory: slope of the resident set over steps, with 224 x 224 frames. taketwo's: in the session that lateness is
  measured in, of several episodes, after a third of it. The peer's: within its first filmed episode; what the
  frames of an episode took is used again for the next one's.
- Loop overhead: around an environment and a policy that do nothing, without video. The peer's second figure is
  all that happens around the simulator's step in the filmed episodes, resizing and writing the video included.
- Lateness: how long after its deadline a step begins, over {real_time_steps} steps at 50 Hz, drawn in preview quality
  (no shadows, no multisampling), filmed and seen by the policy in every step. An overrun is a step that begins
  late because the one before took too long.
"""


if __name__ == "__main__":
    main()
