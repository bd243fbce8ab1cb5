"""Measures `taketwo serve` against openpi's policy server, and what executors make of answers that come late.

    python benchmarks/serving.py [--quick] [--check] [--openpi DIR] [--vla_eval PYTHON]
                                 [--markdown docs/performance.md] [--json FILE]

Servers and clients are processes of their own; contenders take turns, round by round. Needs openpi-client, which
the development environment has.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sections import put_section
from serving_ours import run_session
from serving_policies import CHUNK_LENGTH, CONTROL_HZ, OFFSET_RAD
from serving_processes import Client, Server
from taketwo.control.config import ControlConfig

CLIENTS = 8
PASS_MS = 20.0
LATENCY_MS = 200.0
PICTURES = {"224 x 224": (224, 224), "480 x 640": (480, 640)}
OPENPI_SERVER = Path("src/openpi/serving/websocket_policy_server.py")

EXECUTORS = {
    "open_loop": ControlConfig(executor="open_loop"),
    "temporal_ensemble": ControlConfig(executor="temporal_ensemble"),
    "asynchronous": ControlConfig(executor="asynchronous", prefetch=15),
}
"""Ask 15 steps ahead: 200 ms are ten, and five are to spare."""


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: how often contenders take turns.
        count_s: seconds that answers are counted in, of each turn.
        round_trips: of each turn.
        steps: of a session at 50 Hz; the ensemble's, which waits in every step, has a tenth.
    """

    rounds: int = 5
    count_s: float = 3.0
    round_trips: int = 200
    steps: int = 1500


QUICK = Plan(rounds=2, count_s=1.5, round_trips=60, steps=300)


@dataclass(frozen=True)
class Row:
    """One promise.

    Attributes:
        ours: taketwo's figure.
        theirs: that of openpi's server.
        met: whether the promise is kept.
    """

    what: str
    ours: str
    theirs: str
    result: str
    target: str
    met: bool


def main() -> None:
    options = _options()
    plan = QUICK if options.quick else Plan()
    _require_client()
    machine = _machine()
    peer = _peer(options.openpi)
    measured = {
        "throughput": _throughput(plan, peer, options.vla_eval),
        "round_trips": _round_trips(plan, peer),
        "sessions": _sessions(plan),
    }
    rows = _rows(measured)
    _print(rows, measured, machine)
    if options.markdown is not None:
        text = _markdown(rows, measured, machine, plan, options)
        put_section(options.markdown, "benchmarks/serving.py", text)
    if options.json is not None:
        content = {"machine": machine, "rows": [asdict(row) for row in rows], **measured}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    missed = [row.what for row in rows if not row.met]
    if options.check and missed:
        raise SystemExit(f"error: missed: {'; '.join(missed)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure taketwo's policy server against openpi's.")
    parser.add_argument("--quick", action="store_true", help="a minute instead of six; figures are coarse")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target is missed")
    parser.add_argument("--openpi", type=Path, metavar="DIR", help="a checkout of openpi, for its own server")
    parser.add_argument("--vla_eval", type=Path, metavar="PYTHON", help="an interpreter that has vla-eval installed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


def _require_client() -> None:
    try:
        version("openpi-client")
    except PackageNotFoundError:
        raise SystemExit("error: openpi-client is not installed: pip install --group dev") from None


def _peer(checkout: Path | None) -> dict[str, Any]:
    """How to start openpi's server, or what stands in for it."""
    if checkout is None:
        return {"kind": "like_openpi"}
    file = checkout / OPENPI_SERVER
    if not file.exists():
        raise SystemExit(f"error: {checkout} is no checkout of openpi: {OPENPI_SERVER} is not there")
    return {"kind": "openpi", "file": file}


def _throughput(plan: Plan, peer: Mapping[str, Any], vla_eval: Path | None) -> dict[str, list[float]]:
    """Requests a second of all clients together, by contender, round by round."""
    ours: dict[str, Any] = {"kind": "taketwo", "policy": "pause", "pause_ms": PASS_MS}
    contenders: dict[str, dict[str, Any]] = {
        "taketwo": ours,
        "taketwo --max_wait_ms=0": ours | {"max_wait_ms": 0},
        "taketwo --max_batch_size=1": ours | {"max_batch_size": 1},
        "openpi": {**peer, "policy": "pause", "pause_ms": PASS_MS},
    }
    if vla_eval is not None:
        contenders["vla-eval"] = {
            "kind": "vla_eval",
            "policy": "pause",
            "pause_ms": PASS_MS,
            "max_batch_size": CLIENTS,
            "python": vla_eval,
        }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(plan.rounds):
        for name, options in contenders.items():
            speaks = {"speaks": "vla_eval"} if name == "vla-eval" else {}
            python = {"python": vla_eval} if speaks else {}
            with Server(**options) as server, contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(**python)) for _ in range(CLIENTS)]
                for client in clients:  # one after the other: openpi's server greets nobody while it infers
                    client.do("connect", port=server.port, **speaks)
                rates[name].append(_count(clients, server.port, plan.count_s))
    return rates


def _count(clients: list[Client], port: int, count_s: float) -> float:
    begin_s = time.monotonic() + 1.0
    height, width = PICTURES["224 x 224"]
    for client in clients:
        client.begin("count", port=port, height=height, width=width, begin_s=begin_s, end_s=begin_s + count_s)
    return sum(client.end() for client in clients) / count_s


def _round_trips(plan: Plan, peer: Mapping[str, Any]) -> dict[str, dict[str, list[list[float]]]]:
    """Milliseconds by size of the picture and contender, round by round; one client asks one server at a time."""
    took: dict[str, dict[str, list[list[float]]]] = {size: {"taketwo": [], "openpi": []} for size in PICTURES}
    with Server("taketwo", policy="noop") as ours, Server(**peer, policy="noop") as theirs, Client() as client:
        ports = {"taketwo": ours.port, "openpi": theirs.port}
        for port in ports.values():
            client.do("connect", port=port)
            client.do("round_trips", port=port, height=480, width=640, number=30)
        for number in range(2 * plan.rounds):
            for size, (height, width) in PICTURES.items():
                for name in ports if number % 2 else reversed(ports):
                    job = {"port": ports[name], "height": height, "width": width, "number": plan.round_trips}
                    took[size][name].append(client.do("round_trips", **job))
    return took


def _sessions(plan: Plan) -> dict[str, dict[str, Any]]:
    """A session at 50 Hz with each executor, against a server that answers after 200 ms."""
    sessions = {}
    for name, control in EXECUTORS.items():
        with Server("taketwo", policy="wavering", pause_ms=LATENCY_MS) as server:
            steps = plan.steps // 10 if name == "temporal_ensemble" else plan.steps
            sessions[name] = run_session(server.port, control, steps)
    return sessions


def _rows(measured: Mapping[str, Any]) -> list[Row]:
    session = measured["sessions"]["asynchronous"]
    waited = session["counted_stalls"]
    return [
        _throughput_row(measured["throughput"]),
        *(_round_trip_row(size, rounds) for size, rounds in measured["round_trips"].items()),
        Row(
            "steps that waited for an answer, 200 ms latency and 50 Hz, asynchronous",
            f"{waited} in {session['steps']}; {session['stalls']} came late by more than half a period",
            "-",
            f"{waited}",
            "0",
            waited == 0,
        ),
    ]


def _throughput_row(rates: Mapping[str, list[float]]) -> Row:
    ours, theirs = (statistics.median(rates[name]) for name in ("taketwo", "openpi"))
    ratio = statistics.median(a / b for a, b in zip(rates["taketwo"], rates["openpi"], strict=True))
    return Row(
        f"{CLIENTS} clients, a pass of {PASS_MS:g} ms for 1 to 16 observations",
        f"{ours:.0f} requests/s",
        f"{theirs:.0f} requests/s",
        f"{ratio:.2f} x",
        ">= 7 x",
        ratio >= 7,
    )


def _round_trip_row(size: str, rounds: Mapping[str, list[list[float]]]) -> Row:
    ratio = statistics.median(
        statistics.median(a) / statistics.median(b) for a, b in zip(rounds["taketwo"], rounds["openpi"], strict=True)
    )
    ours, theirs = (_percentiles(rounds[name]) for name in ("taketwo", "openpi"))
    return Row(f"round trip, one client, picture of {size}", ours, theirs, f"{ratio:.2f} x", "<= 1.1 x", ratio <= 1.1)


def _percentiles(rounds: list[list[float]]) -> str:
    p50, p99 = np.percentile(np.concatenate(rounds), [50, 99])
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def _throughput_lines(rates: Mapping[str, list[float]]) -> list[tuple[str, ...]]:
    return [
        (name, f"{statistics.median(each):.0f}", f"{min(each):.0f} to {max(each):.0f}") for name, each in rates.items()
    ]


def _session_lines(sessions: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            "-" if session["seam_jerk"] is None else f"{session['seam_jerk']:.0f}",
            f"{session['jerk']:.0f}",
            f"{session['seams']}",
            f"{session['stalls']} of {session['steps']} steps",
            f"{session['stood_still_s']:.1f} s",
            f"{session['overruns']}",
        )
        for name, session in sessions.items()
    ]


THROUGHPUT_HEAD = ("server", "requests/s", "rounds")
SESSION_HEAD = (
    "executor",
    "jerk at the seams, rad/s^3",
    "of all steps",
    "seams",
    "stalls",
    "stood still",
    "overruns",
)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    load = os.getloadavg()[0]
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, load {load:.1f} before; Python {platform.python_version()}"


def _print(rows: list[Row], measured: Mapping[str, Any], machine: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table("", "taketwo", "openpi", "", "target", "", title=machine)
    for row in rows:
        verdict = "[green]met[/]" if row.met else "[red]missed[/]"
        table.add_row(row.what, row.ours, row.theirs, row.result, row.target, verdict)
    console.print(table)
    for head, lines in (
        (THROUGHPUT_HEAD, _throughput_lines(measured["throughput"])),
        (SESSION_HEAD, _session_lines(measured["sessions"])),
    ):
        table = Table(*head)
        for line in lines:
            table.add_row(*line)
        console.print(table)


def _markdown(
    rows: list[Row], measured: Mapping[str, Any], machine: str, plan: Plan, options: argparse.Namespace
) -> str:
    flags = "".join(
        f" --{name}{value}"
        for name, value in (
            ("quick", "" if options.quick else None),
            ("openpi", None if options.openpi is None else " DIR"),
            ("vla_eval", None if options.vla_eval is None else " PYTHON"),
        )
        if value is not None
    )
    promises = [
        (row.what, row.ours, row.theirs, row.result, row.target, "yes" if row.met else "**no**") for row in rows
    ]
    return TEMPLATE.format(
        command=f"python benchmarks/serving.py{flags} --markdown docs/performance.md",
        machine=machine,
        promises=_table(("", "taketwo", "openpi", "result", "target", "met"), promises),
        throughput=_table(THROUGHPUT_HEAD, _throughput_lines(measured["throughput"])),
        sessions=_table(SESSION_HEAD, _session_lines(measured["sessions"])),
        versions=", ".join(f"{name} {version(name)}" for name in ("taketwo", "openpi-client", "websockets", "numpy")),
        peer=STAND_IN if options.openpi is None else OPENPIS_OWN,
        vla_eval="" if options.vla_eval is None else VLA_EVAL,
        rounds=plan.rounds,
        count_s=plan.count_s,
        turns=2 * plan.rounds,
        round_trips=plan.round_trips,
        chunk=CHUNK_LENGTH,
        hz=CONTROL_HZ,
        offset=OFFSET_RAD,
        prefetch=EXECUTORS["asynchronous"].prefetch,
    )


def _table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *lines))


STAND_IN = """\
openpi's server is no package, and no checkout was given (`--openpi`): a stand-in written for this benchmark does
  the same with openpi's packing code and websockets, asking the policy on the event loop."""

OPENPIS_OWN = "openpi's server is its own file, `websocket_policy_server.py`, run as it is."

VLA_EVAL = f"""
- vla-eval is its own server and its own messages, in an environment of its own, with `max_batch_size={CLIENTS}` and
  the waiting time that it comes with. Its answers are float32."""

TEMPLATE = """\
## Serving

Made by

    {command}

on: {machine}.

{promises}

{throughput}

{sessions}

- {versions}. Every client is the real `openpi_client.WebsocketClientPolicy`; {peer}
- Servers and clients are processes of their own on the one machine, talking over its loopback interface.
- Throughput: 8 clients, a process each, that ask again as soon as they are answered, with a picture of 224 x 224 and a
  state of 14 numbers; answers are chunks of {chunk} x 14. The policy sleeps for a pass, which is a GPU as the processor
  sees it. Contenders take turns in {rounds} rounds, each with new processes, of {count_s:g} s after one of warming up;
  the ratio is the median of the rounds' ratios. The rule by which passes wait for requests is in
  `src/taketwo/serving/waiting.py`; `--max_wait_ms=0` turns it off.{vla_eval}
- Round trips: one client has a connection to each server and asks them by turns, {turns} times {round_trips} requests
  each; the policy does nothing. Percentiles are of all round trips, the ratio is the median of the turns' ratios of
  medians.
- Seams: sessions at {hz:g} Hz with `--policy.type=remote`, against a policy that answers after 200 ms. Its chunks of
  {chunk} steps follow a slow wave, and each is off it by an amount of its own in every joint, drawn from a normal
  distribution of {offset} rad: so it contradicts itself between chunks and never within one, and what the seams show is
  the executor's doing. Jerk is the third difference of the executed actions times the cube of the rate, RMS over all
  joints, at the seams from three steps before the first action of a new chunk to eight after. The asynchronous executor
  asks {prefetch} steps ahead; all else is as it comes.
- A stall is an action that comes more than one and a half control periods after the one before, whatever the reason:
  the machine's own hiccups count, too. The first table has the steps at which the executor had no action and waited.
  Open loop and ensemble wait for their answers by design, the one at every chunk and the other in every step, which is
  a new chunk to it.
  Overruns count also the steps with which the loop catches up after an answer that it had to wait for, such as the
  first of an episode.
"""


if __name__ == "__main__":
    main()
