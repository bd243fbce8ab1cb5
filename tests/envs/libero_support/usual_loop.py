"""LIBERO as its users run it, in a process of its own: `OffScreenRenderEnv`, both cameras in every step.

    python usual_loop.py SUITE TASK_NAME INIT_STATE SEED ACTIONS.npy OUT.npz

Writes, after the waiting and after each action, MuJoCo's state, and the state and the pictures that the loop is given,
turned by 180 degrees as openpi's client does; at the end the same of the very instant, pictures as robosuite has them,
and as openpi's client sends them; and the rewards, the verdicts, and how many seconds the steps took.
"""

import math
import sys
import time
from pathlib import Path

import numpy as np
from openpi_client import image_tools

from taketwo.envs.libero.package import assets_folder, import_libero, package_folder
from taketwo.envs.libero.tasks import read_init_states

CAMERAS = ("agentview", "robot0_eye_in_hand")


def axis_angle(quaternion):
    """openpi's `_quat2axisangle`, after robosuite's `transform_utils.quat2axisangle`; x-y-z-w."""
    w = min(max(quaternion[3], -1.0), 1.0)
    sine = math.sqrt(1.0 - w * w)
    if math.isclose(sine, 0.0):
        return np.zeros(3)
    return quaternion[:3] * 2.0 * math.acos(w) / sine


class Log:
    def __init__(self, env):
        self.env = env
        self.rows = {"mujoco": [], "state": [], **{camera: [] for camera in CAMERAS}}

    def add(self, observation):
        self.rows["mujoco"].append(self.env.get_sim_state())
        self.rows["state"].append(state_of(observation))
        for camera in CAMERAS:
            self.rows[camera].append(observation[f"{camera}_image"][::-1, ::-1])


def state_of(observation):
    """The state that openpi's client makes of an observation."""
    parts = (
        observation["robot0_eef_pos"],
        axis_angle(observation["robot0_eef_quat"]),
        observation["robot0_gripper_qpos"],
    )
    return np.concatenate(parts)


def fresh_observation(env):
    """What robosuite observes of the present instant; adds to the delay of all later steps."""
    env.sim.forward()
    return env.env._get_observations(force_update=True)


def sent(observation, camera):
    """The picture that openpi's client sends: `examples/libero/main.py`, with a `resize_size` of 224."""
    turned = np.ascontiguousarray(observation[f"{camera}_image"][::-1, ::-1])
    return image_tools.convert_to_uint8(image_tools.resize_with_pad(turned, 224, 224))


def main(suite, task, init_state, seed, actions, out):
    package = package_folder()
    libero = import_libero(package, assets_folder(package, None))
    states = read_init_states(package / "init_files" / suite / f"{task}.pruned_init")
    env = libero.OffScreenRenderEnv(
        bddl_file_name=str(package / "bddl_files" / suite / f"{task}.bddl"), camera_heights=256, camera_widths=256
    )
    env.seed(int(seed))
    env.reset()
    observation = env.set_init_state(states[int(init_state)])
    for _ in range(10):
        observation, _, _, _ = env.step([0.0] * 6 + [-1.0])
    log = Log(env)
    log.add(observation)
    rewards, verdicts = [], []
    began = time.perf_counter()
    for action in np.load(actions):
        observation, reward, done, _ = env.step(action.tolist())
        log.add(observation)
        rewards.append(reward)
        verdicts.append(done)
    seconds = time.perf_counter() - began
    fresh = fresh_observation(env)
    np.savez(
        Path(out),
        rewards=rewards,
        verdicts=verdicts,
        seconds=seconds,
        fresh_state=state_of(fresh),
        **{f"fresh_{camera}": fresh[f"{camera}_image"] for camera in CAMERAS},
        **{f"sent_{camera}": sent(fresh, camera) for camera in CAMERAS},
        **log.rows,
    )
    env.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
