"""Measures what viewers of the live stream cost a session at 50 Hz, beside a server as scripts have it.

    python benchmarks/live.py [--quick] [--check] [--markdown docs/performance.md] [--json FILE]

Session and viewers are processes of their own; contenders take turns, round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from live_session import CONTROL_HZ, HEIGHT, QUALITY, WIDTH
from sections import put_section
from taketwo.live.config import LiveConfig

HERE = Path(__file__).parent

JITTER_LIMIT = 2.0
GROWTH_LIMIT_MB = 2.0
"""Per 1,000 steps, in the second half of a session."""


@dataclass(frozen=True)
class Contender:
    """A server and its viewers.

    Attributes:
        viewing: which server; see live_session.py.
        reading: viewers that read.
        deaf: viewers that never do.
    """

    what: str
    viewing: str
    reading: int = 0
    deaf: int = 0


ALONE = Contender("no page", "nobody")
CROWD = Contender("taketwo, 50 viewers, 10 of them never read", "taketwo", 40, 10)
CONTENDERS = (
    ALONE,
    Contender("taketwo, no viewer", "taketwo"),
    Contender("taketwo, 1 viewer", "taketwo", 1),
    CROWD,
    Contender("http.server, 1 viewer", "http_server", 1),
    Contender("http.server, 50 viewers, 10 of them never read", "http_server", 40, 10),
)


@dataclass(frozen=True)
class Plan:
    """How much to measure: sessions of so many seconds, in so many rounds."""

    rounds: int = 3
    seconds: float = 20.0


QUICK = Plan(rounds=2, seconds=8.0)


def main() -> None:
    options = _options()
    plan = QUICK if options.quick else Plan()
    machine = _machine()
    rounds = [{contender: _measure(contender, plan.seconds) for contender in CONTENDERS} for _ in range(plan.rounds)]
    lines = [_line(contender, [each[contender] for each in rounds]) for contender in CONTENDERS]
    promises = _promises(rounds)
    _print(machine, lines, promises)
    if options.markdown is not None:
        put_section(options.markdown, "benchmarks/live.py", _markdown(machine, lines, promises, plan, options.quick))
    if options.json is not None:
        content = [{contender.what: told for contender, told in each.items()} for each in rounds]
        options.json.write_text(json.dumps({"machine": machine, "rounds": content}, indent=1) + "\n")
    missed = [what for what, _, _, met in promises if not met]
    if options.check and missed:
        raise SystemExit(f"error: missed: {'; '.join(missed)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what viewers of the live stream cost a session.")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of seven; figures are coarse")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target is missed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


def _measure(contender: Contender, seconds: float) -> dict[str, Any]:
    """One session, and the frames a second that each reading viewer got of it."""
    with _started("live_session.py", contender.viewing, f"--seconds={seconds}") as session:
        url = json.loads(_line_of(session))["url"]
        if not contender.reading:
            _write(session)
            return {**json.loads(_line_of(session)), "viewer_fps": []}
        counts = (f"--reading={contender.reading}", f"--deaf={contender.deaf}")
        with _started("live_viewers.py", url, *counts) as viewers:
            _line_of(viewers)
            _write(session)
            told = json.loads(_line_of(session))
            assert viewers.stdin is not None
            viewers.stdin.close()
            frames = json.loads(_line_of(viewers))
    return {**told, "viewer_fps": [count / seconds for count in frames]}


def _started(script: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, HERE / script, *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("error: a process died; what it said stands above")
    return line


def _write(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


HEAD = (
    "",
    "late, p50",
    "late, p99",
    "viewers that got pictures",
    "frames/s of the median viewer",
    "JPEGs per step",
    "memory",
    "growth in 1,000 steps, second half",
)


def _line(contender: Contender, rounds: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    def median(name: str) -> float:
        return statistics.median(each[name] for each in rounds)

    served = [sum(fps > 0 for fps in each["viewer_fps"]) for each in rounds]
    rates = [statistics.median(each["viewer_fps"]) for each in rounds if each["viewer_fps"]]
    encoded = statistics.median(each["encoded"] / each["steps"] for each in rounds)
    return (
        contender.what,
        f"{median('late_ms_p50'):.2f} ms",
        f"{median('late_ms_p99'):.2f} ms",
        f"{min(served)} of {contender.reading}" if contender.reading else "-",
        f"{statistics.median(rates):.1f}" if rates else "-",
        f"{encoded:.2f}",
        f"{median('memory_mb'):.0f} MB",
        f"{median('growth_mb_per_1000_steps'):+.1f} MB",
    )


Promise = tuple[str, str, str, bool]


def _promises(rounds: Sequence[dict[Contender, dict[str, Any]]]) -> list[Promise]:
    """What is promised of fifty viewers, what came of it, the target, and whether it is met."""

    def ratio(name: str) -> float:
        return statistics.median(each[CROWD][name] / each[ALONE][name] for each in rounds)

    median, tail = ratio("late_ms_p50"), ratio("late_ms_p99")
    per_step = max(each[CROWD]["encoded"] / each[CROWD]["steps"] for each in rounds)
    growth = statistics.median(each[CROWD]["growth_mb_per_1000_steps"] for each in rounds)
    served = min(sum(fps > 0 for fps in each[CROWD]["viewer_fps"]) for each in rounds)
    limit = LiveConfig().fps / CONTROL_HZ
    return [
        ("lateness against no viewers, p50", f"{median:.2f} x", f"<= {JITTER_LIMIT:g} x", median <= JITTER_LIMIT),
        ("lateness against no viewers, p99", f"{tail:.2f} x", f"<= {JITTER_LIMIT:g} x", tail <= JITTER_LIMIT),
        (
            "memory grows in 1,000 steps by",
            f"{growth:+.1f} MB",
            f"<= {GROWTH_LIMIT_MB:g} MB",
            growth <= GROWTH_LIMIT_MB,
        ),
        ("JPEGs per step, for all viewers together", f"{per_step:.2f}", f"<= {limit:.2f}", per_step <= limit * 1.02),
        ("reading viewers that are served", f"{served} of {CROWD.reading}", "all", served == CROWD.reading),
    ]


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    load = os.getloadavg()[0]
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, load {load:.1f} before; Python {platform.python_version()}"


def _print(machine: str, lines: Sequence[tuple[str, ...]], promises: Sequence[Promise]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(*HEAD, title=machine)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    table = Table("with 50 viewers", "result", "target", "")
    for what, result, target, met in promises:
        table.add_row(what, result, target, "[green]met[/]" if met else "[red]missed[/]")
    console.print(table)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _markdown(
    machine: str, lines: Sequence[tuple[str, ...]], promises: Sequence[Promise], plan: Plan, quick: bool
) -> str:
    kept = [(what, result, target, "yes" if met else "**no**") for what, result, target, met in promises]
    return TEMPLATE.format(
        command=f"python benchmarks/live.py{' --quick' if quick else ''} --markdown docs/performance.md",
        machine=machine,
        lines=_table(HEAD, lines),
        promises=_table(("with 50 viewers", "result", "target", "met"), kept),
        versions=", ".join(f"{name} {version(name)}" for name in ("taketwo", "uvicorn", "starlette", "pillow")),
        rounds=plan.rounds,
        seconds=plan.seconds,
        hz=CONTROL_HZ,
        width=WIDTH,
        height=HEIGHT,
        quality=QUALITY,
        fps=LiveConfig().fps,
    )


TEMPLATE = """
## Live view

`{command}`, {machine}; {versions}.

{lines}
{promises}
A session at {hz:g} Hz for {seconds:g} s, medians of {rounds} rounds in which contenders take turns; ratios are of
the same round. "Late" is how long after its deadline a step begins. The environment shows one camera of
{width} x {height} whose pictures are at hand, so that what is measured is the viewers' doing; JPEG at quality
{quality} on both sides. `taketwo` makes {fps:g} pictures a second at most. The viewers' process has the lowest
priority, as viewers sit at other machines.

`http.server` is the server of Python's library as scripts have it: `HTTPServer` with a handler that writes each new
JPEG, encoded for every step. It serves one viewer at a time; all others wait until that one leaves.
"""


if __name__ == "__main__":
    main()
