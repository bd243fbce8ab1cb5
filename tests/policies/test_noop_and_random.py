"""The two policies that take no notice of the task."""

import dataclasses

import numpy as np
import pytest

from taketwo.envs.aloha import AlohaConfig
from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.noop import NoopConfig
from taketwo.policies.random import RandomConfig
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import EpisodeInfo, Observation

POINT = PointEnvironment().spec
POSES = dataclasses.replace(POINT, state_names=POINT.action_names)


def seen(*state):
    return Observation(state=np.array(state, dtype=float))


def answers(config, spec, seed, state, count=1):
    policy = config.make(spec)
    policy.reset(EpisodeInfo(0, seed))
    return np.concatenate([policy.infer(seen(*state)).actions for _ in range(count)])


@pytest.mark.parametrize("config", [NoopConfig(), RandomConfig(), RandomConfig(chunk_size=4)])
def test_both_keep_the_contract_of_policies(config):
    check_policy(config.make(POINT), PointEnvironment())


def test_noop_holds_the_pose_in_which_the_episode_begins():
    policy = NoopConfig().make(POSES)
    policy.reset(EpisodeInfo(0, 0))
    assert policy.infer(seen(0.05, -0.02)).actions.tolist() == [[0.05, -0.02]]
    assert policy.infer(seen(0.04, -0.03)).actions.tolist() == [[0.05, -0.02]]
    policy.reset(EpisodeInfo(1, 0))
    assert policy.infer(seen(0.01, 0.02)).actions.tolist() == [[0.01, 0.02]]


def test_noop_keeps_real_arms_where_they_are():
    environment = AlohaConfig(cameras=()).make()
    policy = NoopConfig().make(environment.spec)
    observation = first = environment.reset(0)
    policy.reset(EpisodeInfo(0, 0))
    for _ in range(100):
        observation = environment.step(policy.infer(observation).actions[0]).observation
    environment.close()
    assert np.abs(observation.state - first.state).max() < 0.02


def test_noop_sends_zeros_within_the_limits_where_actions_are_no_poses():
    assert answers(NoopConfig(), POINT, 0, (0.5, 0.5, 0.1, 0.1)).tolist() == [[0.0, 0.0]]
    positive = dataclasses.replace(POINT, action_low=np.array([0.02, -0.1]))
    assert answers(NoopConfig(), positive, 0, (0.5, 0.5, 0.1, 0.1)).tolist() == [[0.02, 0.0]]


def test_noop_refuses_a_state_that_is_not_what_the_specification_says():
    with pytest.raises(PolicyError, match=r"\(2,\), got \(3,\)"):
        answers(NoopConfig(), POSES, 0, (0.0, 0.0, 0.0))


def test_random_actions_fill_the_limits_evenly():
    actions = answers(RandomConfig(chunk_size=2000), POINT, 0, (0.5, 0.5, 0.1, 0.1))
    assert actions.shape == (2000, 2)
    assert np.abs(actions).max() <= 0.1
    assert np.abs(actions.std(axis=0) - 0.2 / np.sqrt(12)).max() < 0.003


def test_random_actions_are_normal_where_a_dimension_has_no_limits():
    half = dataclasses.replace(POINT, action_low=np.array([-np.inf, -0.1]), action_high=np.array([np.inf, 0.1]))
    actions = answers(RandomConfig(chunk_size=2000), half, 0, (0.5, 0.5, 0.1, 0.1))
    assert abs(actions[:, 0].std() - 1.0) < 0.1
    assert np.abs(actions[:, 1]).max() <= 0.1


def test_random_actions_keep_to_a_limit_on_one_side():
    above = dataclasses.replace(POINT, action_low=np.zeros(2), action_high=np.full(2, np.inf))
    assert answers(RandomConfig(chunk_size=200), above, 0, (0.5, 0.5, 0.1, 0.1)).min() >= 0.0


def test_random_actions_around_the_state_have_the_scale_asked_for():
    wide = dataclasses.replace(POSES, action_low=np.full(2, -5.0), action_high=np.full(2, 5.0))
    actions = answers(RandomConfig(scale=0.2, chunk_size=2000), wide, 0, (3.0, -3.0))
    assert np.abs(actions.mean(axis=0) - [3.0, -3.0]).max() < 0.02
    assert np.abs(actions.std(axis=0) - 0.2).max() < 0.02


def test_random_actions_are_the_same_for_the_same_seed_only():
    state = (0.5, 0.5, 0.1, 0.1)
    first = answers(RandomConfig(), POINT, 7, state, count=5)
    assert np.array_equal(first, answers(RandomConfig(), POINT, 7, state, count=5))
    assert not np.array_equal(first, answers(RandomConfig(), POINT, 8, state, count=5))
    assert len(np.unique(first[:, 0])) == 5


def test_random_refuses_a_scale_where_the_state_is_no_action():
    with pytest.raises(ConfigError, match="scale"):
        RandomConfig(scale=0.1).make(POINT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": float("inf")}, "scale must be a finite number, 0 or more, not inf"),
        ({"scale": -1.0}, "scale must be a finite number, 0 or more, not -1.0"),
        ({"scale": float("nan")}, "scale must be a finite number, 0 or more, not nan"),
        ({"chunk_size": 0}, "chunk_size must be 1 or more, not 0"),
    ],
)
def test_random_names_a_bad_option(options, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        RandomConfig(**options)
