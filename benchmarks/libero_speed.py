"""Measures LIBERO in taketwo's session against `OffScreenRenderEnv` in the loop that evaluations have.

    python benchmarks/libero_speed.py [--quick] [--check] [--markdown docs/performance.md] [--json FILE]

Each side is a process; they take turns, one at a time. Where LIBERO's assets are: `TAKETWO_LIBERO_ASSETS`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from libero_workload import CAMERAS, CHUNK_LENGTH, PICTURE_SIZE
from sections import put_section
from session import Worker
from taketwo.gl import choose_backend, probe
from taketwo.seeding import episode_seed

TARGET = 5.0

LOOKS = {"no picture": (), "one camera": CAMERAS[:1], "both cameras": CAMERAS}
"""What our policy looks at when it plans."""


@dataclass(frozen=True)
class Plan:
    """How much to measure: episodes of so many steps of each task, in so many rounds."""

    rounds: int = 3
    steps: int = 96
    tasks: tuple[tuple[str, int], ...] = (("libero_object", 0), ("libero_spatial", 0), ("libero_10", 0))


QUICK = Plan(rounds=1, steps=32, tasks=(("libero_object", 0),))


@dataclass(frozen=True)
class Row:
    """One line of the table; rates are steps a second, medians over the rounds, as is the ratio."""

    task: str
    look: str
    ours: float
    theirs: float
    ratio: float

    @property
    def met(self) -> bool:
        """Whether it is as fast as promised."""
        return self.ratio >= TARGET


def main() -> None:
    options = _options()
    plan = QUICK if options.quick else Plan()
    choose_backend()
    machine = _machine()
    about, rounds = _measure(plan)
    rows = [_row(f"{suite} {task}", look, rounds) for suite, task in plan.tasks for look in LOOKS]
    _print(rows, machine)
    if options.markdown is not None:
        put_section(
            options.markdown, "benchmarks/libero_speed.py", _markdown(rows, machine, about, plan, options.quick)
        )
    if options.json is not None:
        content = {"machine": machine, "rows": [asdict(row) for row in rows], "rounds": rounds, "about": about}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    missed = [f"{row.task}, {row.look}" for row in rows if not row.met]
    if options.check and missed:
        raise SystemExit(f"error: missed: {'; '.join(missed)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure LIBERO in taketwo against LIBERO's usual loop.")
    parser.add_argument("--quick", action="store_true", help="half a minute instead of five; figures are coarse")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target is missed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


def _measure(plan: Plan) -> tuple[dict[str, dict[str, str]], list[dict[str, Any]]]:
    """What each side is made of, and every turn."""
    ours, theirs = (Worker(Path(sys.executable), script) for script in ("libero_ours.py", "libero_usual.py"))
    about = {"ours": ours.do("about"), "theirs": theirs.do("about")}
    turns = [
        _compare(ours, theirs, suite, task, plan.steps, number)
        for number in range(plan.rounds)
        for suite, task in plan.tasks
    ]
    ours.close()
    theirs.close()
    return about, turns


def _compare(ours: Worker, theirs: Worker, suite: str, task: int, steps: int, number: int) -> dict[str, Any]:
    """The same episode on their side, and on ours with each way to look.

    Raises:
        SystemExit: the sides did not come to the same state, bit for bit.
    """
    seed = episode_seed(number, 0)
    same = {"suite": suite, "task": task, "steps": steps, "seed": seed}
    usual = theirs.do("episode", **same)
    turn: dict[str, Any] = {"task": f"{suite} {task}", "theirs": usual, "ours": {}}
    for look, cameras in LOOKS.items():
        mine = ours.do("episode", session_seed=number, cameras=list(cameras), **same)
        for what in ("state", "steps"):
            if mine[what] != usual[what]:
                raise SystemExit(f"error: {suite} {task}: the sides differ in {what}: {mine[what]}, {usual[what]}")
        turn["ours"][look] = mine
    return turn


def _row(task: str, look: str, rounds: list[dict[str, Any]]) -> Row:
    pairs = [(turn["ours"][look], turn["theirs"]) for turn in rounds if turn["task"] == task]
    rates = [[side["steps"] / side["wall_s"] for side in pair] for pair in pairs]
    ours, theirs = (statistics.median(rate[side] for rate in rates) for side in (0, 1))
    return Row(task, look, ours, theirs, statistics.median(mine / usual for mine, usual in rates))


def _machine() -> str:
    about = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in about if line.startswith("model name")]
    backend = os.environ["MUJOCO_GL"]
    return (
        f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"load {os.getloadavg()[0]:.1f} before; {backend} on {probe(backend).renderer}; "
        f"Python {platform.python_version()}"
    )


def _print(rows: list[Row], machine: str) -> None:
    table = Table("", "looks at", "taketwo", "OffScreenRenderEnv", "", "target", "", title=machine)
    for row in rows:
        verdict = "[green]met[/]" if row.met else "[red]missed[/]"
        rates = f"{row.ours:.1f} steps/s", f"{row.theirs:.1f} steps/s"
        table.add_row(row.task, row.look, *rates, f"{row.ratio:.1f} x", f">= {TARGET:g} x", verdict)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def _markdown(rows: list[Row], machine: str, about: dict[str, dict[str, str]], plan: Plan, quick: bool) -> str:
    lines = "\n".join(
        f"| {row.task} | {row.look} | {row.ours:.1f} steps/s | {row.theirs:.1f} steps/s | {row.ratio:.1f} x "
        f"| >= {TARGET:g} x | {'yes' if row.met else '**no**'} |"
        for row in rows
    )
    ours, theirs = (", ".join(f"{name} {number}" for name, number in side.items()) for side in about.values())
    return TEMPLATE.format(
        command=f"python benchmarks/libero_speed.py{' --quick' if quick else ''} --markdown docs/performance.md",
        machine=machine,
        lines=lines,
        ours=ours,
        theirs=theirs,
        rounds=plan.rounds,
        steps=plan.steps,
        chunk=CHUNK_LENGTH,
        size=PICTURE_SIZE,
    )


TEMPLATE = """\
## LIBERO

Made by

    {command}

on: {machine}.

| task | what the policy looks at | taketwo | OffScreenRenderEnv | result | target | met |
|---|---|---|---|---|---|---|
{lines}

- taketwo: {ours}.
- The peer: {theirs}; `OffScreenRenderEnv` as evaluations have it: both {size} x {size} cameras in every observation.
- The policy plans {chunk} steps at a time. When it plans it looks at the cameras in the second column; the peer's
  draws both in every step, whatever the policy looks at. No video.
- Both sides run the same actions from the same initial state, taking turns in {rounds} rounds of {steps} steps. What
  MuJoCo's next step depends on is compared at the end of each, and the run fails if the sides differ in one bit.
  Figures are medians; the ratio is the median of the rounds' ratios. Resets are not counted.
- Why it is faster: pictures are drawn when somebody looks, and what lies out of a camera's view is left out of them.
  In each physics step robosuite computes the same forward pass three times, and taketwo once
  (`src/taketwo/envs/libero/stepping.py`).
"""


if __name__ == "__main__":
    main()
