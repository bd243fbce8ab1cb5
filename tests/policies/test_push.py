"""The policy for the push world, in the world itself, without rendering."""

import dataclasses

import numpy as np
import pytest

from taketwo.envs.push import OBJECTS, PushConfig
from taketwo.envs.push.environment import MAX_EPISODE_STEPS
from taketwo.envs.push.shapes import SHAPES
from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.push import PushPolicyConfig
from taketwo.policies.push_contacts import GAP_M, Outline
from taketwo.policies.push_steering import giving_way, waypoint
from taketwo.seeding import episode_seed
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import EpisodeInfo

RADIUS = 0.18


@pytest.fixture(scope="module")
def worlds():
    environments = {name: PushConfig(object=name, cameras=()).make() for name in OBJECTS}
    yield environments
    for environment in environments.values():
        environment.close()


@pytest.fixture(scope="module")
def outlines():
    return {name: Outline(SHAPES[name].outline, RADIUS) for name in OBJECTS}


def episode(environment, config, index=0, limit=MAX_EPISODE_STEPS):
    """The actions of an episode, and the last result."""
    policy = config.make(environment.spec)
    seed = episode_seed(0, index)
    observation = environment.reset(seed)
    policy.reset(EpisodeInfo(index, seed))
    actions = []
    for _ in range(limit):
        actions.append(policy.infer(observation).actions[0])
        result = environment.step(actions[-1])
        observation = result.observation
        if result.success:
            break
    return np.array(actions), result


@pytest.mark.parametrize("name", OBJECTS)
def test_it_keeps_the_contract_of_policies(worlds, name):
    config = PushPolicyConfig(placement_noise=0.02, tremor=0.1, hesitation=0.1)
    check_policy(config.make(worlds[name].spec), worlds[name])


@pytest.mark.parametrize("name", OBJECTS)
def test_it_brings_every_object_to_its_target(worlds, name):
    for index in range(5):
        _, result = episode(worlds[name], PushPolicyConfig(), index)
        metrics = result.info["metrics"]
        assert result.success
        assert metrics["collaboration"] > 0.8
        assert metrics["collisions"] == 0


def test_it_does_with_more_robots_than_it_needs():
    environment = PushConfig(robots=4, cameras=()).make()
    assert all(episode(environment, PushPolicyConfig(), index)[1].success for index in range(2))
    environment.close()


def test_the_same_seed_gives_the_same_episode(worlds):
    config = PushPolicyConfig(placement_noise=0.02, tremor=0.1, hesitation=0.01)
    first, second = (episode(worlds["cuboid"], config, 3, limit=150)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, episode(worlds["cuboid"], config, 4, limit=150)[0])


def test_tremor_shakes_and_stays_within_the_limits(worlds):
    limits = worlds["cuboid"].spec.action_high
    calm, _ = episode(worlds["cuboid"], PushPolicyConfig(), limit=40)
    shaken, _ = episode(worlds["cuboid"], PushPolicyConfig(tremor=0.3), limit=40)
    assert np.abs(np.diff(shaken, axis=0)).mean() > 2 * np.abs(np.diff(calm, axis=0)).mean()
    assert (np.abs(shaken) <= limits).all()


def test_hesitation_stops_all_robots(worlds):
    calm, _ = episode(worlds["cuboid"], PushPolicyConfig(), limit=50)
    hesitant, _ = episode(worlds["cuboid"], PushPolicyConfig(hesitation=0.2), limit=50)
    assert (calm != 0).any(axis=1).all()
    assert (hesitant == 0).all(axis=1).sum() > 10


def test_noise_makes_it_fail_more_often(worlds):
    noisy = PushPolicyConfig(placement_noise=0.1, tremor=0.5, hesitation=0.05)
    limit = 600  # within which it solves these without noise
    assert all(episode(worlds["cuboid"], PushPolicyConfig(), index, limit)[1].success for index in range(4))
    assert not all(episode(worlds["cuboid"], noisy, index, limit)[1].success for index in range(4))


def test_without_waiting_one_robot_pushes_before_the_other_is_there(worlds):
    waiting = [episode(worlds["cuboid"], PushPolicyConfig(), index)[1] for index in range(4)]
    hasty = [episode(worlds["cuboid"], PushPolicyConfig(skip_waiting=True), index)[1] for index in range(4)]
    shares = [np.mean([result.info["metrics"]["collaboration"] for result in results]) for results in (waiting, hasty)]
    assert shares[1] < shares[0] - 0.02


@pytest.mark.parametrize("name", OBJECTS)
def test_places_touch_the_outline_and_leave_room_for_two(outlines, name):
    outline = outlines[name]
    assert np.allclose(outline.distance(outline.places.centres), RADIUS, atol=2e-3)
    for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False):
        pair = outline.choose(np.array([np.cos(angle), np.sin(angle), 0.0]))
        apart = np.linalg.norm(np.subtract(*outline.places.centres[list(pair)]))
        assert apart >= 2 * RADIUS + GAP_M - 1e-9
        assert outline.fit(pair, np.array([np.cos(angle), np.sin(angle), 0.0])) > 0.8


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", ["cuboid", "t_block"])
def test_a_turn_is_pushed_by_a_couple(outlines, name, sign):
    outline = outlines[name]
    pair = list(outline.choose(np.array([0.0, 0.0, sign])))
    points, forces = outline.places.points[pair], -outline.places.normals[pair]
    torques = points[:, 0] * forces[:, 1] - points[:, 1] * forces[:, 0]
    assert (sign * torques > 0.1).all()
    assert np.linalg.norm(forces.sum(axis=0)) < 1.0


def test_a_pair_that_is_to_be_avoided_is_not_chosen(outlines):
    motion = np.array([1.0, 0.0, 0.0])
    first = outlines["cuboid"].choose(motion)
    second = outlines["cuboid"].choose(motion, avoid=first)
    points = outlines["cuboid"].places.points
    assert max(np.linalg.norm(points[a] - points[b]) for a, b in zip(first, second, strict=True)) >= 0.15


def test_distance_to_a_polygon_is_that_to_its_nearest_point(outlines):
    corners = SHAPES["t_block"].outline
    along = np.linspace(0, 1, 2001)[:, np.newaxis, np.newaxis]
    dense = (corners + along * (np.roll(corners, -1, axis=0) - corners)).reshape(-1, 2)
    points = np.random.default_rng(0).uniform(-2, 2, (50, 2))
    nearest = np.linalg.norm(points[:, np.newaxis] - dense, axis=2).min(axis=1)
    assert np.allclose(outlines["t_block"].distance(points), nearest, atol=1e-3)


def walk(outline, here, goal, others=(), steps=400):
    """The way that following the waypoints leads."""
    others = np.reshape(others, (-1, 2))
    way = [np.array(here, float)]
    for _ in range(steps):
        towards = waypoint(outline, way[-1], np.array(goal), others) - way[-1]
        way.append(way[-1] + towards * min(1.0, 0.02 / max(np.linalg.norm(towards), 1e-9)))
    return np.array(way)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_way_goes_round_the_object(outlines, name):
    way = walk(outlines[name], (-1.5, 0.0), (1.0, 0.1))
    assert np.linalg.norm(way[-1] - [1.0, 0.1]) < 0.02
    assert outlines[name].distance(way).min() > RADIUS


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_way_goes_round_a_robot_that_stands_in_it(outlines, side):
    standing = (0.0, side * 0.7)
    way = walk(outlines["cuboid"], (-1.2, side * 0.1), (1.0, side * 0.1), [standing])
    assert np.linalg.norm(way[-1] - [1.0, side * 0.1]) < 0.02
    assert np.linalg.norm(way - standing, axis=1).min() > 2 * RADIUS


def test_robots_that_meet_give_way_and_others_do_not():
    towards = [np.array([0.5, 0.0]), np.array([-0.5, 0.0])]
    near, far = np.array([[0.0, 0.0], [0.45, 0.0]]), np.array([[0.0, 0.0], [2.0, 0.0]])
    assert np.array_equal(giving_way(0, towards, far, RADIUS), towards[0])
    first, second = (giving_way(robot, towards, near, RADIUS) for robot in range(2))
    assert first[0] < 0.25 and second[0] > -0.25
    assert first[1] * second[1] < 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"placement_noise": -1.0}, "placement_noise"),
        ({"tremor": float("nan")}, "tremor"),
        ({"hesitation": 1.5}, "hesitation"),
    ],
)
def test_knobs_out_of_range_are_a_line(options, said):
    with pytest.raises(ConfigError, match=said):
        PushPolicyConfig(**options)


def test_another_environment_is_refused():
    with pytest.raises(ConfigError, match="point"):
        PushPolicyConfig().make(PointEnvironment().spec)


def test_a_robot_alone_is_refused():
    environment = PushConfig(robots=1, cameras=()).make()
    with pytest.raises(ConfigError, match="two robots"):
        PushPolicyConfig().make(environment.spec)
    environment.close()


def test_an_observation_without_the_outline_is_a_line(worlds):
    policy = PushPolicyConfig().make(worlds["cuboid"].spec)
    observation = worlds["cuboid"].reset(0)
    with pytest.raises(PolicyError, match="object_outline"):
        policy.infer(dataclasses.replace(observation, extras={}))


def test_a_state_of_another_number_of_robots_is_a_line(worlds):
    policy = PushPolicyConfig().make(worlds["cuboid"].spec)
    observation = worlds["cuboid"].reset(0)
    with pytest.raises(PolicyError, match=r"\(12,\).*\(15,\)"):
        policy.infer(dataclasses.replace(observation, state=np.zeros(15)))
