"""The push world, one at a time."""

import subprocess
import sys

import numpy as np
import pytest

from taketwo.envs.base import Renders, Snapshots
from taketwo.envs.push import MAX_ROBOTS, OBJECTS, PushConfig
from taketwo.envs.push.model import CONTROL_HZ, MAX_SPEED, MAX_YAW_RATE, OBJECT
from taketwo.envs.push.shapes import HALF_HEIGHT, SHAPES
from taketwo.envs.push.starts import DISTANCE, ROBOT_FROM_OBJECT, ROBOT_FROM_ROBOT, draw_start
from taketwo.envs.push.tally import Tally
from taketwo.envs.push.world import LEVER_M, POSITION_TOLERANCE_M, SUCCESS_REWARD, PushWorld
from taketwo.errors import ConfigError, EnvironmentFault
from taketwo.testing import check_env


@pytest.fixture(scope="module")
def push():
    environment = PushConfig(cameras=()).make()
    yield environment
    environment.close()


@pytest.fixture
def world():
    return lambda name="cuboid", robots=2: PushWorld(PushConfig(object=name, robots=robots).build())


def put(world, thing=(0.0, 0.0, 0.0), target=(0.0, 2.0, 0.0), robots=()):
    """Put everything somewhere, at rest."""
    world.reset(0)
    joints = 3 * world.model.robots
    places = [(-2.5, -2.5 + robot, 0.0) for robot in range(world.model.robots)]
    places[: len(robots)] = robots
    world.data.qpos[:joints] = np.ravel(places)
    x, y, yaw = thing
    world.data.qpos[joints:] = [x, y, HALF_HEIGHT, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    x, y, yaw = target
    world.data.mocap_pos[0] = [x, y, 0]
    world.data.mocap_quat[0] = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]


def still(world):
    return np.zeros(3 * world.model.robots)


@pytest.mark.parametrize("name", OBJECTS)
def test_it_keeps_the_contract_of_environments(name):
    check_env(PushConfig(object=name, cameras=("overview", "top"), width=64, height=48, quality="preview").make)


def test_it_renders_and_can_be_put_back(push):
    assert isinstance(push, Renders)
    assert isinstance(push, Snapshots)
    assert push.camera_names() == ("overview", "top")


def test_state_and_action_are_named(push):
    spec = push.spec
    assert spec.name == "push_cuboid"
    assert spec.action_names[:3] == ("robot_0.forward", "robot_0.left", "robot_0.yaw_rate")
    assert spec.action_units[:3] == ("m/s", "m/s", "rad/s")
    assert spec.state_names[-6:] == ("object.x", "object.y", "object.yaw", "target.x", "target.y", "target.yaw")
    assert spec.action_high.tolist() == [MAX_SPEED, MAX_SPEED, MAX_YAW_RATE] * 2


def test_the_same_seed_gives_the_same_episode_in_another_process():
    code = (
        "import numpy as np; from taketwo.envs.push import PushConfig\n"
        "e = PushConfig(object='t_block', cameras=()).make(); r = np.random.default_rng(0); o = e.reset(11)\n"
        "states = [o.state] + [e.step(r.uniform(-1, 1, 6)).observation.state for _ in range(300)]\n"
        "import hashlib; print(hashlib.sha256(np.array(states).tobytes()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != ""


def test_another_seed_gives_another_start(push):
    starts = {push.reset(seed).state.tobytes() for seed in range(20)}
    assert len(starts) == 20
    assert push.reset(3).state.tobytes() in starts


def test_starts_leave_room_and_something_to_do():
    for seed in range(200):
        start = draw_start(seed, 4)
        assert DISTANCE[0] <= np.linalg.norm(start.object[:2] - start.target[:2]) <= DISTANCE[1]
        for robot, place in enumerate(start.robots[:, :2]):
            assert np.linalg.norm(place - start.object[:2]) >= ROBOT_FROM_OBJECT
            assert all(np.linalg.norm(place - other) >= ROBOT_FROM_ROBOT for other in start.robots[:robot, :2])


def test_more_robots_leave_object_and_target_where_they_are():
    two, five = draw_start(7, 2), draw_start(7, 5)
    assert np.array_equal(two.object, five.object)
    assert np.array_equal(two.target, five.target)


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.5])
def test_a_robot_goes_as_it_is_told_in_its_own_frame(world, yaw):
    world = world()
    put(world, thing=(2.0, 2.0, 0.0), robots=[(0.0, 0.0, yaw)])
    action = still(world)
    action[:2] = 0.5, 0.25
    for _ in range(int(CONTROL_HZ)):
        world.step(action)
    turned = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]) @ [0.5, 0.25]
    assert np.allclose(world.poses()[0, :2], turned, atol=0.03)  # less what it takes to get going


def test_a_robot_turns_at_the_rate_that_it_is_told(world):
    world = world()
    put(world, robots=[(-2.0, 0.0, 3.0)])
    action = still(world)
    action[2] = 1.0
    for _ in range(int(CONTROL_HZ)):
        world.step(action)
    assert world.poses()[0, 2] == pytest.approx(4.0 - 2 * np.pi, abs=0.05)


def test_velocities_beyond_the_limits_are_cut_off(push):
    limit = push.spec.action_high
    push.reset(4)
    at_limit = [push.step(limit).observation.state for _ in range(20)][-1]
    push.reset(4)
    beyond = [push.step(10 * limit).observation.state for _ in range(20)][-1]
    assert np.array_equal(at_limit, beyond)


def test_a_robot_alone_hardly_moves_the_object_and_two_do(world):
    def moved(behind):
        here = world(robots=2)
        put(here, robots=[(-0.7, y, 0.0) if y is not None else (-2.5, -2.5, 0.0) for y in behind])
        action = np.array([MAX_SPEED * (y is not None) * np.array([1, 0, 0]) for y in behind]).ravel()
        for _ in range(int(4 * CONTROL_HZ)):
            here.step(action)
        return here.poses()[-2, 0]

    assert moved([0.0, None]) < 0.1
    assert moved([-0.22, 0.22]) > 1.0


@pytest.mark.parametrize("name", OBJECTS)
def test_an_outline_is_that_of_the_geoms(name):
    shape = SHAPES[name]
    model = PushConfig(object=name).build()
    import mujoco  # after `build`, which chooses its GL back-end

    data = mujoco.MjData(model.mujoco)
    solid = [geom for geom in np.flatnonzero(model.owner == OBJECT) if model.mujoco.geom_contype[geom]]
    mujoco.mj_kinematics(model.mujoco, data)
    corner, following = shape.outline, np.roll(shape.outline, -1, axis=0)
    area = (corner[:, 0] * following[:, 1] - corner[:, 1] * following[:, 0]).sum() / 2
    sizes = model.mujoco.geom_size[solid]
    whole = np.pi * sizes[0, 0] ** 2 if shape.radius else (4 * sizes[:, 0] * sizes[:, 1]).sum()
    assert area == pytest.approx(whole, rel=0.005)
    # The origin is the centre of mass, so that pushes towards it do not turn the object.
    assert np.allclose(model.mujoco.body("object").ipos, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "turn", "solved"), [("cuboid", 2.0, True), ("t_block", 2.0, False), ("t_block", 0.1, True)]
)
def test_only_the_t_block_has_to_be_turned(world, name, turn, solved):
    world = world(name)
    put(world, thing=(0.5, 0.5, 3.1), target=(0.55, 0.5, 3.1 + turn))
    assert world.solved() is solved


def test_success_ends_the_episode_and_is_told(push):
    push.reset(2)
    world = push._world
    put(world, target=(POSITION_TOLERANCE_M - 0.01, 0.0, 0.0))
    result = push.step(np.zeros(6))
    assert result.terminated is result.success is True
    assert result.truncated is False
    assert result.reward == pytest.approx(SUCCESS_REWARD, abs=0.01)
    metrics = result.info["metrics"]
    assert metrics["success"] == 1.0
    assert metrics["finish_time_s"] == pytest.approx(1 / CONTROL_HZ)
    assert push.step(np.zeros(6)).reward == pytest.approx(0.0, abs=0.01)


def test_the_reward_is_what_the_object_came_closer(world):
    world = world("t_block")
    put(world, target=(2.0, 0.0, 1.0), robots=[(-0.8, 0.3, 0.0), (-0.8, -0.3, 0.0)])
    start = world.distance()
    assert start == pytest.approx(2.0 + LEVER_M)
    rewards = [world.step(np.tile([MAX_SPEED, 0.0, 0.0], 2)) for _ in range(60)]
    assert world.distance() < start - 0.2
    assert sum(rewards) == pytest.approx(start - world.distance())


def test_two_robots_that_run_into_each_other_collide_once(world):
    world = world()
    put(world, thing=(2.0, 2.0, 0.0), robots=[(-1.0, -1.0, 0.0), (0.0, -1.0, np.pi)])
    for _ in range(60):
        world.step(np.tile([0.5, 0.0, 0.0], 2))
    assert world.tally.metrics()["collisions"] == 1.0
    for _ in range(30):
        world.step(np.tile([-0.5, 0.0, 0.0], 2))
    for _ in range(60):
        world.step(np.tile([0.5, 0.0, 0.0], 2))
    assert world.tally.metrics()["collisions"] == 2.0


def test_collaboration_is_the_share_of_pushing_that_is_done_together(world):
    world = world()
    put(world, robots=[(-0.7, -0.22, 0.0), (-2.5, 2.5, 0.0)])
    assert world.tally.metrics()["collaboration"] is None
    for _ in range(40):
        world.step(np.array([MAX_SPEED, 0, 0, 0, 0, 0]))
    assert world.tally.metrics()["collaboration"] == 0.0
    put(world, robots=[(-0.7, -0.22, 0.0), (-0.7, 0.22, 0.0)])
    for _ in range(60):
        world.step(np.tile([MAX_SPEED, 0, 0], 2))
    metrics = world.tally.metrics()
    assert metrics["collaboration"] > 0.9
    assert metrics["object_path_m"] == pytest.approx(np.linalg.norm(world.poses()[-2, :2]), abs=0.02)
    assert metrics["robot_path_m"] > metrics["object_path_m"]


def test_counts_are_plain_arithmetic():
    none = np.zeros((0, 2), int)
    tally = Tally().after(np.array([[0, 1], [OBJECT, 0]]), 0.1, np.array([0.2, 0.4]), solved=False)
    tally = tally.after(np.array([[1, 0], [0, OBJECT], [OBJECT, 1]]), 0.1, np.array([0.2, 0.4]), solved=True)
    tally = tally.after(none, 0.0, np.zeros(2), solved=True)
    assert tally.metrics() == {
        "success": 1.0,
        "finish_time_s": 2 / CONTROL_HZ,
        "collisions": 1.0,
        "collaboration": 0.5,
        "object_path_m": pytest.approx(0.2),
        "robot_path_m": pytest.approx(0.6),
    }


def test_a_snapshot_goes_on_the_same_in_another_world_metrics_included(push):
    random = np.random.default_rng(1)
    push.reset(9)
    for _ in range(50):
        push.step(random.uniform(-1, 1, 6))
    snapshot, actions = push.snapshot(), random.uniform(-1, 1, (100, 6))
    here = [push.step(action) for action in actions]
    other = PushConfig(cameras=()).make()
    assert other.restore(snapshot).time_s == pytest.approx(50 / CONTROL_HZ)
    there = [other.step(action) for action in actions]
    assert all(np.array_equal(a.observation.state, b.observation.state) for a, b in zip(here, there, strict=True))
    assert [a.reward for a in here] == [b.reward for b in there]
    assert here[-1].info == there[-1].info
    other.close()


def test_a_snapshot_of_another_world_is_refused(push):
    other = PushConfig(object="cylinder", robots=3, cameras=()).make()
    other.reset(0)
    with pytest.raises(EnvironmentFault, match="3 robots and a cylinder"):
        push.restore(other.snapshot())
    other.close()


def test_looking_changes_nothing():
    looked, blind = PushConfig(width=64, height=48).make(), PushConfig(cameras=()).make()
    looked.reset(5)
    blind.reset(5)
    action = np.full(6, 0.4)
    for _ in range(10):
        seen = looked.step(action)
        assert seen.observation.images["overview"].pixels.std() > 5
        unseen = blind.step(action)
        assert np.array_equal(seen.observation.state, unseen.observation.state)
    looked.close()
    blind.close()


def test_a_picture_shows_the_very_state_that_the_observation_tells():
    environment = PushConfig(cameras=("top",), width=96, height=96).make()
    environment.reset(5)
    for _ in range(20):
        result = environment.step(np.full(6, 0.8))
    snapshot = environment.snapshot()
    pixels = result.observation.images["top"].pixels
    assert np.array_equal(environment.restore(snapshot).images["top"].pixels, pixels)
    environment.close()


def test_the_target_is_seen_where_it_is(push):
    push.reset(1)
    put(push._world, target=(1.0, 1.0, 0.0))
    pixels = push.render("top", 200, 200).astype(int)
    green = (pixels[..., 1] > 1.5 * pixels[..., 0]) & (pixels[..., 1] > 1.5 * pixels[..., 2])
    rows, columns = np.nonzero(green)
    assert len(rows) > 50
    assert rows.mean() < 90 and columns.mean() > 110


@pytest.mark.parametrize("size", [5, 7, 0])
def test_a_wrong_action_size_is_a_line(push, size):
    push.reset(0)
    with pytest.raises(EnvironmentFault, match=rf"\(6,\).*got \({size},\)"):
        push.step(np.zeros(size))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_no_number_names_the_robot_and_moves_nothing(push, value):
    before = push.reset(0).state
    action = np.zeros(6)
    action[4] = value
    with pytest.raises(EnvironmentFault, match=r"robot_1\.left"):
        push.step(action)
    assert np.array_equal(push._world.state(), before)


def test_a_step_before_the_first_reset_is_a_line():
    environment = PushConfig(cameras=()).make()
    with pytest.raises(EnvironmentFault, match="reset"):
        environment.step(np.zeros(6))
    environment.close()


@pytest.mark.parametrize("robots", [0, -1, MAX_ROBOTS + 1])
def test_a_number_of_robots_out_of_range_is_a_line(robots):
    with pytest.raises(ConfigError, match=f"robots must be from 1 to 8, not {robots}"):
        PushConfig(robots=robots)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"object": "t_blok"}, "'t_blok'.*t_block"),
        ({"cameras": ("overvew",)}, "'overvew'.*overview"),
        ({"cameras": ("top", "top")}, "twice"),
        ({"width": 8}, "width"),
    ],
)
def test_options_that_do_not_fit_are_a_line(options, said):
    with pytest.raises(ConfigError, match=said):
        PushConfig(**options)


def test_a_world_of_every_size_runs():
    for robots in (1, MAX_ROBOTS):
        environment = PushConfig(robots=robots, cameras=()).make()
        environment.reset(0)
        result = environment.step(np.ones(3 * robots))
        assert result.observation.state.shape == (3 * (robots + 2),)
        environment.close()
