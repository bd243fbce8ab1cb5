"""Fleets of dummies: `taketwo` and `vla-eval` with an environment and a model that do nothing, by turns."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleet_marks import between_s, read, step_s
from fleet_peer import peer_python
from fleet_still import install

HERE = Path(__file__).parent
PICTURE_SIZE = 224
FRAMES = 16

GRAIN = 2.0
"""Standard deviation of the pictures' grain, in grey levels. ALOHA's drawings are smooth and pack to 0.16 bytes a pixel
as PNG. With it they pack to 1.3, and take as long a pixel, as do those of LIBERO's cameras, which have textures."""

READY_S = 60.0


@dataclass(frozen=True)
class Contender:
    """One way to run the dummies.

    Attributes:
        side: taketwo or vla-eval.
        records: `none`; `default`, what it records when nothing is said about it; `video`, pictures too.
        server: whether the model is behind the side's own wire.
        image_format: of pictures on vla-eval's wire.
        smooth: whether the pictures are without grain.
    """

    name: str
    side: str
    records: str
    server: bool = True
    image_format: str = "png"
    smooth: bool = False


CONTENDERS = (
    Contender("vla-eval, recording", "vla-eval", "default"),
    Contender("vla-eval, recording and video", "vla-eval", "video"),
    Contender("vla-eval, recording, raw pictures", "vla-eval", "default", image_format="raw"),
    Contender("vla-eval, recording and video, smooth pictures", "vla-eval", "video", smooth=True),
    Contender("vla-eval, no recording", "vla-eval", "none"),
    Contender("taketwo collect", "taketwo", "video"),
    Contender("taketwo collect, smooth pictures", "taketwo", "video", smooth=True),
    Contender("taketwo collect, policy in process", "taketwo", "video", server=False),
    Contender("taketwo eval", "taketwo", "default"),
    Contender("taketwo eval, policy in process", "taketwo", "default", server=False),
)
"""`taketwo collect` records numbers and pictures, `taketwo eval` the result of each episode."""


def measure(rounds: int, episodes: int, steps: int, folder: Path) -> dict[str, list[dict[str, float]]]:
    """Milliseconds of every turn of every contender."""
    smooth = _frames()
    grain = np.random.default_rng(0).normal(0, GRAIN, smooth.shape)
    np.save(folder / "smooth.npy", smooth)
    np.save(folder / "grained.npy", np.clip(smooth + grain, 0, 255).astype(np.uint8))
    install(folder / "entry_points")
    turns: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in CONTENDERS}
    with ExitStack() as stack:
        ports = {side: stack.enter_context(_server(side, folder)) for side in ("taketwo", "vla-eval")}
        for number in range(rounds):
            for contender in CONTENDERS:
                place = folder / f"{number}-{CONTENDERS.index(contender)}"
                place.mkdir()
                frames = folder / ("smooth.npy" if contender.smooth else "grained.npy")
                run = _ours if contender.side == "taketwo" else _theirs
                began_s = time.perf_counter()
                run(contender, place, frames, ports[contender.side], episodes, steps)
                turns[contender.name].append(_turn(place / "marks.bin", episodes, steps, began_s))
    return turns


def _turn(path: Path, episodes: int, steps: int, began_s: float) -> dict[str, float]:
    marks = read(path)
    ran = [len(episode) for episode in marks]
    if ran != [steps] * episodes:
        raise SystemExit(f"error: {path.parent}: episodes of {ran} steps, asked were {episodes} of {steps}")
    return {
        "step_ms": step_s(marks) * 1000,
        "between_ms": between_s(marks) * 1000,
        "first_ms": (marks[0][0] - began_s) * 1000,
    }


def _frames() -> Any:
    """(FRAMES, 224, 224, 3) uint8: what a camera shows while a robot moves."""
    from taketwo.envs.aloha import AlohaConfig

    environment = AlohaConfig(width=PICTURE_SIZE, height=PICTURE_SIZE).make()
    action = environment.reset(0).state.copy()
    pictures = []
    for _ in range(FRAMES):
        action[[0, 2, 7, 9]] += 0.03
        pictures.append(environment.step(action).observation.images["top"].pixels)
    environment.close()
    return np.stack(pictures)


def _paths(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(HERE)])}


@contextmanager
def _server(side: str, folder: Path) -> Iterator[int]:
    """The side's own model server in a process of its own; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    if side == "taketwo":
        command = [sys.executable, "-m", "taketwo", "serve", "--env=ALOHA_SIM", "--policy.type=still", f"--port={port}"]
    else:
        command = [str(peer_python("bench-vla-eval")), str(HERE / "fleet_vla_eval.py"), f"--address=127.0.0.1:{port}"]
    with (folder / f"{side}-server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_paths(folder / "entry_points"))
    try:
        _wait_for(port, process, Path(log.name))
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"error: the server does not answer:\n{log.read_text()}")


def _ours(contender: Contender, place: Path, frames: Path, port: int, episodes: int, steps: int) -> None:
    policy = ["--policy.type=remote", f"--policy.port={port}"] if contender.server else ["--policy.type=still"]
    _run(
        [sys.executable, "-m", "taketwo", "collect" if contender.records == "video" else "eval",
         "--env.type=still", f"--env.frames={frames}", f"--env.marks={place / 'marks.bin'}", *policy,
         "--control.action_horizon=1", f"--session.max_episode_steps={steps}", f"--num_trials_per_task={episodes}",
         "--workers=1", f"--output_dir={place / 'run'}", "--quiet"],
        place,
        _paths(place.parent / "entry_points"),
    )  # fmt: skip


def _theirs(contender: Contender, place: Path, frames: Path, port: int, episodes: int, steps: int) -> None:
    params = {"frames": str(frames), "marks": str(place / "marks.bin"), "image_format": contender.image_format}
    config = {
        "server": {"url": f"ws://127.0.0.1:{port}"},
        "output_dir": str(place / "run"),
        "benchmarks": [
            {
                "benchmark": "fleet_vla_eval:StillBenchmark",
                "episodes_per_task": episodes,
                "max_steps": steps,
                "params": params,
            }
        ],
    }
    (place / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    flag = {"none": ["--no-save"], "default": [], "video": ["--record-video"]}[contender.records]
    program = peer_python("bench-vla-eval").with_name("vla-eval")
    words = [str(program), "run", "--no-docker", f"--config={place / 'config.yaml'}", *flag]
    _run(words, place, _paths(place))


def _run(command: Sequence[str], place: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
