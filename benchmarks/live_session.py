"""A session at 50 Hz that somebody watches, in a process of its own: prints the page's address, then what it measured.

python live_session.py nobody|taketwo|http_server --seconds=20
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.request import urlopen

import numpy as np
from PIL import Image as PillowImage

from taketwo.live.config import LiveConfig
from taketwo.live.page import LivePage
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.events import Event, StepTaken
from taketwo.session.loop import Session
from taketwo.session.result import SessionResult
from taketwo.types import (
    CameraSpec,
    Decision,
    EnvironmentSpec,
    EpisodeInfo,
    FloatArray,
    Image,
    Observation,
    Pixels,
    StepResult,
)
from workload import growth_mb_per_1000, resident_mb

CONTROL_HZ = 50.0
HEIGHT, WIDTH = 480, 640
PICTURES = 50
QUALITY = LiveConfig().quality
JOINTS = tuple(f"joint_{number}" for number in range(14))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("viewing", choices=["nobody", "taketwo", "http_server"])
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    measure = {"nobody": _nobody, "taketwo": _taketwo, "http_server": _http_server}[options.viewing]
    measure(options.seconds)
    os._exit(0)  # the peer's server may be writing to a viewer for ever


class MovingPicture:
    """Shows pictures that are at hand, so that the loop costs next to nothing; they compress like those of a camera."""

    def __init__(self) -> None:
        limits = np.full(len(JOINTS), np.inf)
        self.spec = EnvironmentSpec(
            name="moving_picture",
            action_names=JOINTS,
            action_units=("rad",) * len(JOINTS),
            action_low=-limits,
            action_high=limits,
            state_names=JOINTS,
            control_hz=CONTROL_HZ,
            cameras={"top": CameraSpec(HEIGHT, WIDTH)},
        )
        self._pictures = list(_pictures())
        self._step = 0

    def reset(self, seed: int, options: Mapping[str, Any] | None = None) -> Observation:
        return self._observation()

    def step(self, action: FloatArray) -> StepResult:
        self._step += 1
        return StepResult(self._observation(), 0.0, False, False)

    def close(self) -> None:
        pass

    def _observation(self) -> Observation:
        picture = self._pictures[self._step % PICTURES]
        return Observation(np.zeros(len(JOINTS)), {"top": Image.of(picture, "top")}, time_s=self._step / CONTROL_HZ)


def _pictures() -> Collection[Pixels]:
    """Smooth surfaces with a little noise, moving to the right."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] / 80.0
    scene = 128 + 60 * np.sin(rows)[..., None] * np.cos(columns[..., None] + np.arange(3))
    noisy = np.clip(scene + generator.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(np.roll(noisy, 8 * shift, axis=1)) for shift in range(PICTURES)]


class Still:
    """A controller that holds still."""

    stalls = 0

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        pass

    def decide(self, observation: Observation) -> Decision:
        return Decision(asked=np.zeros(len(JOINTS)), sent=np.zeros(len(JOINTS)))


class Memory:
    """A sink that keeps the memory over time."""

    name, lossless, required = "memory", False, False

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.megabytes: list[float] = []

    def cameras(self, frame: int) -> Collection[str]:
        return ()

    def on(self, event: Event) -> None:
        if isinstance(event, StepTaken) and event.index % 10 == 0:
            self.steps.append(event.index)
            self.megabytes.append(resident_mb())


@dataclass
class Newest:
    """A sink as scripts have it: each frame is encoded where it is made, for whoever comes."""

    name, lossless, required = "newest", True, True
    jpeg: bytes = b""
    number: int = 0

    def __post_init__(self) -> None:
        self.changed = threading.Condition()

    def cameras(self, frame: int) -> Collection[str]:
        return ("top",)

    def on(self, event: Event) -> None:
        if not isinstance(event, StepTaken):
            return
        buffer = io.BytesIO()
        PillowImage.fromarray(event.observation.images["top"].pixels).save(buffer, "JPEG", quality=QUALITY)
        with self.changed:
            self.jpeg, self.number = buffer.getvalue(), self.number + 1
            self.changed.notify_all()


def _nobody(seconds: float) -> None:
    print(json.dumps({"url": None}), flush=True)
    memory = Memory()
    _tell(_run(seconds, [memory], Commands()), memory, 0)


def _taketwo(seconds: float) -> None:
    commands, memory = Commands(), Memory()
    page = LivePage(LiveConfig(page=True, port=0), commands)
    page.start()
    print(json.dumps({"url": f"{page.url}stream"}), flush=True)
    _wait_for_viewers()
    result = _run(seconds, [page.sink, memory], commands)
    with urlopen(f"{page.url}api/state") as response:
        encoded = json.load(response)["frames_encoded"]
    _tell(result, memory, sum(encoded.values()))


def _http_server(seconds: float) -> None:
    newest, memory = Newest(), Memory()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            number = 0
            while True:
                with newest.changed:
                    newest.changed.wait_for(lambda: newest.number != number)  # noqa: B023
                    jpeg, number = newest.jpeg, newest.number
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(HTTPServer):
        request_queue_size = 64  # all viewers get as far as waiting for their turn

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a viewer has left

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}/"}), flush=True)
    _wait_for_viewers()
    _tell(_run(seconds, [newest, memory], Commands()), memory, newest.number)


def _wait_for_viewers() -> None:
    sys.stdin.readline()


def _run(seconds: float, sinks: list[Any], commands: Commands) -> SessionResult:
    config = SessionConfig(total_seconds=seconds, max_hz=CONTROL_HZ)
    return Session(MovingPicture(), Still(), config, sinks, commands=commands).run()


def _tell(result: SessionResult, memory: Memory, encoded: int) -> None:
    if result.fault is not None:
        raise SystemExit(f"error: {result.fault}")
    warm = len(memory.steps) // 2  # by then everything has been used once
    told = {
        "late_ms_p50": result.loop.jitter_ms_p50,
        "late_ms_p99": result.loop.jitter_ms_p99,
        "steps": result.episodes[0].steps,
        "encoded": encoded,
        "memory_mb": max(memory.megabytes),
        "growth_mb_per_1000_steps": growth_mb_per_1000(memory.steps[warm:], memory.megabytes[warm:]),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
