"""An environment to which misfortunes happen, and a policy that wavers; workers find both by their entry points."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from taketwo.errors import ConfigError
from taketwo.seeding import episode_seed, policy_generator
from taketwo.testing import PointEnvironment
from taketwo.types import ActionChunk

NUMBERS = {episode_seed(0, number): number for number in range(1000)}
"""Which episode of session seed 0 a seed is of."""


@dataclass(frozen=True)
class WalkConfig:
    """A point that walks.

    Attributes:
        crash: episodes in which the process dies.
        hang: episodes that never end.
        fail: episodes that cannot begin.
        marks: folder; a misfortune happens to an episode once then.
        step_s: how long a step takes.
        width: of pictures.
    """

    crash: tuple[int, ...] = ()
    hang: tuple[int, ...] = ()
    fail: tuple[int, ...] = ()
    marks: Path | None = None
    step_s: float = 0.0
    width: int = 64

    def make(self):
        if self.width > 999:
            raise ConfigError(f"width must be below 1000, not {self.width}")
        return Walk(self)


class Walk(PointEnvironment):
    def __init__(self, config):
        super().__init__(48, config.width)
        self._config = config
        self._number = -1

    def reset(self, seed, options=None):
        self._number = NUMBERS.get(seed, -1)
        if self._befalls("fail"):
            raise RuntimeError("no ground")
        return super().reset(seed, options)

    def step(self, action):
        time.sleep(self._config.step_s)
        if self._steps == 2 and self._befalls("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._steps == 2 and self._befalls("hang"):
            threading.Event().wait()
        return super().step(action)

    def _befalls(self, what):
        if self._number not in getattr(self._config, what):
            return False
        if self._config.marks is None:
            return True
        mark = self._config.marks / f"{what}-{self._number}"
        if mark.exists():
            return False
        mark.touch()
        return True


@dataclass(frozen=True)
class WaverConfig:
    """Steers to the target, wavering by the episode's seed.

    Attributes:
        speed: metres a step.
    """

    speed: float = 0.05

    def make(self, spec):
        return Waver(self.speed)


class Waver:
    cameras = ()

    def __init__(self, speed):
        self._speed = speed

    def reset(self, episode):
        self._random = policy_generator(episode.seed)

    def infer(self, observation):
        offset = observation.state[2:] - observation.state[:2]
        distance = max(float((offset**2).sum() ** 0.5), 1e-9)
        step = offset * min(1.0, self._speed / distance)
        return ActionChunk((step + self._random.normal(0.0, 0.01, 2))[None])

    def close(self):
        pass
