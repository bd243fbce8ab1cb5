"""Run beside ManiSkill: `probe.py states|pictures|gpu`; prints what came of it as one JSON value."""

import json
import logging
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

import numpy as np
import torch

from taketwo.envs.maniskill import ManiSkillConfig
from taketwo.envs.maniskill.package import can_render, load
from taketwo.envs.maniskill.vector import ManiSkillVector
from taketwo.errors import TakeTwoError
from taketwo.testing import ContractError, check_env

FAULTY = {
    "id": {"id": "PushCub-v1"},
    "control_mode": {"control_mode": "pd_joint"},
    "kwargs": {"kwargs": {"spin": 1}},
    "rgb": {"obs_mode": "rgb"},
    "render": {"render": True},
    "assets": {"id": "PickSingleYCB-v1"},
    "gpu": {"sim_backend": "gpu"},
}


def line_of(make):
    """What goes wrong, in a line."""
    try:
        make().close()
    except TakeTwoError as error:
        return f"{type(error).__name__}: {error}"
    return None


def actions(count=10, width=8):
    return np.random.default_rng(3).uniform(-1, 1, (count, width))


def broken_by(make):
    """What of the contract it does not keep."""
    try:
        check_env(make)
    except ContractError as error:
        return str(error)
    return None


def rolled_out(environment, seed):
    told = [environment.reset(seed).state.tolist()]
    for action in actions():
        result = environment.step(action)
        told.append([result.observation.state.tolist(), result.reward, result.terminated, result.success])
    return told


def by_hand(seed):
    """The same with ManiSkill alone."""
    env = load().make("PushCube-v1", obs_mode="state", render_backend="none")
    told = [env.reset(seed=seed)[0][0].tolist()]
    for action in actions():
        obs, reward, terminated, _, info = env.step(action.astype(np.float32))
        told.append([obs[0].tolist(), float(reward[0]), bool(terminated[0]), bool(info["success"][0])])
    env.close()
    return told


def solved():
    """The cube is put on its target."""
    environment = ManiSkillConfig().make()
    environment.reset(1)
    env = environment._vector._env
    env.obj.set_pose(env.goal_region.pose)
    result = environment.step(np.zeros(8))
    environment.close()
    return [result.success, result.terminated, result.truncated]


def states():
    warnings = []
    logging.getLogger("taketwo").addHandler(logging.Handler())
    logging.getLogger("taketwo").handlers[0].emit = lambda record: warnings.append(record.getMessage())
    environment = ManiSkillConfig().make()
    spec = environment.spec
    told = {
        "can_render": can_render(),
        "has_gpu": torch.cuda.is_available(),
        "spec": [spec.name, spec.control_hz, spec.max_episode_steps, spec.action_dim, list(spec.cameras)],
        "limits": [spec.action_low.tolist(), spec.action_high.tolist()],
        "state_names": list(spec.state_names),
        "rollouts": [rolled_out(environment, seed) for seed in (5, 6, 5)],
        "by_hand": by_hand(5),
        "solved": solved(),
        "warnings": warnings,
        "several": type(ManiSkillConfig(render=False, sim_backend="cpu").make_vector(2)).__name__,
        "contract": broken_by(ManiSkillConfig(render=False).make),
        "contract_of_2": broken_by(partial(ManiSkillConfig(render=False, sim_backend="cpu").make_vector, 2)),
        "other_tasks": {
            name: line_of(ManiSkillConfig(id=name, control_mode=mode, render=False).make)
            for name, mode in (("StackCube-v1", "pd_ee_delta_pose"), ("MS-CartpoleBalance-v1", None))
        },
        "faults": {name: line_of(partial(made, options)) for name, options in FAULTY.items()},
    }
    environment.close()
    return told


def pictures():
    """None where there is no device."""
    if not can_render():
        return None
    environment = ManiSkillConfig(obs_mode="rgb", width=48, height=32, control_mode="pd_ee_delta_pos").make()
    first = environment.reset(5)
    told = {
        "cameras": {name: [size.height, size.width] for name, size in environment.spec.cameras.items()},
        "state_names": list(environment.spec.state_names),
        "lazy": [not image.rendered for image in first.images.values()],
        "pixels": {name: [str(i.pixels.dtype), *i.pixels.shape] for name, i in first.images.items()},
        "spread": {name: float(image.pixels.std()) for name, image in first.images.items()},
        "same_seed": [
            bool(np.array_equal(image.pixels, first.images[name].pixels))
            for name, image in environment.reset(5).images.items()
        ],
        "own_sizes": {name: [s.height, s.width] for name, s in ManiSkillConfig().make().spec.cameras.items()},
        "none": list(ManiSkillConfig(render=False).make().spec.cameras),
    }
    environment.close()
    told["contract"] = broken_by(ManiSkillConfig(obs_mode="rgb", width=48, height=32).make)
    return told


def gpu():
    make = partial(ManiSkillConfig(render=False).make_vector, 4)
    vector = make()
    told = {"batch": isinstance(vector, ManiSkillVector), "num_envs": vector.num_envs}
    vector.close()
    return told | {"contract": broken_by(make)}


def made(options):
    return ManiSkillConfig(**options).make()


print(json.dumps({"states": states, "pictures": pictures, "gpu": gpu}[sys.argv[1]]()))
