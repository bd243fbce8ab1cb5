"""How many pictures a second are drawn on this machine: a process of its own, which prints a line of JSON for each.

A back-end may crash the process. What was measured before has been printed by then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median

from taketwo.envs.aloha import AlohaConfig
from taketwo.envs.mujoco_rendering import Quality
from taketwo.envs.push import PushConfig

HEIGHT, WIDTH = 480, 640

MEASURED_S = 0.2
"""How long one speed is measured; the median picture counts."""

LEAST_PICTURES = 3

BUDGET_S = 2.0
"""No measurement of previews begins later than this."""

TIMEOUT_S = 30.0

COMMAND = (sys.executable, "-P", "-m", "taketwo.cli.drawing_speed")


@dataclass(frozen=True)
class Speed:
    """One camera at one quality.

    Attributes:
        camera: of which environment, and which one.
        pictures_per_s: 0 where nothing was drawn.
        error: why, in that case.
    """

    camera: str
    quality: str
    pictures_per_s: float
    error: str = ""


def measure_in_process_of_its_own(backend: str) -> tuple[list[Speed], str]:
    """Measure with a back-end that works; returns what was measured, and what went wrong in between, if anything."""
    environment = os.environ | {"MUJOCO_GL": backend}
    try:
        done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        found = _parsed(bytes(error.stdout or b"").decode())  # bytes, whatever was asked for
        return found, f"{'not all' if found else 'nothing'} was drawn in {TIMEOUT_S:g} s"
    found = _parsed(done.stdout)
    if done.returncode < 0:
        return found, f"drawing ended by {signal.Signals(-done.returncode).name}"
    return found, f"drawing ended with status {done.returncode}" if done.returncode else ""


def _parsed(printed: str) -> list[Speed]:
    """What was measured; what was not printed to its end is left out."""
    return [Speed(**json.loads(line)) for line in printed.splitlines() if line.startswith("{") and line.endswith("}")]


def measured() -> Iterator[Speed]:
    """Measure what is installed; previews that come too late are left out."""
    until = time.perf_counter() + BUDGET_S
    for camera, config in _scenes():
        if config.quality == "exact" or time.perf_counter() < until:
            yield _measure(camera, config)


def _scenes() -> Iterator[tuple[str, PushConfig | AlohaConfig]]:
    qualities: tuple[Quality, ...] = ("exact", "preview")
    for quality in qualities:  # every camera once before any twice
        yield "push overview", PushConfig(quality=quality, height=HEIGHT, width=WIDTH)
        if find_spec("gym_aloha") is not None:
            yield "aloha top", AlohaConfig(quality=quality, height=HEIGHT, width=WIDTH)


def _measure(camera: str, config: PushConfig | AlohaConfig) -> Speed:
    name = camera.split()[1]
    spent_s: list[float] = []
    try:
        environment = config.make()
        environment.reset(0)
        environment.render(name, HEIGHT, WIDTH)  # the first one loads what the others find there
        while len(spent_s) < LEAST_PICTURES or sum(spent_s) < MEASURED_S:
            began = time.perf_counter()
            environment.render(name, HEIGHT, WIDTH)
            spent_s.append(time.perf_counter() - began)
        environment.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return Speed(camera, config.quality, 0.0, f"{type(error).__name__}: {error}")
    return Speed(camera, config.quality, 1.0 / median(spent_s))


if __name__ == "__main__":
    for speed in measured():
        print(json.dumps(asdict(speed)), flush=True)
    os._exit(0)  # a driver that crashes on exit says nothing about the pictures
