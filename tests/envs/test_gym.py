"""The Gymnasium adapter with real environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from taketwo.envs.gym import GymConfig
from taketwo.errors import ConfigError, RenderingError
from taketwo.testing import check_env


class Kitchen(gymnasium.Env):
    """A Dict observation with a picture and nested numbers."""

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012
    observation_space = spaces.Dict(
        {
            "camera": spaces.Dict({"wrist": spaces.Box(0, 255, (8, 10, 3), np.uint8)}),
            "joints": spaces.Box(-1, 1, (3,), np.float32),
            "gripper": spaces.Box(0, 1, (1,), np.float32),
        }
    )
    action_space = spaces.Box(-1, 1, (2, 2), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._joints = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self._observation(), {}

    def step(self, action):
        assert action.shape == (2, 2) and action.dtype == np.float32
        self._joints = self._joints * 0.9 + action.ravel()[:3] * 0.1
        return self._observation(), float(self._joints.sum()), False, False, {"success": bool(action[0, 0] > 0.9)}

    def _observation(self):
        pixels = np.full((8, 10, 3), int(self._joints[0] * 50 + 100), np.uint8)
        return {"camera": {"wrist": pixels}, "gripper": np.ones(1, np.float32), "joints": self._joints.copy()}


class UsesItsBuffersAgain(Kitchen):
    """Writes every observation into the same arrays."""

    def _observation(self):
        observation = super()._observation()
        if not hasattr(self, "_kept"):
            self._kept = observation
        self._kept["camera"]["wrist"][:] = observation["camera"]["wrist"]
        self._kept["joints"][:] = observation["joints"]
        return self._kept


class NoRate(Kitchen):
    metadata = {"render_modes": []}  # noqa: RUF012


gymnasium.register("Kitchen-v0", Kitchen, max_episode_steps=17)
gymnasium.register("NoRate-v0", NoRate)
gymnasium.register("UsesItsBuffersAgain-v0", UsesItsBuffersAgain)


@pytest.mark.parametrize(
    "config",
    [
        GymConfig(),
        GymConfig(id="Pendulum-v1", render=False),
        GymConfig(id="FrozenLake-v1", render=False),
        GymConfig(id="Kitchen-v0", render=False),
        GymConfig(id="UsesItsBuffersAgain-v0", render=False),
    ],
    ids=lambda config: config.id,
)
def test_the_adapter_keeps_the_contract(config):
    check_env(config.make)


def test_it_is_the_same_episode_as_gymnasiums_own():
    ours, theirs = GymConfig(id="Pendulum-v1", render=False).make(), gymnasium.make("Pendulum-v1")
    assert np.array_equal(ours.reset(3).state, theirs.reset(seed=3)[0].astype(np.float64))
    for _ in range(10):
        result = ours.step(np.array([0.5]))
        state, reward, *_ = theirs.step(np.array([0.5], np.float32))
        assert np.array_equal(result.observation.state, state.astype(np.float64))
        assert result.reward == float(reward)


def test_a_dict_observation_becomes_state_and_pictures_by_their_dotted_names():
    environment = GymConfig(id="Kitchen-v0", render=False).make()
    assert set(environment.spec.cameras) == {"camera.wrist"}
    assert environment.spec.action_dim == 4
    assert environment.spec.control_hz == 20
    observation = environment.reset(0)
    assert len(observation.state) == len(environment.spec.state_names) == 4
    gripper = environment.spec.state_names.index("gripper_0")
    assert observation.state[gripper] == 1.0
    assert observation.images["camera.wrist"].pixels.shape == (8, 10, 3)


def test_the_registered_limit_is_told_and_left_to_the_session():
    environment = GymConfig(id="Kitchen-v0", render=False).make()
    assert environment.spec.max_episode_steps == 17
    environment.reset(0)
    assert not any(environment.step(np.zeros(4)).truncated for _ in range(40))


def test_success_is_taken_from_info_and_absent_where_it_is():
    kitchen = GymConfig(id="Kitchen-v0", render=False).make()
    kitchen.reset(0)
    assert kitchen.step(np.full(4, 1.0)).success is True
    assert kitchen.step(np.zeros(4)).success is False
    pole = GymConfig(render=False).make()
    pole.reset(0)
    assert pole.step(np.zeros(1)).success is None


def test_render_is_a_camera_drawn_only_when_looked_at():
    environment = GymConfig().make()
    observation = environment.reset(0)
    assert not observation.images["render"].rendered
    assert observation.images["render"].pixels.shape == (400, 600, 3)
    for _ in range(5):
        later = environment.step(np.ones(1)).observation
    assert not np.array_equal(later.images["render"].pixels, observation.images["render"].pixels)
    stale = environment.step(np.ones(1)).observation
    environment.step(np.ones(1))
    with pytest.raises(RenderingError):
        _ = stale.images["render"].pixels


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "CartPole-v99"}, "CartPole"),
        ({"id": "NoSuchEnvironment-v0"}, "NoSuchEnvironment"),
        ({"id": "no_such_module:Thing-v0"}, "no_such_module"),
        ({"id": "CartPole-v1", "kwargs": {"wheels": 4}}, "wheels"),
        ({"id": "NoRate-v0", "render": False}, "control_hz"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        GymConfig(**options).make()
    assert "\n" not in str(caught.value)


def test_one_that_cannot_be_used_is_closed(monkeypatch):
    closed = []
    monkeypatch.setattr(NoRate, "close", lambda self: closed.append(self))
    with pytest.raises(ConfigError, match="control_hz"):
        GymConfig(id="NoRate-v0", render=False).make()
    assert len(closed) == 1


def test_an_id_may_name_the_module_that_registers_it(tmp_path, monkeypatch):
    (tmp_path / "their_envs.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import PendulumEnv\n"
        "gymnasium.register('TheirPendulum-v0', PendulumEnv, max_episode_steps=9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    environment = GymConfig(id="their_envs:TheirPendulum-v0", render=False).make()
    assert environment.spec.max_episode_steps == 9
    assert environment.spec.name == "TheirPendulum-v0"


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ConfigError, match="control_hz"):
        GymConfig(control_hz=0.0)
