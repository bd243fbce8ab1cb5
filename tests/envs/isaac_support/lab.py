"""A stand-in for Isaac Lab, which needs its own GPU simulator and cannot be installed beside these tests.

What is Isaac Lab's is the shape: a Gymnasium environment that is registered with a configuration, whose `reset` and
`step` give groups of observations, which resets itself, and whose termination manager tells why. The worlds are ours.
"""

from types import SimpleNamespace

import gymnasium
import numpy as np

from taketwo.envs.push import PushConfig
from taketwo.envs.push.batched import BatchedPush

ID = "Isaac-Push-Stand-In-v0"


class TerminationManager:
    """The terms that ended episodes in the last step."""

    active_terms = ("time_out", "success")

    def __init__(self):
        self.terms = {}

    def get_term(self, name):
        return self.terms[name]


class LabPush(gymnasium.Env):
    """Push worlds with Isaac Lab's interface."""

    metadata = {"render_modes": [None, "rgb_array"]}  # noqa: RUF012

    def __init__(self, cfg, render_mode=None, **kwargs):
        assert set(kwargs) <= {"env_cfg_entry_point"}, "Gymnasium passes on all that was registered"
        self.cfg = cfg
        self.render_mode = render_mode
        self.num_envs = cfg.scene.num_envs
        self.step_dt = 0.04
        self.single_action_space = gymnasium.spaces.Box(-np.inf, np.inf, (6,), np.float32)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.termination_manager = TerminationManager()
        self._push = BatchedPush(
            self.num_envs, PushConfig(cameras=()), max_episode_length=cfg.max_episode_length, library=cfg.library
        )

    def reset(self, seed=None, options=None):
        if seed is not None:
            self._push.seed(seed)
        return self._grouped(*self._push.reset()), {}

    def step(self, action):
        obs, privileged_obs, rewards, _, extras = self._push.step(action)
        self.termination_manager.terms = {"time_out": extras["time_outs"], "success": extras["success"]}
        told = {"log": {"Episode_Reward/pushed": 0.5}}
        return self._grouped(obs, privileged_obs), rewards, extras["success"], extras["time_outs"], told

    def render(self):
        return self._push.capture(0, "top", 32, 48)[..., :3]

    def close(self):
        self._push.close()

    def _grouped(self, obs, privileged_obs):
        pixels = np.zeros((self.num_envs, 8, 10, 3), np.uint8)
        pixels[:, 0, 0] = np.arange(self.num_envs)[:, None]
        if self.cfg.library == "torch":
            import torch

            pixels = torch.from_numpy(pixels)
        return {
            "policy": {"joints": obs[:, :3], "object": obs[:, 3:]},
            "critic": privileged_obs,
            "wrist": {"rgb": pixels, "depth": pixels[..., :1] * 0.5},
        }


def default_config():
    return SimpleNamespace(scene=SimpleNamespace(num_envs=4096), library="numpy", max_episode_length=5)


gymnasium.register(ID, entry_point=LabPush, kwargs={"env_cfg_entry_point": default_config}, disable_env_checker=True)
gymnasium.register("Push-Without-Configuration-v0", entry_point=lambda num_envs: LabPush(configured(num_envs)))


def configured(num_envs, library="numpy"):
    cfg = default_config()
    cfg.scene.num_envs, cfg.library = num_envs, library
    return cfg


def parse_env_cfg(task_name, num_envs=None):
    """What `isaaclab_tasks.utils` has."""
    cfg = gymnasium.spec(task_name).kwargs["env_cfg_entry_point"]()
    cfg.scene.num_envs = num_envs
    return cfg


def make(num_envs, library="numpy"):
    """An entry, for those who build it themselves."""
    return LabPush(configured(num_envs, library))


class ForTraining(gymnasium.Wrapper):
    """What RSL-RL's wrapper makes of it: one array, and one kind of end."""

    def reset(self, **kwargs):
        obs, extras = self.env.reset(**kwargs)
        return obs["critic"], extras

    def step(self, actions):
        obs, rewards, terminated, truncated, extras = self.env.step(actions)
        return obs["critic"], rewards, terminated | truncated, extras | {"time_outs": truncated}


def make_for_training(num_envs):
    return ForTraining(make(num_envs))
