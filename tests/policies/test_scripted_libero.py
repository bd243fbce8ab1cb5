"""The scripted policy for `libero_object` in the real simulator, without rendering."""

import dataclasses

import numpy as np
import pytest

from taketwo.envs.libero import LiberoConfig
from taketwo.envs.libero.environment import INIT_STATE
from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.scripted import ScriptedConfig
from taketwo.policies.scripted.kinematics import angle_between, pose, rotation
from taketwo.policies.scripted.libero.phases import grasp_of
from taketwo.policies.scripted.libero.scene import Scene, Thing, turn_between, turned_by
from taketwo.policies.scripted.noise import PAUSE_S
from taketwo.seeding import episode_seed
from taketwo.serving.environments import LiberoConfig as ServedLibero
from taketwo.testing import check_policy
from taketwo.types import EpisodeInfo
from tests.envs.libero_support import ASSETS, needs_libero

LIMIT = 280
SOUP = "alphabet_soup_1"


@pytest.fixture(scope="module")
def simulator():
    environment = LiberoConfig(cameras=(), assets=ASSETS).make()
    yield environment
    environment.close()


class Rollout:
    """One episode: the actions sent and the observations before them, and whether it was solved."""

    def __init__(self, environment, config, index=0, horizon=1, limit=LIMIT):
        policy = config.make(environment.spec)
        seed = episode_seed(0, index)
        observation = environment.reset(seed, {INIT_STATE: index})
        policy.reset(EpisodeInfo(index, seed))
        self.observations, sent, self.solved = [], [], False
        while len(sent) < limit and not self.solved:
            for action in policy.infer(observation).actions[:horizon]:
                self.observations.append(observation)
                sent.append(action)
                result = environment.step(action)
                observation, self.solved = result.observation, bool(result.success)
                if self.solved or len(sent) == limit:
                    break
        self.actions = np.array(sent)

    def height(self, name=SOUP):
        return np.array([seen.extras["object_poses"][name][2] for seen in self.observations])

    def attempts(self):
        """How often the gripper has been told to close."""
        closing = self.actions[:, 6] > 0
        return int((closing[1:] & ~closing[:-1]).sum())


@needs_libero
def test_it_keeps_the_contract_of_policies(simulator):
    config = ScriptedConfig(grasp_noise=0.02, tremor=0.01, hesitation=0.1, chunk_size=5)
    check_policy(config.make(simulator.spec), simulator)


@needs_libero
def test_it_solves_a_task_and_keeps_to_the_limits_of_actions(simulator):
    rollout = Rollout(simulator, ScriptedConfig())
    assert rollout.solved
    assert rollout.attempts() == 1
    assert len(rollout.actions) < 160
    assert np.abs(rollout.actions).max() <= 1.0


@needs_libero
@pytest.mark.parametrize("task", [1, 5])
def test_it_solves_tasks_with_something_tall_in_the_way(task):
    """A flat box that can be taken in one way only, and a can by which the hand must turn."""
    environment = LiberoConfig(task=task, cameras=(), assets=ASSETS).make()
    assert Rollout(environment, ScriptedConfig(), index=task).solved
    environment.close()


@needs_libero
@pytest.mark.parametrize(("chunk_size", "horizon"), [(8, 8), (24, 16)])
def test_it_solves_a_task_in_open_loop_chunks(simulator, chunk_size, horizon):
    assert Rollout(simulator, ScriptedConfig(chunk_size=chunk_size), horizon=horizon).solved


@needs_libero
def test_a_chunk_begins_with_what_single_steps_would_send_and_goes_where_the_arm_will_be(simulator):
    observation = simulator.reset(3)
    policies = [ScriptedConfig(chunk_size=size, tremor=0.01).make(simulator.spec) for size in (1, 12)]
    for policy in policies:
        policy.reset(EpisodeInfo(0, 3))
    single, chunk = (policy.infer(observation).actions for policy in policies)
    assert chunk.shape == (12, 7)
    assert np.array_equal(chunk[0], single[0])
    for _ in range(12):
        action = policies[0].infer(observation).actions[0]
        observation = simulator.step(action).observation
    expected = policies[1]._plans[-1].scene.expect(policies[1]._plans[-1].action)
    assert np.abs(expected.hand[:3, 3] - observation.state[:3]).max() < 0.03
    assert np.abs(simulator.reset(3).state[:3] - observation.state[:3]).max() > 0.05


@needs_libero
def test_asking_twice_for_one_observation_gives_one_answer(simulator):
    policy = ScriptedConfig(chunk_size=5, tremor=0.01, hesitation=0.2).make(simulator.spec)
    observation = simulator.reset(3)
    policy.reset(EpisodeInfo(0, 3))
    assert np.array_equal(policy.infer(observation).actions, policy.infer(observation).actions)


@needs_libero
def test_the_same_seed_gives_the_same_episode_bit_for_bit(simulator):
    config = ScriptedConfig(grasp_noise=0.01, tremor=0.01, hesitation=0.05)
    first, again = (Rollout(simulator, config, limit=40) for _ in range(2))
    assert np.array_equal(first.actions, again.actions)
    other = Rollout(simulator, config, index=1, limit=10)
    assert not np.array_equal(first.actions[:10], other.actions)


@needs_libero
def test_a_missed_grasp_is_tried_again_unless_the_check_is_skipped(simulator):
    careful = Rollout(simulator, ScriptedConfig(grasp_noise=0.03), index=3, limit=120)
    assert careful.attempts() > 1
    careless = Rollout(simulator, ScriptedConfig(grasp_noise=0.03, skip_grasp_check=True), index=3, limit=120)
    assert careless.attempts() == 1
    assert not careless.solved
    assert careless.height().max() < 0.06, "the can stays on the floor while the empty hand carries on"


@needs_libero
def test_waypoints_follow_an_object_that_is_moved(simulator):
    policy = ScriptedConfig().make(simulator.spec)
    observation = simulator.reset(0)
    policy.reset(EpisodeInfo(0, 0))
    moved = np.array([0.06, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0])
    for _ in range(25):
        poses = observation.extras["object_poses"]
        poses = {**poses, SOUP: poses[SOUP] + moved}
        seen = dataclasses.replace(observation, extras={**observation.extras, "object_poses": poses})
        observation = simulator.step(policy.infer(seen).actions[0]).observation
    assert np.linalg.norm(observation.state[:2] - poses[SOUP][:2]) < 0.02


@needs_libero
def test_tremor_has_the_standard_deviation_asked_for(simulator):
    """Radians of turn as given, metres of shift half as many; what the clipping at full speed leaves of them."""
    observation = simulator.reset(5)
    answers = []
    for seed in range(300):
        policy = ScriptedConfig(tremor=0.01).make(simulator.spec)
        policy.reset(EpisodeInfo(0, seed))
        answers.append(policy.infer(observation).actions[0])
    noise = np.array(answers)
    assert noise[:, 3:6].std(axis=0) * 0.5 == pytest.approx(0.01, rel=0.15)
    unclipped = np.abs(noise[:, :3]).max(axis=0) < 1
    assert unclipped.any()
    assert noise[:, :3].std(axis=0)[unclipped] * 0.05 == pytest.approx(0.005, rel=0.15)
    assert len(set(noise[:, 6])) == 1, "the gripper does not tremble"


@needs_libero
def test_hesitation_stops_the_arm(simulator):
    policy = ScriptedConfig(hesitation=1.0).make(simulator.spec)
    start = observation = simulator.reset(5)
    policy.reset(EpisodeInfo(0, 5))
    for _ in range(round(2 * PAUSE_S[1] * 20)):
        action = policy.infer(observation).actions[0]
        observation = simulator.step(action).observation
        assert np.linalg.norm(observation.state[:3] - start.state[:3]) < 0.02
    assert action[:6].any(), "it dithers"


@needs_libero
def test_a_policy_made_for_a_servers_libero_reads_what_came_over_the_wire(simulator):
    observation = simulator.reset(2)
    here, there = ScriptedConfig().make(simulator.spec), ScriptedConfig().make(ServedLibero().make().spec)
    for policy in (here, there):
        policy.reset(EpisodeInfo(0, 1))
    sent = {
        "goal": [list(predicate) for predicate in observation.extras["goal"]],
        "touched_by": {finger: sorted(names) for finger, names in observation.extras["touched_by"].items()},
        "object_poses": observation.extras["object_poses"],
        "object_boxes": {name: box.tolist() for name, box in observation.extras["object_boxes"].items()},
    }
    received = dataclasses.replace(observation, extras=sent)
    assert np.array_equal(there.infer(received).actions, here.infer(observation).actions)


@needs_libero
@pytest.mark.parametrize("lacking", ["object_poses", "object_boxes", "touched_by", "goal"])
def test_an_observation_that_does_not_tell_enough_is_refused(simulator, lacking):
    policy = ScriptedConfig().make(simulator.spec)
    observation = simulator.reset(0)
    policy.reset(EpisodeInfo(0, 0))
    extras = {name: value for name, value in observation.extras.items() if name != lacking}
    with pytest.raises(PolicyError, match=lacking if lacking != "object_poses" else "goal|object_poses") as raised:
        policy.infer(dataclasses.replace(observation, extras=extras))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["libero_goal_3", "libero_10_0"])
def test_a_task_of_another_suite_is_refused_in_one_line(name):
    spec = dataclasses.replace(ServedLibero().make().spec, name=name)
    with pytest.raises(ConfigError, match=rf"libero_object.*, not {name}; choose another --policy.type"):
        ScriptedConfig().make(spec)


def scene_with(thing_turn=0.0, others=(), sizes=(0.06, 0.06, 0.06)):
    box = np.array([[-1.0], [1.0]]) * np.array(sizes) / 2
    thing = Thing(pose([0.0, 0.0, sizes[2] / 2], rotation("z", thing_turn)), box)
    return Scene(
        hand=pose([0.0, 0.0, 0.3], rotation("x", np.pi)),
        twist=np.zeros((2, 3)),
        opening=0.078,
        thing=thing,
        container=thing,
        others=tuple(
            Thing(pose([*place, 0.08]), np.array([[-0.02, -0.02, -0.08], [0.02, 0.02, 0.08]])) for place in others
        ),
        touched=False,
    )


@pytest.mark.parametrize("turn", [0.0, 0.5, 1.2, -2.0, 3.0])
def test_a_hand_turns_no_further_than_it_has_to(turn):
    scene = scene_with(turn)
    grasp = grasp_of(scene)
    assert angle_between(grasp, scene.hand) <= np.pi / 4 + 1e-9
    assert np.allclose(grasp[:3, 2], [0, 0, -1])
    across = grasp[:3, 1] @ scene.thing.place[:3, :3]
    assert np.abs(across).max() == pytest.approx(1.0), "the fingers close on two opposite sides"


def test_a_thing_is_taken_where_it_is_thin():
    grasp = grasp_of(scene_with(sizes=(0.03, 0.065, 0.06)))
    assert np.abs(grasp[:3, 1]) == pytest.approx([1.0, 0.0, 0.0])


def test_a_hand_keeps_clear_of_a_tall_neighbour():
    free = grasp_of(scene_with())
    beside = grasp_of(scene_with(others=[(0.0, 0.1)]))
    assert np.abs(free[:3, 1]) == pytest.approx([0.0, 1.0, 0.0])
    assert np.abs(beside[:3, 1]) == pytest.approx([1.0, 0.0, 0.0])


def test_turns_are_what_they_are_said_to_be():
    generator = np.random.default_rng(0)
    for vector in [*generator.normal(size=(20, 3)), np.zeros(3), np.array([0.0, np.pi, 0.0]), np.array([1e-9, 0, 0])]:
        start = turned_by(generator.normal(size=3))
        end = turned_by(vector) @ start
        assert np.allclose(turned_by(turn_between(start, end)) @ start, end, atol=1e-7)
        assert np.linalg.norm(turn_between(start, end)) <= np.pi + 1e-9
