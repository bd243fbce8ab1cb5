"""Two SO-101 arms and cameras that are not there, and that LeRobot's own drivers cannot tell from real ones."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.mujoco_rendering import Quality
from taketwo.errors import ConfigError
from taketwo.testing.so101.arm import FOLLOWER, JOINTS, LEADER, REST, Mounting
from taketwo.testing.so101.bus import Bus, Timing
from taketwo.testing.so101.cameras import CameraServer
from taketwo.testing.so101.faults import LineFaults
from taketwo.testing.so101.hand import Hand
from taketwo.testing.so101.port import SerialPort
from taketwo.testing.so101.rig_time import RigTime
from taketwo.testing.so101.servo import Drive, Servo
from taketwo.testing.so101.urgency import be_urgent
from taketwo.testing.so101.world import Sensed, World

TICK_S = 0.005
"""How often servos and physics meet."""

LONGEST_BACKLOG_S = 0.25
"""Physics that is further behind the wall clock lets the rest go, as a stopped process cannot make up for it."""

LONGEST_FOLDER = 107 - len("/cameras")
"""Bytes; the path of a Unix socket has 107 (unix(7))."""

GRIP = Drive(torque_limit=1.7, target=0.0, p=64, d=64)
"""How strongly a hand holds a limp arm."""

PLUGIN = Path(__file__).parent / "plugin"
"""On `PYTHONPATH`, it gives LeRobot the camera type `virtual_so101`; it needs neither taketwo nor MuJoCo."""


@dataclass(frozen=True)
class RigConfig:
    """What the rig is like.

    Attributes:
        folder: where the ports and the cameras' socket appear, which must not be in use; a temporary one if empty.
        calibrated: whether the servos' EEPROMs hold a calibration, or the factory's values.
        line_speed: whether bytes take as long as on a real line.
        latency_ms: of the USB adapter, for each answer.
        quality: of the pictures; `exact` has shadows, and takes much longer without a GPU.
        realtime: whether physics follows the wall clock; else `VirtualRig.advance` moves it.
        seed: of what goes wrong by chance.
    """

    folder: str = ""
    calibrated: bool = True
    line_speed: bool = True
    latency_ms: float = 1.0
    quality: Quality = "preview"
    realtime: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.latency_ms < 0:
            raise ConfigError("latency_ms must not be negative")
        if len(os.fsencode(self.folder)) > LONGEST_FOLDER:
            raise ConfigError(f"folder must be a path of at most {LONGEST_FOLDER} bytes, for its socket")


class Arm:
    """Six servos on a port.

    Attributes:
        bus: the servos, and `bus.lock`.
        serial: the port, to be unplugged and plugged.
        faults: of the line; those of single servos are theirs.
    """

    def __init__(self, name: str, mounting: Mounting, folder: Path, config: RigConfig, seed: int) -> None:
        self.mounting = mounting
        self._hand: Hand | None = None
        self._held_since: float | None = None
        self.faults = LineFaults()
        self.faults.random.seed(seed)
        timing = Timing(config.line_speed, config.latency_ms / 1000)
        self.bus = Bus(mounting.servos(REST, config.calibrated), self.faults, timing)
        self.serial = SerialPort(self.bus, folder / name)

    @property
    def port(self) -> str:
        """What `--robot.port` takes."""
        return str(self.serial.path)

    def servo(self, joint: str) -> Servo:
        """By the joint's name."""
        return self.bus.servos[JOINTS.index(joint)]

    @property
    def hand(self) -> Hand | None:
        """Moves the arm while it is limp, from the moment it is given; None lets it go."""
        return self._hand

    @hand.setter
    def hand(self, hand: Hand | None) -> None:
        self._hand, self._held_since = hand, None

    def led_to(self, now: float) -> NDArray[np.float64] | None:
        """(6,) raw steps where the hand has it at a time of the rig; None where no hand does."""
        hand = self._hand
        if hand is None:
            return None
        if self._held_since is None:
            self._held_since = now
        return self.mounting.raw(np.asarray(hand(now - self._held_since), np.float64))

    @property
    def limp(self) -> bool:
        """Whether no servo holds."""
        with self.bus.lock:
            return not any(servo["Torque_Enable"] for servo in self.bus.servos)

    def drives(self, dt: float) -> list[Drive]:
        """What its controllers ask of the motors for the next `dt` seconds."""
        with self.bus.lock:
            return [servo.drive(dt) for servo in self.bus.servos]

    def sense(self, sensed: Sensed, dt: float) -> None:
        """Tell its servos what became of the joints."""
        values = np.stack([sensed.raw, sensed.velocity, sensed.load], axis=1).tolist()
        with self.bus.lock:
            for servo, (raw, velocity, load) in zip(self.bus.servos, values, strict=True):
                servo.sense(raw, velocity, load, dt)

    def heal(self) -> None:
        """End all faults but an unplugged port."""
        self.faults.clear()
        with self.bus.lock:
            for servo in self.bus.servos:
                servo.heal()

    def power_cycle(self) -> None:
        """Pull the power supply and put it back."""
        with self.bus.lock:
            for servo in self.bus.servos:
                servo.power_cycle()


class VirtualRig:
    """A follower on a table, a leader, and cameras; as a context manager.

        with VirtualRig() as rig:
            rig.leader.hand = wave()
            print(rig.follower.port, rig.leader.port, rig.camera_settings("front"))

    Attributes:
        follower: moved by physics.
        leader: moved by its `hand`, or by its own servos; it has no weight.
        cameras: with `cameras.faults`.
        folder: has the ports `follower` and `leader`, and the socket `cameras`.
    """

    def __init__(self, config: RigConfig | None = None) -> None:
        self.config = config or RigConfig()
        self.world = World(FOLLOWER, REST)
        self._temporary = not self.config.folder
        self.folder = Path(self.config.folder or tempfile.mkdtemp(prefix="taketwo-so101-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        if taken := [name for name in ("follower", "leader", "cameras") if _is_there(self.folder / name)]:
            raise ConfigError(f"folder {self.folder} has {taken[0]!r} already: give another one, or remove it")
        self._leader = _Weightless(LEADER, REST)
        self.follower = Arm("follower", FOLLOWER, self.folder, self.config, 2 * self.config.seed)
        self.leader = Arm("leader", LEADER, self.folder, self.config, 2 * self.config.seed + 1)
        self._time = RigTime()
        self._ticks = 0
        self._ticking = threading.Lock()
        self._stop = threading.Event()
        self.cameras = CameraServer(
            self.folder / "cameras", lambda: self.world.snapshot, self._time, self.config.quality
        )
        self._thread = threading.Thread(target=self._follow_the_clock, name="so101-physics", daemon=True)
        if self.config.realtime:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away again."""
        self._stop.set()
        if self.config.realtime:
            self._thread.join()
        self.cameras.close()
        for arm in (self.follower, self.leader):
            arm.serial.unplug()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def follower_port(self) -> str:
        """What `--robot.port` takes."""
        return self.follower.port

    @property
    def leader_port(self) -> str:
        """What `--teleop.port` takes."""
        return self.leader.port

    @property
    def time_s(self) -> float:
        """How far physics is, from 0."""
        return self._time.now_s

    def camera_settings(self, camera: str, width: int = 640, height: int = 480, fps: int = 30) -> dict[str, Any]:
        """What stands for this camera in LeRobot's `--robot.cameras`."""
        size = {"width": width, "height": height, "fps": fps}
        return {"type": "virtual_so101", "address": str(self.cameras.path), "camera": camera, **size}

    def advance(self, seconds: float) -> None:
        """Move physics on by whole ticks, in a rig that is not `realtime`.

        Raises:
            ConfigError: the wall clock moves this rig.
        """
        if self.config.realtime:
            raise ConfigError("realtime rigs are moved by the wall clock: make this one with realtime=False")
        for _ in range(round(seconds / TICK_S)):
            self._tick()

    def reset_scene(self) -> None:
        """Put the cube back to where it began."""
        with self._ticking:
            self.world.put_cube_back()

    def _follow_the_clock(self) -> None:
        be_urgent()  # servos wait for its lock
        begin = time.monotonic()
        while not self._stop.is_set():
            behind = time.monotonic() - begin - self._ticks * TICK_S
            if behind > LONGEST_BACKLOG_S:
                begin += behind
            if behind < TICK_S:
                time.sleep(TICK_S - max(0.0, behind))
            else:
                self._tick()

    def _tick(self) -> None:
        with self._ticking:
            now = (self._ticks + 1) * TICK_S
            follower, leader = self.follower, self.leader
            drives, led_to = follower.drives(TICK_S), follower.led_to(now)
            if led_to is not None and follower.limp:
                drives = [replace(GRIP, target=target) for target in led_to.tolist()]
                sensed = replace(self.world.step(drives, TICK_S), load=np.zeros(len(JOINTS)))
            else:
                sensed = self.world.step(drives, TICK_S)
            follower.sense(sensed, TICK_S)
            leader.sense(self._leader.step(leader.drives(TICK_S), leader.led_to(now)), TICK_S)
            self._ticks += 1
        self._time.reach(now)


class _Weightless:
    """The leader's joints: they are wherever the hand or, with torque, the servos' set points are."""

    def __init__(self, mounting: Mounting, positions: NDArray[np.float64]) -> None:
        self._raw = mounting.raw(positions)

    def step(self, drives: Sequence[Drive], led_to: NDArray[np.float64] | None) -> Sensed:
        driven = np.array([drive.torque_limit > 0 for drive in drives])
        targets = np.array([drive.target for drive in drives])
        raw = np.where(driven, targets, self._raw if led_to is None else led_to)
        velocity = (raw - self._raw) / TICK_S
        self._raw = raw
        return Sensed(raw, velocity, np.zeros(len(JOINTS)))


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
