"""A control period of robosuite's, bit for bit, without what robosuite computes again.

In each physics step robosuite makes three forward passes of the same state: before it controls, in the controller, and
in MuJoCo's own step. It also looks up names and limits that never change. Here `mj_step1` and `mj_step2` make one
forward pass with the control between its halves. The control law itself is robosuite's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taketwo.types import FloatArray

ARM_DIM = 6
"""Of an action's numbers, those that move the hand; what follows is the gripper's."""


class Stepper:
    """Steps one environment of robosuite 1.4 that has one arm under operational space control and a gripper."""

    def __init__(self, domain: Any) -> None:
        import mujoco

        self._mujoco = mujoco
        self._domain = domain
        self._model, self._data = domain.sim.model._model, domain.sim.data._data
        self._robot = robot = domain.robots[0]
        self._substeps = int(domain.control_timestep / domain.model_timestep)
        self._site = self._model.site(robot.gripper.important_sites["grip_site"]).id
        joints = [self._model.joint(name) for name in robot.robot_joints]
        self._qpos = [int(joint.qposadr[0]) for joint in joints]
        self._qvel = [int(joint.dofadr[0]) for joint in joints]
        self._motors = [self._model.actuator(name).id for name in robot.robot_model.actuators]
        self._low, self._high = robot.torque_limits
        self._fingers = [self._model.actuator(name).id for name in robot.gripper.actuators]
        low, high = self._model.actuator_ctrlrange[self._fingers].T
        self._finger_bias, self._finger_weight = 0.5 * (high + low), 0.5 * (high - low)
        self._linear, self._angular = np.zeros((2, 3, self._model.nv))
        self._mass = np.zeros((self._model.nv, self._model.nv))

    def step(self, action: FloatArray) -> tuple[float, bool]:
        """Apply one action, (7,), for a control period; the reward, and whether the goal is reached."""
        model, data, controller = self._model, self._data, self._robot.controller
        for substep in range(self._substeps):
            self._mujoco.mj_step1(model, data)
            if controller.new_update:  # not in the first of an episode, which goes by what the reset has left
                self._measure(controller)
            if substep == 0:
                controller.set_goal(action[:ARM_DIM])
            data.ctrl[self._motors] = np.clip(controller.run_controller(), self._low, self._high)
            grip = self._robot.gripper.format_action(action[ARM_DIM:])
            data.ctrl[self._fingers] = self._finger_bias + self._finger_weight * grip
            self._mujoco.mj_step2(model, data)
        reward, _, _ = self._domain._post_action(action)
        return float(reward), bool(self._domain._check_success())

    def _measure(self, controller: Any) -> None:
        """Tell the controller what its own `update` would find after another forward pass, in arrays laid out alike."""
        mujoco, data = self._mujoco, self._data
        mujoco.mj_jacSite(self._model, data, self._linear, self._angular, self._site)
        mujoco.mj_fullM(self._model, self._mass, data.qM)
        controller.ee_pos = data.site_xpos[self._site].copy()
        controller.ee_ori_mat = data.site_xmat[self._site].reshape(3, 3).copy()
        controller.ee_pos_vel = np.dot(self._linear, data.qvel)
        controller.ee_ori_vel = np.dot(self._angular, data.qvel)
        controller.joint_pos = data.qpos[self._qpos]
        controller.joint_vel = data.qvel[self._qvel]
        controller.J_pos = self._linear[:, self._qvel]
        controller.J_ori = self._angular[:, self._qvel]
        controller.J_full = np.concatenate([controller.J_pos, controller.J_ori])
        controller.mass_matrix = self._mass[self._qvel, :][:, self._qvel]
        controller.new_update = False
