"""The SO-101: its joints, how its servos sit on them, and the calibration that this makes.

Joint limits and zero are those of the arm's published model "new calibration", where zero is the middle of the range of
every joint but roll and gripper (TheRobotStudio, SO-ARM100, `Simulation/SO101`).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taketwo.testing.so101.registers import RESOLUTION
from taketwo.testing.so101.servo import Servo

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""In the order of their servos' ids, 1 to 6."""

LIMITS = np.array(
    [
        [-1.91986, 1.91986],
        [-1.74533, 1.74533],
        [-1.69, 1.69],
        [-1.65806, 1.65806],
        [-2.74385, 2.84121],
        [-0.17453, 1.74533],
    ]
)
"""(6, 2) radians."""

REST = np.array([0.0, -1.6, 1.6, 0.6, 0.0, 0.1])
"""(6,) radians: folded back, clear of the table."""

STEPS_PER_RADIAN = RESOLUTION / (2 * math.pi)

FULL_TURN = "wrist_roll"
"""LeRobot gives this joint a whole turn for a range."""

MIDDLE = 2047
"""What a servo shows in the middle of its joint's range, once calibrated; LeRobot's half turn."""


@dataclass(frozen=True)
class Mounting:
    """How servos were screwed on.

    Attributes:
        middle: (6,) raw steps in the middle of each joint's range: chance, until one calibrates.
    """

    middle: tuple[int, int, int, int, int, int]

    def raw(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6,) raw steps at (6,) joint positions in radians."""
        return np.asarray(self.middle + (positions - LIMITS.mean(axis=1)) * STEPS_PER_RADIAN)

    def positions(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6,) radians at (6,) raw steps."""
        return np.asarray((raw - self.middle) / STEPS_PER_RADIAN + LIMITS.mean(axis=1))

    def calibration(self) -> dict[str, dict[str, int]]:
        """What a faultless calibration finds, by joint, in the fields of LeRobot's `MotorCalibration`."""
        found = {}
        for number, name in enumerate(JOINTS):
            half = int((LIMITS[number, 1] - LIMITS[number, 0]) / 2 * STEPS_PER_RADIAN)
            low, high = (0, RESOLUTION - 1) if name == FULL_TURN else (MIDDLE - half, MIDDLE + half)
            offset = self.middle[number] - MIDDLE
            found[name] = {
                "id": number + 1,
                "drive_mode": 0,
                "homing_offset": offset,
                "range_min": low,
                "range_max": high,
            }
        return found

    def servos(self, positions: NDArray[np.float64], calibrated: bool) -> list[Servo]:
        """Six servos at (6,) joint positions in radians, with the calibration in their EEPROM or the factory's."""
        servos = [Servo(number, raw) for number, raw in enumerate(self.raw(positions), 1)]
        if calibrated:
            for servo, found in zip(servos, self.calibration().values(), strict=True):
                servo["Homing_Offset"] = found["homing_offset"]
                servo["Min_Position_Limit"], servo["Max_Position_Limit"] = found["range_min"], found["range_max"]
                servo.keep()
                servo.power_cycle()
        return servos

    def write_calibration(self, path: Path) -> Path:
        """The calibration as the JSON file that LeRobot keeps for a robot or teleoperator."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.calibration(), indent=4))
        return path


FOLLOWER = Mounting((2130, 1310, 2890, 2975, 1480, 2390))
LEADER = Mounting((1985, 2710, 1260, 1890, 2605, 1555))
