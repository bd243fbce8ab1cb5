"""The ALOHA adapter against `gym_aloha` itself, with real rendering."""

import numpy as np
import pytest

from taketwo.envs.aloha import AlohaConfig
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError
from taketwo.testing import check_env

GYM_IDS = {"transfer_cube": "gym_aloha/AlohaTransferCube-v0", "insertion": "gym_aloha/AlohaInsertion-v0"}


@pytest.fixture(scope="module")
def transfer_cube():
    environment = AlohaConfig().make()
    yield environment
    environment.close()


@pytest.mark.parametrize("task", GYM_IDS)
def test_state_reward_and_top_picture_are_those_of_gymnasium_bit_for_bit(task):
    ours = AlohaConfig(task=task).make()
    import gym_aloha  # noqa: F401 - registers the tasks
    import gymnasium

    theirs = gymnasium.make(GYM_IDS[task], obs_type="pixels_agent_pos")
    for seed in (0, 2**32 - 1):
        observation = ours.reset(seed)
        expected, _ = theirs.reset(seed=seed)
        generator = np.random.default_rng(seed)
        for _ in range(6):
            assert np.array_equal(observation.state, expected["agent_pos"])
            assert np.array_equal(observation.images["top"].pixels, expected["pixels"]["top"])
            action = observation.state + generator.normal(0, 0.1, 14)
            result = ours.step(action)
            expected, reward, terminated, truncated, _ = theirs.step(action)
            assert (result.reward, result.terminated, result.truncated) == (reward, terminated, truncated)
            observation = result.observation
    theirs.close()
    ours.close()


@pytest.mark.parametrize("task", GYM_IDS)
def test_the_adapter_keeps_the_contract(task):
    check_env(AlohaConfig(task=task, cameras=("top", "left_wrist"), width=96, height=64, quality="preview").make)


def test_a_picture_nobody_looked_at_is_not_to_be_had_after_a_step(transfer_cube):
    observation = transfer_cube.reset(1)
    transfer_cube.step(observation.state)
    assert not observation.images["top"].rendered
    with pytest.raises(RenderingError, match="before the environment moved on"):
        _ = observation.images["top"].pixels


@pytest.mark.parametrize("size", [(48, 64), (720, 1280)])
def test_every_camera_of_the_model_can_be_drawn_at_any_size(transfer_cube, size):
    transfer_cube.reset(1)
    cameras = ("left_pillar", "right_pillar", "top", "angle", "front_close", "left_wrist", "right_wrist")
    assert transfer_cube.camera_names() == cameras
    height, width = size
    pictures = [transfer_cube.render(camera, height, width) for camera in (cameras if height < 100 else cameras[:1])]
    assert all(picture.shape == (height, width, 3) and picture.std() > 5 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_preview_shows_the_same_scene_without_shadows():
    exact, preview = (AlohaConfig(quality=quality).make() for quality in ("exact", "preview"))
    a, b = (environment.reset(3).images["top"].pixels.astype(int) for environment in (exact, preview))
    assert (a != b).any()
    assert np.abs(a - b).mean() < 10
    exact.close()
    preview.close()


def test_a_snapshot_taken_in_one_simulator_goes_on_the_same_in_another(transfer_cube):
    observation = transfer_cube.reset(4)
    generator = np.random.default_rng(0)
    for _ in range(20):
        observation = transfer_cube.step(observation.state + generator.normal(0, 0.1, 14)).observation
    snapshot = transfer_cube.snapshot()
    action = observation.state + 0.05
    here = [transfer_cube.step(action).observation for _ in range(20)][-1]
    other = AlohaConfig().make()
    restored = other.restore(snapshot)
    assert np.array_equal(restored.state, observation.state)
    assert restored.time_s == pytest.approx(20 / 50)
    there = [other.step(action).observation for _ in range(20)][-1]
    assert np.array_equal(here.state, there.state)
    assert here.time_s == there.time_s
    other.close()


def test_a_snapshot_of_the_other_task_is_refused(transfer_cube):
    other = AlohaConfig(task="insertion").make()
    other.reset(0)
    with pytest.raises(EnvironmentFault, match="insertion"):
        transfer_cube.restore(other.snapshot())
    other.close()


def test_the_home_action_leads_back_to_where_episodes_begin(transfer_cube):
    start = transfer_cube.reset(5).state
    away = start.copy()
    away[[0, 7]] += 0.3
    for _ in range(30):
        moved = transfer_cube.step(away).observation.state
    assert abs(moved[0] - start[0]) > 0.2
    for _ in range(60):
        back = transfer_cube.step(transfer_cube.home_action()).observation.state
    assert np.abs(back - start).max() < 0.05


def test_objects_and_touches_are_told(transfer_cube):
    observation = transfer_cube.reset(6)
    x, y, z = observation.extras["object_poses"]["red_box"][:3]
    assert 0.0 <= x <= 0.2 and 0.4 <= y <= 0.6 and z == pytest.approx(0.05)
    assert observation.extras["touched_by"] == {"left": frozenset(), "right": frozenset()}


def test_an_unknown_camera_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'left_wrst'.*left_wrist"):
        AlohaConfig(cameras=("left_wrst",)).make()


def test_a_picture_size_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="width"):
        AlohaConfig(width=0)
