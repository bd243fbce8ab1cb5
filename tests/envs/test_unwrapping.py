"""What an environment has is found under its wrappers, which are left as they are."""

import gymnasium
import pytest
from gymnasium.wrappers import ClipAction, TimeLimit

from taketwo.envs.push import PushConfig
from taketwo.envs.push.batched import BatchedPush
from taketwo.envs.push.wrapped import wrap
from taketwo.envs.unwrapping import find, find_method, layers


@pytest.fixture
def push():
    return BatchedPush(2, PushConfig(cameras=()))


class Silent:
    """A wrapper that forwards nothing."""

    def __init__(self, **links):
        self.__dict__.update(links)

    def step(self, actions):
        raise AssertionError("not to be called")


def test_every_layer_comes_once_from_the_outside(push):
    wrapped = wrap(push)
    assert list(layers(wrapped)) == [wrapped, wrapped.env, wrapped.env.env, push]
    env = TimeLimit(ClipAction(gymnasium.make("Pendulum-v1", disable_env_checker=True).unwrapped), 5)
    assert list(layers(env)) == [env, env.env, env.unwrapped]


@pytest.mark.parametrize("link", ["env", "venv", "unwrapped"])
def test_attributes_are_found_where_wrappers_forward_nothing(push, link):
    wrapped = Silent(**{link: Silent(env=Silent(env=push))})
    assert not hasattr(wrapped, "num_envs")
    assert find(wrapped, "num_envs") == 2
    assert find(wrapped, "config.robots") == 2
    assert find(wrapped, "config.wheels", "none") == "none"
    assert find(wrapped, "no_such_thing") is None


def test_the_outermost_layer_that_has_it_counts(push):
    wrapped = Silent(env=Silent(dt=0.5, env=push))
    assert find(wrapped, "dt") == 0.5
    assert find(wrapped.env.env, "dt") == push.dt


def test_a_number_that_is_called_like_a_method_is_passed_over(push):
    wrapped = Silent(seed=3, env=push)
    assert find_method(wrapped, "seed") == push.seed
    assert find_method(wrapped, "num_envs") is None


def test_links_that_lead_back_or_nowhere_end_the_search(push):
    first, second = Silent(), Silent()
    first.env, second.env = second, first
    assert find(first, "num_envs") is None
    assert find(Silent(env="PushCube-v1", unwrapped={"num_envs": 5}), "num_envs") is None


@pytest.mark.parametrize("path", ["_worlds", "config._robots", "__dict__"])
def test_private_names_are_not_looked_at(push, path):
    with pytest.raises(ValueError, match="private"):
        find(wrap(push), path)


def test_nothing_is_written(push):
    wrapped = wrap(push)
    before = [dict(vars(layer)) for layer in layers(wrapped)]
    find_method(wrapped, "capture")
    find(wrapped, "no_such_thing")
    assert [dict(vars(layer)) for layer in layers(wrapped)] == before
