"""The scripted policy in the real simulator, without rendering."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from taketwo.envs.aloha import AlohaConfig
from taketwo.errors import ConfigError, MissingExtraError, PolicyError
from taketwo.policies.scripted import ScriptedConfig
from taketwo.policies.scripted.kinematics import (
    SIDES,
    Arm,
    angle_between,
    distance,
    inverse,
    pose,
    pose_of_quaternion,
    rotation,
)
from taketwo.policies.scripted.motion import MAX_ACCELERATION, MAX_SPEED, JointMotion
from taketwo.policies.scripted.policy import PAUSE_S
from taketwo.seeding import episode_seed
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import EpisodeInfo, Observation

LIMIT = 300
TASKS = ("transfer_cube", "insertion")
HOME = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0])
GRIPPERS = [6, 13]
JOINTS = [index for index in range(14) if index not in GRIPPERS]


@pytest.fixture(scope="module")
def simulators():
    environments = {task: AlohaConfig(task=task, cameras=()).make() for task in TASKS}
    yield environments
    for environment in environments.values():
        environment.close()


@pytest.fixture
def simulator(simulators):
    return simulators["transfer_cube"]


class Rollout:
    """One episode: the actions sent and the observations before them, and whether it was solved."""

    def __init__(self, environment, config, index=0, horizon=1, limit=LIMIT, policy=None):
        policy = policy or config.make(environment.spec)
        seed = episode_seed(0, index)
        observation = environment.reset(seed)
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

    def gripper(self, side):
        return self.actions[:, GRIPPERS[SIDES.index(side)]]

    def cube_height(self):
        return np.array([seen.extras["object_poses"]["red_box"][2] for seen in self.observations])


def solved_share(environment, config, episodes, **options):
    return np.mean([Rollout(environment, config, index, **options).solved for index in range(episodes)])


@pytest.mark.parametrize("task", TASKS)
def test_it_keeps_the_contract_of_policies(simulators, task):
    config = ScriptedConfig(grasp_noise=0.03, tremor=0.01, hesitation=0.1, chunk_size=7)
    check_policy(config.make(simulators[task].spec), simulators[task])


@pytest.mark.parametrize("task", TASKS)
def test_it_solves_either_task_within_the_episode_limit(simulators, task):
    assert solved_share(simulators[task], ScriptedConfig(), episodes=8) == 1.0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("chunk_size", "horizon"), [(10, 10), (50, 15)])
def test_it_solves_either_task_in_open_loop_chunks(simulators, task, chunk_size, horizon):
    assert solved_share(simulators[task], ScriptedConfig(chunk_size=chunk_size), episodes=3, horizon=horizon) == 1.0


def test_a_chunk_begins_with_what_single_steps_would_send(simulator):
    observation = simulator.reset(3)
    chunks = []
    for size in (1, 20):
        policy = ScriptedConfig(chunk_size=size, tremor=0.01).make(simulator.spec)
        policy.reset(EpisodeInfo(0, 3))
        chunks.append(policy.infer(observation).actions)
    single, chunk = chunks
    assert chunk.shape == (20, 14)
    assert np.array_equal(chunk[0], single[0])
    assert np.abs(chunk[-1] - chunk[0]).max() > 0.1


def test_the_plan_goes_on_from_the_part_of_a_chunk_that_was_used(simulator):
    policy = ScriptedConfig(chunk_size=20).make(simulator.spec)
    observation = simulator.reset(3)
    policy.reset(EpisodeInfo(0, 3))
    chunk = policy.infer(observation).actions
    for action in chunk[:7]:
        observation = simulator.step(action).observation
    went_on = policy.infer(observation).actions[0]
    assert np.abs(went_on - chunk[7]).max() < 2e-3, "the cube has dropped a little, or they would be equal"
    assert np.abs(went_on - chunk[0]).max() > 0.1


def test_asking_twice_for_one_observation_gives_one_answer(simulator):
    policy = ScriptedConfig(chunk_size=5, tremor=0.01, hesitation=0.2).make(simulator.spec)
    observation = simulator.reset(3)
    policy.reset(EpisodeInfo(0, 3))
    assert np.array_equal(policy.infer(observation).actions, policy.infer(observation).actions)


def test_the_same_seed_gives_the_same_episode_bit_for_bit(simulator):
    config = ScriptedConfig(grasp_noise=0.01, tremor=0.01, hesitation=0.01)
    used = config.make(simulator.spec)
    Rollout(simulator, config, index=1, limit=40, policy=used)
    first, again = Rollout(simulator, config, policy=used), Rollout(simulator, config)
    assert np.array_equal(first.actions, again.actions)
    other = Rollout(simulator, config, index=1, limit=10)
    assert not np.array_equal(first.actions[:10], other.actions)


def test_motion_is_smooth(simulator):
    actions = Rollout(simulator, ScriptedConfig()).actions[:, JOINTS]
    velocity = np.diff(actions, axis=0) * 50
    assert np.abs(velocity).max() <= MAX_SPEED + MAX_ACCELERATION / 50
    assert np.abs(np.diff(velocity, axis=0)).max() <= MAX_ACCELERATION / 50 + 1e-9


def test_waypoints_follow_an_object_that_is_moved(simulator):
    seed = episode_seed(0, 0)
    policy = ScriptedConfig().make(simulator.spec)
    observation = simulator.reset(seed)
    policy.reset(EpisodeInfo(0, seed))
    moved = np.array([0.05, -0.06, 0.0, 0.0, 0.0, 0.0, 0.0])
    for _ in range(60):
        cube = observation.extras["object_poses"]["red_box"] + moved
        seen = dataclasses.replace(observation, extras={**observation.extras, "object_poses": {"red_box": cube}})
        observation = simulator.step(policy.infer(seen).actions[0]).observation
    tool = Arm("right").tool(observation.state[7:13])
    assert np.linalg.norm(tool[:2, 3] - cube[:2]) < 0.01


def test_an_empty_gripper_tries_again_and_does_not_go_to_the_hand_over(simulator):
    config = ScriptedConfig(grasp_noise=0.03)
    rollout = Rollout(simulator, config, index=2)
    right = rollout.gripper("right")
    reopened = np.flatnonzero((right[1:] > right[:-1]) & (right[:-1] < 0.5) & (rollout.cube_height()[1:] < 0.03))
    assert reopened.size > 1
    assert solved_share(simulator, config, episodes=12) > solved_share(
        simulator, dataclasses.replace(config, skip_grasp_check=True), episodes=12
    )


def test_without_the_grasp_check_it_hands_over_nothing(simulator):
    rollout = Rollout(simulator, ScriptedConfig(grasp_noise=0.03, skip_grasp_check=True), index=2)
    assert not rollout.solved
    assert rollout.cube_height()[50:].max() < 0.03, "the cube stays on the table"
    left, right = Arm("left"), Arm("right")
    closing = np.flatnonzero(np.diff(rollout.gripper("left")) < 0)
    closing = closing[closing > 50]
    assert closing.size > 0
    for action in rollout.actions[closing]:
        assert distance(left.tool(action[0:6]), right.tool(action[7:13])) < 0.03, "where the cube should have been"


def test_skipping_the_check_costs_nothing_when_grasps_succeed(simulator):
    assert solved_share(simulator, ScriptedConfig(skip_grasp_check=True), episodes=3) == 1.0


def test_tremor_has_the_standard_deviation_asked_for(simulator):
    observation = simulator.reset(5)
    actions = []
    for tremor in (0.0, 0.02):
        policy = ScriptedConfig(tremor=tremor, chunk_size=200).make(simulator.spec)
        policy.reset(EpisodeInfo(0, 5))
        actions.append(policy.infer(observation).actions)
    noise = actions[1] - actions[0]
    assert abs(noise[:, JOINTS].std() - 0.02) < 0.002
    assert not noise[:, GRIPPERS].any()


def test_hesitation_stops_the_arms_for_the_time_it_says(simulator):
    observation = simulator.reset(5)
    always = ScriptedConfig(hesitation=1.0, chunk_size=round(3 * PAUSE_S[1] * 50)).make(simulator.spec)
    always.reset(EpisodeInfo(0, 5))
    dithering = always.infer(observation).actions[:, JOINTS]
    assert np.abs(dithering - observation.state[JOINTS]).max() < 0.05
    assert dithering.std(axis=0).max() > 1e-3
    plain, hesitant = (Rollout(simulator, ScriptedConfig(hesitation=value)) for value in (0.0, 0.02))
    assert len(hesitant.actions) >= len(plain.actions) + PAUSE_S[0] * 50


def test_a_reset_on_the_way_starts_anew_from_where_the_arms_are(simulator):
    policy = ScriptedConfig().make(simulator.spec)
    seed = episode_seed(0, 0)
    observation = simulator.reset(seed)
    policy.reset(EpisodeInfo(0, seed))
    for _ in range(40):
        observation = simulator.step(policy.infer(observation).actions[0]).observation
    policy.reset(EpisodeInfo(0, seed))
    first = policy.infer(observation).actions[0]
    assert np.abs(first - observation.state)[JOINTS].max() < 0.01
    solved = False
    for _ in range(LIMIT - 40):
        result = simulator.step(policy.infer(observation).actions[0])
        observation, solved = result.observation, bool(result.success)
        if solved:
            break
    assert solved


def test_an_environment_that_is_not_aloha_is_refused_in_one_line():
    with pytest.raises(
        ConfigError, match=r"aloha's transfer_cube and insertion, not point; choose another --policy.type"
    ) as raised:
        ScriptedConfig().make(PointEnvironment().spec)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", ["mink", "mujoco", "daqp", "gym_aloha"])
def test_a_missing_library_names_the_extra(simulator, monkeypatch, missing):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == missing else real(name, *a))
    with pytest.raises(MissingExtraError, match=rf"{missing} is not installed: pip install 'taketwo\[aloha\]'"):
        ScriptedConfig().make(simulator.spec)


@pytest.mark.parametrize("lacking", ["object_poses", "touched_by"])
def test_an_observation_without_object_poses_or_touches_is_refused(simulator, lacking):
    policy = ScriptedConfig().make(simulator.spec)
    observation = simulator.reset(0)
    policy.reset(EpisodeInfo(0, 0))
    extras = {name: value for name, value in observation.extras.items() if name != lacking}
    with pytest.raises(PolicyError, match=lacking):
        policy.infer(Observation(state=observation.state, extras=extras))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("grasp_noise", -0.01),
        ("grasp_noise", float("nan")),
        ("tremor", float("inf")),
        ("hesitation", 1.5),
        ("hesitation", float("nan")),
        ("chunk_size", 0),
    ],
)
def test_a_bad_option_is_named(option, value):
    with pytest.raises(ConfigError, match=f"^{option} .*not {value}$"):
        ScriptedConfig(**{option: value})


@pytest.mark.parametrize("option", ["grasp_noise", "tremor"])
def test_an_infinite_option_is_told_to_be_finite(option):
    with pytest.raises(ConfigError, match=f"^{option} must be a finite number, 0 or more, not inf$"):
        ScriptedConfig(**{option: float("inf")})


@pytest.mark.parametrize("side", SIDES)
def test_inverse_kinematics_brings_the_tool_where_it_is_wanted(side):
    arm = Arm(side)
    facing = 0.0 if side == "left" else np.pi
    for x, y, z, pitch in [(0.1, 0.4, 0.02, 1.2), (0.0, 0.5, 0.25, 1.2), (0.2, 0.6, 0.12, 1.2), (0.0, 0.5, 0.25, 0.0)]:
        turn = rotation("z", facing) @ rotation("y", pitch)
        wanted = pose([x if side == "right" else -x, y, z], turn)
        joints = arm.solve(wanted, HOME)
        assert distance(arm.tool(joints), wanted) < 1e-3
        assert angle_between(arm.tool(joints), wanted) < 0.1


@pytest.mark.parametrize("side", SIDES)
def test_inverse_kinematics_keeps_to_the_joint_limits_where_a_pose_is_out_of_reach(side):
    import mujoco

    joints = Arm(side).solve(pose([0.0, 3.0, 3.0]), HOME)
    assert np.isfinite(joints).all()
    simulator = AlohaConfig(cameras=()).make()
    model = simulator._model
    ranges = [
        model.jnt_range[mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, f"vx300s_{side}/{name}")]
        for name in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
    ]
    low, high = np.transpose(ranges)
    assert (joints >= low - 1e-6).all()
    assert (joints <= high + 1e-6).all()


@pytest.mark.parametrize("side", SIDES)
def test_forward_kinematics_is_the_simulators(simulator, side):
    simulator.reset(0)
    data, site = simulator._data, simulator._model.site(f"cali_{side}_site1").id
    qpos = data.qpos[0:6] if side == "left" else data.qpos[8:14]
    expected = pose(data.site_xpos[site], data.site_xmat[site].reshape(3, 3))
    assert np.allclose(Arm(side).tool(qpos), expected, atol=1e-9)


def test_quaternions_become_the_rotations_that_mujoco_makes_of_them():
    import mujoco

    generator = np.random.default_rng(0)
    for vector in generator.normal(size=(20, 7)):
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, vector[3:] / np.linalg.norm(vector[3:]))
        ours = pose_of_quaternion(vector)
        assert np.allclose(ours, pose(vector[:3], matrix.reshape(3, 3)))
        assert np.allclose(inverse(ours) @ ours, np.eye(4))


def test_joint_motion_arrives_without_overshoot_and_stops():
    goal = np.array([1.0, -0.5, 0.2, 0.0, 0.1, -2.0])
    motion = JointMotion.at_rest(np.zeros(6))
    for _ in range(120):
        motion = motion.towards(goal, 0.02)
        assert (np.abs(motion.position) <= np.abs(goal) + 1e-6).all()
    assert np.abs(motion.position - goal).max() < 1e-3
    assert np.abs(motion.velocity).max() < 1e-2
