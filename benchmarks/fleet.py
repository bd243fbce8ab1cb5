"""Measures taketwo's fleet: what a second worker brings, what Ray costs, and both against vla-eval with dummies.

    python benchmarks/fleet.py [--quick] [--check] [--markdown docs/performance.md] [--json FILE]

vla-eval runs in a virtual environment of its own, built on first use in `$XDG_CACHE_HOME/taketwo/bench-vla-eval`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import fleet_against
import fleet_cores
from fleet_peer import peer_python
from sections import put_section
from taketwo.gl import choose_backend, probe


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: how often the numbers of workers take turns.
        episodes: of each turn.
        dummy_rounds: how often the dummies take turns.
        dummy_episodes: of each turn.
        dummy_steps: of each episode.
    """

    rounds: int = 2
    episodes: int = 40
    dummy_rounds: int = 5
    dummy_episodes: int = 8
    dummy_steps: int = 200


FIGURES = {"step_ms": "a step", "between_ms": "between episodes", "first_ms": "until the first step"}
"""What is measured of the dummies."""

QUICK = Plan(rounds=1, episodes=8, dummy_rounds=1, dummy_episodes=4, dummy_steps=100)


@dataclass(frozen=True)
class Row:
    """A promise, and what came of it."""

    what: str
    ours: str
    theirs: str
    result: str
    target: str
    met: bool


def main() -> None:
    options = _options()
    plan = QUICK if options.quick else Plan()
    choose_backend()
    machine = _machine()
    with tempfile.TemporaryDirectory() as folder:
        measured: dict[str, Any] = {}
        if options.part in ("all", "dummies"):
            (place := Path(folder) / "dummies").mkdir()
            counts = plan.dummy_rounds, plan.dummy_episodes, plan.dummy_steps
            measured["dummies"] = fleet_against.measure(*counts, place)
        if options.part in ("all", "cores"):
            (place := Path(folder) / "cores").mkdir()
            measured["cores"] = fleet_cores.measure(plan.rounds, plan.episodes, place)
    rows = _rows(measured)
    _print(rows, measured, machine)
    if options.markdown is not None:
        put_section(options.markdown, "benchmarks/fleet.py", _markdown(rows, measured, machine, plan, options.quick))
    if options.json is not None:
        content = {"machine": machine, "rows": [asdict(row) for row in rows], **measured}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    missed = [row.what for row in rows if not row.met]
    if options.check and missed:
        raise SystemExit(f"error: missed: {'; '.join(missed)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure taketwo's fleet, and against vla-eval.")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of twelve; figures are coarse")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target is missed")
    parser.add_argument("--part", choices=("all", "cores", "dummies"), default="all", help="measure one part only")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args()
    if options.markdown is not None and options.part != "all":
        parser.error("--markdown needs all parts")
    return options


def _rows(measured: dict[str, Any]) -> list[Row]:
    rows = []
    if "cores" in measured:
        rows += [
            _cores("ALOHA, two workers against one", measured["cores"], "two workers", "one worker", "command_s", 0.6),
            _cores("ALOHA, Ray against local", measured["cores"], "two Ray workers", "two workers", "run_s", 1.1),
        ]
    if "dummies" in measured:
        dummies = measured["dummies"]
        video, plain = "vla-eval, recording and video", "vla-eval, recording"
        rows += [
            _dummies("a step, numbers and video", dummies, "taketwo collect", video, "step_ms", 0.2),
            _dummies("a step, results; vla-eval rows, too", dummies, "taketwo eval", plain, "step_ms", 0.2),
            _dummies("between episodes, numbers and video", dummies, "taketwo collect", video, "between_ms", 1.0),
            _dummies(
                "between episodes, results; vla-eval rows, too", dummies, "taketwo eval", plain, "between_ms", 1.0
            ),
        ]
    return rows


def _cores(what: str, turns: list[dict[str, Any]], ours: str, theirs: str, figure: str, target: float) -> Row:
    pairs = [(turn[ours][figure], turn[theirs][figure]) for turn in turns]
    ratio = statistics.median(a / b for a, b in pairs)
    a, b = (f"{statistics.median(side):.1f} s" for side in zip(*pairs, strict=True))
    return Row(what, a, b, f"{ratio:.2f} x", f"<= {target:g} x", ratio <= target)


def _dummies(what: str, turns: dict[str, Any], ours: str, theirs: str, figure: str, target: float) -> Row:
    pairs = [(a[figure], b[figure]) for a, b in zip(turns[ours], turns[theirs], strict=True)]
    ratio = statistics.median(a / b for a, b in pairs)
    a, b = (f"{statistics.median(side):.2f} ms" for side in zip(*pairs, strict=True))
    return Row(what, a, b, f"{ratio:.2f} x", f"<= {target:g} x", ratio <= target)


def _outside_s(measured: dict[str, Any], name: str) -> float:
    """What the command takes besides the run itself."""
    return float(statistics.median(turn[name]["command_s"] - turn[name]["run_s"] for turn in measured["cores"]))


def _lines(turns: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every contender's median step and gap."""
    return [
        (name, *(f"{statistics.median(turn[figure] for turn in of):.2f} ms" for figure in FIGURES))
        for name, of in turns.items()
    ]


def _machine() -> str:
    about = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in about if line.startswith("model name")]
    backend = os.environ["MUJOCO_GL"]
    return (
        f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"load {os.getloadavg()[0]:.1f} before; {backend} on {probe(backend).renderer}; "
        f"Python {platform.python_version()}"
    )


def _versions() -> tuple[str, str]:
    ours = ", ".join(f"{name} {version(name)}" for name in ("taketwo", "ray", "gym-aloha", "mujoco", "av", "numpy"))
    ask = "from importlib.metadata import version as v; print(*(f'{n} {v(n)}' for n in %r), sep=', ')"
    names = ("vla-eval", "websockets", "msgpack", "pillow", "imageio-ffmpeg", "numpy")
    python = peer_python("bench-vla-eval")
    theirs = subprocess.run([python, "-c", ask % (names,)], capture_output=True, text=True, check=True)
    return ours, theirs.stdout.strip()


def _print(rows: list[Row], measured: dict[str, Any], machine: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table("", "this", "against", "", "target", "", title=machine)
    for row in rows:
        verdict = "[green]met[/]" if row.met else "[red]missed[/]"
        table.add_row(row.what, row.ours, row.theirs, row.result, row.target, verdict)
    console.print(table)
    if "dummies" in measured:
        table = Table("dummies", *FIGURES.values())
        for line in _lines(measured["dummies"]):
            table.add_row(*line)
        console.print(table)


def _markdown(rows: list[Row], measured: dict[str, Any], machine: str, plan: Plan, quick: bool) -> str:
    ours, theirs = _versions()
    return TEMPLATE.format(
        command=f"python benchmarks/fleet.py{' --quick' if quick else ''} --markdown docs/performance.md",
        machine=machine,
        lines="\n".join(
            f"| {row.what} | {row.ours} | {row.theirs} | {row.result} | {row.target} "
            f"| {'yes' if row.met else '**no**'} |"
            for row in rows
        ),
        figures=" | ".join(FIGURES.values()),
        dummies="\n".join(f"| {' | '.join(line)} |" for line in _lines(measured["dummies"])),
        ours=ours,
        theirs=theirs,
        rounds=plan.rounds,
        episodes=plan.episodes,
        steps=measured["cores"][0]["one worker"]["steps"] // plan.episodes,
        ray_s=_outside_s(measured, "two Ray workers"),
        local_s=_outside_s(measured, "two workers"),
        dummy_rounds=plan.dummy_rounds,
        dummy_episodes=plan.dummy_episodes,
        dummy_steps=plan.dummy_steps,
        size=fleet_against.PICTURE_SIZE,
        grain=fleet_against.GRAIN,
    )


TEMPLATE = """\
## Fleet

Made by

    {command}

on: {machine}.

| | this | against | result | target | met |
|---|---|---|---|---|---|
{lines}

| dummies | {figures} |
|---|---|---|---|
{dummies}

- taketwo: {ours}. vla-eval: {theirs}, in an environment of its own.
- ALOHA: {episodes} episodes of `taketwo collect` with the scripted policy, {steps} steps in the mean, one camera of
  224 x 224 in preview quality, into one dataset, in {rounds} rounds. Results and the hashes of every episode's states
  and actions are compared, and the benchmark fails if they differ. Two workers against one: the whole command, from its
  start to the merged dataset. Ray against local: the run, from the first worker's start to the last result. Importing,
  connecting, merging and the report take {ray_s:.1f} s more with Ray and {local_s:.1f} s without. The Ray cluster is on
  the same machine and stands before the command begins.
- Dummies: an environment and a model that do nothing on both sides, so what is left is the harness. Contenders take
  turns in {dummy_rounds} rounds of {dummy_episodes} episodes of {dummy_steps} steps, each by its own command:
  `taketwo collect`, `taketwo eval`, `vla-eval run --no-docker`. Figures are medians, ratios the medians of the rounds'.
- A step: from one call of the environment's `step` to the next. Between episodes: from the last step of one to the
  first step of the next; what ends a recording and begins the next one is in it. Starting the
  command and its processes is in neither, and lasts until the first step.
- Each side has its model in a process of its own behind its own wire and asks it in every step, with one picture of
  {size} x {size} and 14 numbers; `in process` is taketwo without a wire. The pictures were drawn by ALOHA beforehand,
  with grain of {grain:g} grey levels, with which they take as long to pack as LIBERO's; `smooth pictures` are without.
  vla-eval sends PNG and has no flag for anything else; `raw pictures` changes that from within its benchmark.
- Recording: vla-eval's rows have reward, done, success, action and state, as its LIBERO's do, and go to SQLite when an
  episode ends; with `--record-video`, there is an MP4 file too. `taketwo collect` writes a LeRobot dataset of all
  columns with the camera's video; what the encoder has left to do is in its gap. `taketwo eval` writes the result of
  every episode, and no rows.
"""


if __name__ == "__main__":
    main()
