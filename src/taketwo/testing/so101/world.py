"""The follower's physics, in MuJoCo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taketwo.gl import choose_backend
from taketwo.testing.so101.arm import JOINTS, STEPS_PER_RADIAN, Mounting
from taketwo.testing.so101.scene import CUBE_START, STALL_NM, TIMESTEP_S, xml
from taketwo.testing.so101.servo import Drive

NM_PER_RADIAN = 17.8 / 16
"""Of one unit of `P_Coefficient`: the SO-101's published model has 17.8 for LeRobot's 16."""

NM_S_PER_RADIAN = 0.3 / 32
"""Of one unit of `D_Coefficient`; chosen so that a step settles without swinging, as the arm does."""


@dataclass(frozen=True, eq=False)
class Sensed:
    """The joints at one time.

    Attributes:
        raw: (6,) steps.
        velocity: (6,) steps per second.
        load: (6,) share of the stall torque, -1 to 1.
    """

    raw: NDArray[np.float64]
    velocity: NDArray[np.float64]
    load: NDArray[np.float64]


class World:
    """Arm, table and cube. Used by one thread, but for `snapshot`, which any thread may read.

    Args:
        mounting: how raw steps are joint positions.
        positions: (6,) radians to begin with.

    Attributes:
        snapshot: (13,) generalised positions after the last step; not to be changed.
    """

    def __init__(self, mounting: Mounting, positions: NDArray[np.float64]) -> None:
        choose_backend()  # before MuJoCo is imported, which fixes it
        import mujoco

        self._mujoco = mujoco
        self._mounting = mounting
        self._model = mujoco.MjModel.from_xml_string(xml())
        self._data = mujoco.MjData(self._model)
        self._data.qpos[: len(JOINTS)] = positions
        mujoco.mj_forward(self._model, self._data)
        self.snapshot = self._data.qpos.copy()

    def step(self, drives: Sequence[Drive], dt: float) -> Sensed:
        """Let the motors act for `dt` seconds, a multiple of `TIMESTEP_S`."""
        model, data, joints = self._model, self._data, len(JOINTS)
        torque = np.array([drive.torque_limit for drive in drives]) * STALL_NM
        p = np.array([drive.p for drive in drives]) * NM_PER_RADIAN * (torque > 0)
        d = np.array([drive.d for drive in drives]) * NM_S_PER_RADIAN * (torque > 0)
        model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2] = p, -p, -d
        model.actuator_forcerange[:, 0], model.actuator_forcerange[:, 1] = -torque, torque
        data.ctrl[:] = self._mounting.positions(np.array([drive.target for drive in drives]))
        self._mujoco.mj_step(model, data, nstep=round(dt / TIMESTEP_S))
        self.snapshot = data.qpos.copy()
        return Sensed(
            self._mounting.raw(data.qpos[:joints]),
            data.qvel[:joints] * STEPS_PER_RADIAN,
            data.actuator_force[:] / STALL_NM,
        )

    @property
    def positions(self) -> NDArray[np.float64]:
        """(6,) joint positions in radians."""
        return np.array(self.snapshot[: len(JOINTS)])

    @property
    def cube(self) -> NDArray[np.float64]:
        """(3,) metres, the middle of the cube."""
        return np.array(self.snapshot[len(JOINTS) : len(JOINTS) + 3])

    def put_cube_back(self) -> None:
        """To where it began, at rest."""
        joints = len(JOINTS)
        self._data.qpos[joints:] = (*CUBE_START, 1, 0, 0, 0)
        self._data.qvel[joints:] = 0
        self.snapshot = self._data.qpos.copy()
