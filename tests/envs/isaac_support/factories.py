"""Factories as users write them, over our own push worlds, with whatever arrays are asked for."""

import numpy as np

from taketwo.envs.push import PushConfig
from taketwo.envs.push.batched import BatchedPush
from taketwo.envs.push.wrapped import Wrapper, wrap

CONFIG = PushConfig(cameras=())


def wrapped(num_envs, **options):
    """Three wrappers around legged_gym's shape, which take actions from -1 to 1."""
    return wrap(BatchedPush(num_envs, CONFIG, **options))


class Unseeded(Wrapper):
    """Has no `seed`, like an environment that draws all it needs from what it was built with."""

    def __getattr__(self, name):
        if name == "seed":
            raise AttributeError(name)
        return super().__getattr__(name)


class Sealed(Unseeded):
    """Shows nothing of what it is around."""

    def __init__(self, env):
        self._inside = env
        self.num_envs, self.num_actions, self.dt = env.num_envs, env.num_actions, env.dt

    def __getattr__(self, name):
        raise AttributeError(name)

    def reset(self):
        return self._inside.reset()

    def step(self, actions):
        return self._inside.step(actions)

    def photograph(self, env_id):
        return self._inside.capture(env_id, "top", 48, 64)


def seeded_when_built_and_filmed(num_envs, seed):
    return Sealed(BatchedPush(num_envs, PushConfig(), seed=seed))


def seeded_when_built(num_envs, seed):
    return Sealed(BatchedPush(num_envs, CONFIG, seed=seed, max_episode_length=5))


class DrawsFromTheLibraries(Wrapper):
    """Where legged_gym draws from PyTorch's and NumPy's own generators, this draws from NumPy's."""

    def reset(self):
        self.env.seed(int(np.random.randint(1 << 31)))
        return self.env.reset()


def seeded_by_the_libraries(num_envs):
    return Sealed(DrawsFromTheLibraries(BatchedPush(num_envs, CONFIG)))


class OneArray(Wrapper):
    """Leaves privileged observations away, as Isaac Gym's own environments do, and has an axis for robots."""

    def reset(self):
        return self._of_each(self.env.reset()[0])

    def step(self, actions):
        assert actions.shape == (self.num_envs, 2, 3)
        obs, _, rewards, dones, extras = self.env.step(actions.reshape(self.num_envs, 6))
        return self._of_each(obs), rewards[:, None].repeat(2, 1), dones.astype(np.int64), extras

    def _of_each(self, obs):
        return np.stack([obs, -obs], axis=1)

    @property
    def num_actions(self):
        return 3


def of_each_robot(num_envs):
    return OneArray(BatchedPush(num_envs, CONFIG))


class Camera:
    """The camera of environment 0 alone, which is told nothing."""

    def __init__(self, env):
        self._env = env

    def get_observation(self):
        return np.moveaxis(self._env.capture(0, "top", 48, 64).astype(np.int32), 2, 0)


class WithCameras(Wrapper):
    """Has the ways to take a picture that simulators have."""

    calls = 0

    def __init__(self, env):
        super().__init__(env)
        self.rendering_camera = Camera(env)
        self.broken = "no method"

    def render(self):
        self.calls += 1
        return np.stack([self.env.capture(env, "top", 32, 48) for env in range(self.num_envs)])

    def grey(self):
        return np.zeros((8, 8), np.float32)

    def draw(self, surface):
        raise AssertionError("not to be called")


def with_cameras(num_envs, **options):
    return wrap(WithCameras(BatchedPush(num_envs, PushConfig(), **options)))


class Bare:
    """Tells next to nothing, but what it is given to tell."""

    def __init__(self, num_envs, rows=None, **told):
        self.num_envs = num_envs
        self.num_actions = 2
        self._rows = rows or num_envs
        vars(self).update(told)

    def reset(self):
        return np.zeros((self._rows, 3), np.float32)

    def step(self, actions):
        return "nothing"


def bare(num_envs, **told):
    return Bare(num_envs, **told)


def fewer(num_envs):
    return Bare(num_envs - 1)


def failing(num_envs):
    raise RuntimeError("no GPU was found")


not_callable = 5
