"""One push world with PettingZoo's parallel interface."""

import subprocess
import sys

import numpy as np
import pytest

from taketwo.envs.push import PushConfig
from taketwo.errors import ConfigError, EnvironmentFault

pytest.importorskip("pettingzoo")

from taketwo.envs.push.parallel import PushParallel

CONFIG = PushConfig(cameras=(), robots=3)


@pytest.fixture
def env():
    env = PushParallel(CONFIG)
    yield env
    env.close()


def still(env):
    return {name: np.zeros(3, np.float32) for name in env.agents}


def test_pettingzoo_finds_nothing_wrong():
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    parallel_api_test(PushParallel(CONFIG, max_episode_steps=30), num_cycles=100)
    parallel_seed_test(lambda: PushParallel(CONFIG, max_episode_steps=30), num_cycles=60)


def test_an_agent_sees_itself_first_then_the_others(env):
    observations, infos = env.reset(seed=3)
    poses = env.state().reshape(5, 3)
    assert list(observations) == list(infos) == ["robot_0", "robot_1", "robot_2"]
    assert np.array_equal(observations["robot_1"].reshape(5, 3), poses[[1, 0, 2, 3, 4]])
    assert np.array_equal(observations["robot_2"].reshape(5, 3), poses[[2, 0, 1, 3, 4]])


def test_it_is_the_same_world_as_the_single_one(env):
    single = PushConfig(cameras=(), robots=3).make()
    assert np.array_equal(env.reset(seed=8)[0]["robot_0"], single.reset(8).state.astype(np.float32))
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 9))
    for action in actions:
        _, rewards, _, _, infos = env.step(dict(zip(env.agents, action.reshape(3, 3), strict=True)))
        result = single.step(action)
        assert np.array_equal(env.state(), result.observation.state.astype(np.float32))
        assert set(rewards.values()) == {result.reward}
        assert infos["robot_2"]["metrics"] == result.info["metrics"]
    single.close()


def test_time_truncates_and_leaves_no_agents():
    env = PushParallel(CONFIG, max_episode_steps=2)
    env.reset(seed=0)
    assert not any(env.step(still(env))[3].values())
    _, _, terminations, truncations, _ = env.step(still(env))
    assert all(truncations.values()) and not any(terminations.values())
    assert env.agents == []
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step({})
    env.close()


def test_success_terminates_for_all(env):
    env.reset(seed=0)
    env._world.data.mocap_pos[0, :2] = env._world.poses()[-2, :2]
    _, rewards, terminations, truncations, infos = env.step(still(env))
    assert all(terminations.values()) and not any(truncations.values())
    assert all(reward > 0.9 for reward in rewards.values())
    assert infos["robot_0"]["is_success"]
    assert env.agents == []


def test_resets_without_a_seed_go_on_from_the_last_one(env):
    def sequence():
        states = []
        for seed in (4, None, None):
            env.reset(seed=seed)
            states.append(env.state().tobytes())
        return states

    first = sequence()
    assert len(set(first)) == 3
    assert sequence() == first


def test_it_draws_when_asked_to():
    env = PushParallel(PushConfig(cameras=("top",), width=64, height=48), render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (48, 64, 3)
    env.close()
    blind = PushParallel(CONFIG)
    assert blind.render() is None
    blind.close()


def test_what_does_not_fit_is_a_line(env):
    with pytest.raises(ConfigError, match="rgb_array"):
        PushParallel(CONFIG, render_mode="human")
    with pytest.raises(ConfigError, match="camera"):
        PushParallel(CONFIG, render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(EnvironmentFault, match="robot_1"):
        env.step({"robot_0": np.zeros(3), "robot_2": np.zeros(3)})
    with pytest.raises(EnvironmentFault, match=r"robot_2.*\(4,\)"):
        env.step({"robot_0": np.zeros(3), "robot_1": np.zeros(3), "robot_2": np.zeros(4)})
    with pytest.raises(EnvironmentFault, match=r"robot_0\.forward"):
        env.step({**still(env), "robot_0": np.array([np.nan, 0, 0])})


def test_without_pettingzoo_it_is_a_line():
    code = "import sys; sys.modules['pettingzoo'] = None; import taketwo.envs.push.parallel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError: pettingzoo is not installed: pip install 'taketwo[pettingzoo]'" in done.stderr
