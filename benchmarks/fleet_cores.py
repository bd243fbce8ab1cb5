"""The same episodes on one worker, on two, and on a Ray cluster of two: how long, and whether they are the same."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

CONTENDERS: dict[str, list[str]] = {
    "one worker": ["--workers=1"],
    "two workers": ["--workers=2"],
    "two Ray workers": ["--workers=2", "--cluster=ray"],
}

COLUMNS = ("observation.state", "action")

RESULTS = ("trial", "outcome", "reason", "episode_seed", "steps", "sim_s", "reward_sum", "reward_max", "recorded")
"""What of a result does not depend on who ran it, and how fast."""

READY_S = 120.0


def measure(rounds: int, episodes: int, folder: Path) -> list[dict[str, dict[str, Any]]]:
    """Every round's contenders: seconds of the whole command, seconds of the run itself, and digests.

    Raises:
        SystemExit: a command failed, or two of them came to different results or datasets.
    """
    turns = []
    with _ray_cluster() as environment:
        for number in range(rounds):
            turn = {
                name: _collect(folder / f"{number}-{i}", episodes, flags, environment)
                for i, (name, flags) in enumerate(CONTENDERS.items())
            }
            for what in ("results", "dataset"):
                if len({json.dumps(figures[what]) for figures in turn.values()}) > 1:
                    raise SystemExit(f"error: the {what} differ between numbers of workers")
            turns.append(turn)
    return turns


def _collect(place: Path, episodes: int, flags: list[str], environment: dict[str, str]) -> dict[str, Any]:
    place.mkdir()
    command = [
        sys.executable, "-m", "taketwo", "collect", "--env.type=aloha", "--env.width=224", "--env.height=224",
        "--env.quality=preview", "--policy.type=scripted", f"--num_trials_per_task={episodes}", "--seed=0", "--quiet",
        f"--output_dir={place / 'run'}", f"--dataset.root={place / 'dataset'}", *flags,
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    command_s = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    content = json.loads((place / "run" / "results.json").read_text())
    results = [{name: trial["result"][name] for name in RESULTS} for trial in content["trials"]]
    return {
        "command_s": command_s,
        "run_s": content["wall_s"],
        "steps": sum(result["steps"] for result in results),
        "results": _digest(json.dumps(results).encode()),
        "dataset": _episode_digests(place / "dataset"),
    }


def _episode_digests(dataset: Path) -> list[str]:
    """A digest of the states and actions of each episode, in the order of the dataset."""
    digests = {}
    for path in sorted((dataset / "data").rglob("*.parquet")):
        table = pq.read_table(path, columns=["episode_index", *COLUMNS])
        for episode in sorted(set(table["episode_index"].to_pylist())):
            rows = table.filter(pq.filters_to_expression([("episode_index", "=", episode)]))
            digests[episode] = _digest(json.dumps([rows[name].to_pylist() for name in COLUMNS]).encode())
    return [digests[episode] for episode in sorted(digests)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _ray_cluster() -> Iterator[dict[str, str]]:
    """A cluster of this machine with room for two workers, which stands before anything is measured.

    Gives the environment of commands that are to find it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # Paths of sockets in there must be short, so it is not where the rest goes.
        command = [
            str(ray), "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2",
            "--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=200000000",
            f"--temp-dir={folder}",
        ]  # fmt: skip
        with (Path(folder) / "head.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait_for(port, process, Path(log.name))
            yield {**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}
        finally:
            process.terminate()  # ends all that it has begun
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        if "Ray runtime started" in log.read_text():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        time.sleep(0.2)
    raise SystemExit(f"error: the Ray cluster does not start:\n{log.read_text()}")
