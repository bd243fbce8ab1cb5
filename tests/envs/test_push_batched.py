"""Many push worlds together, in the shape of environments for Isaac Gym, bare and under three wrappers."""

import numpy as np
import pytest

from taketwo.envs.push import PushConfig
from taketwo.envs.push.batched import BatchedPush
from taketwo.envs.push.world import action_limits
from taketwo.envs.push.wrapped import wrap
from taketwo.errors import ConfigError, EnvironmentFault, MissingExtraError

CONFIG = PushConfig(cameras=())
LIBRARIES = ["numpy", "torch"]


def make(count=3, library="numpy", **options):
    if library == "torch":
        pytest.importorskip("torch")
    return BatchedPush(count, CONFIG, library=library, **options)


def actions_of(env, library, seed=0):
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, (env.num_envs, env.num_actions)).astype(np.float32)
    if library == "torch":
        import torch

        return torch.from_numpy(values)
    return values


@pytest.mark.parametrize("library", LIBRARIES)
def test_everything_has_a_row_for_each_world(library):
    env = make(library=library)
    obs, privileged_obs = env.reset()
    assert obs.shape == (3, env.num_obs) == (3, 12)
    assert privileged_obs.shape == (3, env.num_privileged_obs) == (3, 21)
    obs, privileged_obs, rewards, dones, extras = env.step(actions_of(env, library))
    assert obs.shape == (3, 12) and privileged_obs.shape == (3, 21)
    assert rewards.shape == dones.shape == extras["time_outs"].shape == extras["success"].shape == (3,)
    assert str(obs.dtype).removeprefix("torch.") == str(rewards.dtype).removeprefix("torch.") == "float32"
    assert str(dones.dtype).removeprefix("torch.") == "bool"
    assert all(values.shape == (3,) for values in extras["metrics"].values())
    assert not dones.any() and "episode" not in extras
    assert type(obs).__module__.split(".")[0] == type(extras["metrics"]["success"]).__module__.split(".")[0] == library


def test_a_world_among_many_is_a_world_alone():
    env = make(3, seed=5)
    obs, _ = env.reset()
    alone = CONFIG.make()
    first = alone.reset(env.seed_of(1, 0))
    assert np.array_equal(obs[1], first.state.astype(np.float32))
    actions = actions_of(env, "numpy")
    for _ in range(50):
        obs, _, rewards, _, _ = env.step(actions)
        result = alone.step(actions[1].astype(np.float64))
        assert np.array_equal(obs[1], result.observation.state.astype(np.float32))
        assert rewards[1] == np.float32(result.reward)
    alone.close()


def test_numpy_and_torch_give_the_same_numbers():
    one, other = make(2), make(2, "torch")
    one.reset(), other.reset()
    for _ in range(20):
        ours, theirs = one.step(actions_of(one, "numpy")), other.step(actions_of(other, "torch"))
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(ours[:4], theirs[:4], strict=True))


def test_a_world_that_is_done_has_begun_anew_already():
    env = make(2, seed=1, max_episode_length=4)
    first, _ = env.reset()
    still = np.zeros((2, 6))
    for _ in range(3):
        obs, _, _, dones, _ = env.step(still)
        assert not dones.any()
        assert np.allclose(obs, first, atol=1e-3)
    env.reset_idx([0])
    assert env.episode_length_buf.tolist() == [0, 3]
    obs, _, _, dones, extras = env.step(still)
    assert dones.tolist() == extras["time_outs"].tolist() == [False, True]
    assert not extras["success"].any()
    assert env.episode_length_buf.tolist() == [1, 0]
    single = CONFIG.make()
    assert np.array_equal(obs[1], single.reset(env.seed_of(1, 1)).state.astype(np.float32))
    single.close()
    assert extras["episode"]["success"] == 0.0
    assert np.isnan(extras["episode"]["finish_time_s"])


def test_success_is_done_and_no_time_out():
    env = make(2)
    env.reset()
    world = env._worlds[1]
    world.data.mocap_pos[0, :2] = world.poses()[-2, :2]
    _, _, rewards, dones, extras = env.step(np.zeros((2, 6)))
    assert dones.tolist() == extras["success"].tolist() == [False, True]
    assert not extras["time_outs"].any()
    assert rewards[1] > 0.9
    assert extras["episode"]["success"] == 1.0
    assert extras["metrics"]["finish_time_s"][1] == pytest.approx(env.dt)
    assert np.isnan(extras["metrics"]["finish_time_s"][0])


def test_the_seed_is_all_that_decides():
    def rollout(seed):
        env = make(2, max_episode_length=5)
        env.seed(seed)
        rows = [env.reset()[0]]
        rows.extend(env.step(actions_of(env, "numpy", step))[0] for step in range(12))
        return np.array(rows)

    assert np.array_equal(rollout(5), rollout(5))
    assert not np.array_equal(rollout(5)[0], rollout(6)[0])


def test_worlds_begin_differently():
    obs, _ = make(8).reset()
    assert len({row.tobytes() for row in obs}) == 8


def test_its_own_cameras_show_one_world():
    env = BatchedPush(2, PushConfig())
    env.reset()
    pictures = [env.capture(index, "top", 48, 64) for index in range(2)]
    assert all(picture.shape == (48, 64, 4) and picture.dtype == np.uint8 for picture in pictures)
    assert all((picture[..., 3] == 255).all() for picture in pictures)
    assert not np.array_equal(*pictures)
    env.close()


@pytest.mark.parametrize("library", LIBRARIES)
def test_three_wrappers_lead_to_the_same_worlds(library):
    wrapped, bare = wrap(make(2, library, max_episode_length=6)), make(2, library, max_episode_length=6)
    assert wrapped.env.env.env.num_envs == wrapped.num_envs == 2
    assert np.array_equal(np.asarray(wrapped.reset()[0]), np.asarray(bare.reset()[0]))
    actions, total = actions_of(bare, library), 0.0
    limits = action_limits(2)
    scaled = actions * (limits if library == "numpy" else actions.new_tensor(limits))
    for _ in range(6):
        results, expected = wrapped.step(actions), bare.step(scaled)
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(results[:4], expected[:4], strict=True))
        total = total + np.asarray(expected[2])
    assert results[3].all()
    assert results[4]["episode"]["return"] == pytest.approx(total.mean(), abs=1e-6)
    assert "return" not in wrapped.extras["episode"]
    assert float(np.abs(np.asarray(wrapped.returns)).sum()) == 0.0


def test_wrappers_keep_private_names_to_themselves():
    wrapped = wrap(make(1))
    with pytest.raises(AttributeError, match="_worlds"):
        _ = wrapped._worlds
    assert wrapped.env.env.env._worlds


@pytest.mark.parametrize("shape", [(3, 5), (2, 6), (6,), (3, 6, 1)])
def test_a_wrong_action_shape_is_a_line(shape):
    env = make()
    env.reset()
    with pytest.raises(EnvironmentFault, match=r"\(3, 6\)"):
        env.step(np.zeros(shape))


def test_an_action_that_is_no_number_moves_no_world():
    env = make()
    before, _ = env.reset()
    actions = np.full((3, 6), 0.5)
    actions[2, 0] = np.nan
    with pytest.raises(EnvironmentFault, match="environment 2"):
        env.step(actions)
    assert np.array_equal(env.get_observations(), before)


def test_a_step_before_reset_is_a_line():
    with pytest.raises(EnvironmentFault, match="reset"):
        make().step(np.zeros((3, 6)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_envs": 0}, "num_envs must be 1 or more, not 0"),
        ({"num_envs": 1, "max_episode_length": 0}, "max_episode_length"),
        ({"num_envs": 1, "device": "cuda:0"}, "torch"),
    ],
)
def test_options_that_do_not_fit_are_a_line(options, said):
    with pytest.raises(ConfigError, match=said):
        BatchedPush(config=CONFIG, **options)


def test_torch_missing_is_a_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match="torch"):
        BatchedPush(1, CONFIG, library="torch")
