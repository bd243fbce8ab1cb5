"""Simulators that step all environments at once and reset themselves, by `--env.type=isaac`.

The real ones run on their vendor's GPUs alone. legged_gym's shape is here with our own push worlds, three wrappers
deep; for Isaac Lab's there is a stand-in over them, see `isaac_support.lab`.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import gymnasium
import numpy as np
import pytest

from taketwo.envs.isaac import IsaacConfig
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError
from taketwo.testing import check_env
from tests.envs.isaac_support import factories, lab
from tests.peers import peer_python

FACTORIES = "tests.envs.isaac_support.factories"
LAB = "tests.envs.isaac_support.lab"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def make():
    """Builds simulators that are closed after the test."""
    made = []

    def build(what="wrapped", num_envs=3, **options):
        options.setdefault("entry", what if ":" in what else f"{FACTORIES}:{what}")
        made.append(IsaacConfig(**options).make_vector(num_envs))
        return made[-1]

    yield build
    for vector in made:
        vector.close()


@pytest.fixture
def isaaclab_tasks(monkeypatch):
    """Its one function that we call."""
    module = ModuleType("isaaclab_tasks.utils")
    module.parse_env_cfg = lab.parse_env_cfg
    monkeypatch.setitem(sys.modules, "isaaclab_tasks", ModuleType("isaaclab_tasks"))
    monkeypatch.setitem(sys.modules, "isaaclab_tasks.utils", module)


def seeds(count=3, seed=7):
    return {env: seed + env for env in range(count)}


def actions_of(vector, step=0, envs=None):
    generator = np.random.default_rng(step)
    values = generator.uniform(-0.5, 0.5, (vector.num_envs, vector.spec.action_dim))
    return {env: values[env] for env in (range(vector.num_envs) if envs is None else envs)}


def rollout(vector, seed, steps=12):
    """First observations, and what every step told."""
    told = [[(env, observation.state.tolist()) for env, observation in vector.reset(seeds(seed=seed)).items()]]
    for index in range(steps):
        step = vector.step(actions_of(vector, index))
        told.append([(env, r.observation.state.tolist(), r.reward, r.truncated) for env, r in step.results.items()])
        told.append([(env, observation.state.tolist()) for env, observation in step.begun.items()])
    return told


def test_the_spec_is_read_through_three_wrappers(make):
    vector = make(control_hz=None, action_limit=1.0)
    spec = vector.spec
    assert vector.num_envs == 3 and vector.resets_itself
    assert spec.name == "wrapped" and spec.control_hz == pytest.approx(25.0)
    assert spec.action_dim == 6 and len(spec.state_names) == 12 and spec.cameras == {}
    assert spec.action_low.tolist() == [-1.0] * 6 and spec.action_high.tolist() == [1.0] * 6
    assert np.isinf(make().spec.action_high).all()


def test_a_callable_that_is_called_make_gives_its_modules_name(make):
    assert make(f"{LAB}:make").spec.name == "lab"
    assert make(f"{LAB}:make_for_training").spec.name == "make_for_training"
    assert make(f"{LAB}:make", name="mine").spec.name == "mine"


def test_what_it_tells_is_what_the_worlds_tell(make):
    vector, ours = make(), factories.wrapped(3)
    first = vector.reset(seeds())
    ours.seed(7)
    obs, _ = ours.reset()
    assert all(np.array_equal(first[env].state, obs[env].astype(np.float64)) for env in range(3))
    for index in range(10):
        actions = actions_of(vector, index)
        step = vector.step(actions)
        obs, _, rewards, dones, extras = ours.step(np.array([actions[env] for env in range(3)], np.float32))
        assert not dones.any() and not step.begun and not step.unseen
        for env, result in step.results.items():
            assert np.array_equal(result.observation.state, obs[env].astype(np.float64))
            assert result.reward == float(rewards[env])
            assert result.success is bool(extras["success"][env])
            assert result.info["metrics"]["success"] == 0.0
            assert result.observation.time_s == pytest.approx((index + 1) / 25)


def test_the_end_of_an_episode_is_unseen_and_the_next_one_has_begun(make):
    vector = make(kwargs={"max_episode_length": 4})
    vector.reset(seeds())
    for _ in range(3):
        step = vector.step(actions_of(vector))
        assert not step.begun
    last = step
    step = vector.step(actions_of(vector))
    assert set(step.begun) == step.unseen == {0, 1, 2}
    for env, result in step.results.items():
        assert result.truncated and not result.terminated and result.success is False
        assert result.observation is last.results[env].observation
        assert step.begun[env].time_s == 0.0
        assert not np.array_equal(step.begun[env].state, result.observation.state)
    after = vector.step(actions_of(vector))
    assert after.results[0].observation.time_s == pytest.approx(1 / 25)
    assert not after.begun and not after.unseen


def test_success_ends_an_episode_by_itself(make):
    vector = make()
    vector.reset(seeds())
    world = vector._simulator.env.env.env.env._worlds[1]
    world.data.mocap_pos[0, :2] = world.poses()[-2, :2]
    step = vector.step({env: np.zeros(6) for env in range(3)})
    result = step.results[1]
    assert result.terminated and not result.truncated and result.success is True
    assert result.info["metrics"]["success"] == 1.0
    assert set(step.begun) == step.unseen == {1}
    assert step.results[0].success is False


def test_environments_without_an_action_go_on_at_zero_and_are_left_out(make):
    vector, ours = make(kwargs={"max_episode_length": 4}), factories.wrapped(3, max_episode_length=4)
    vector.reset(seeds())
    ours.seed(7), ours.reset()
    for index in range(4):
        actions = actions_of(vector, index, envs=[1])
        step = vector.step(actions)
        native = np.zeros((3, 6), np.float32)
        native[1] = actions[1]
        obs, *_ = ours.step(native)
        assert list(step.results) == [1]
    assert set(step.begun) == {0, 1, 2} and step.unseen == {1}
    assert np.array_equal(step.begun[0].state, obs[0].astype(np.float64))
    assert not vector.step({}).results


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("wrapped", {"kwargs": {"max_episode_length": 5}}),
        ("seeded_when_built", {}),
        ("seeded_by_the_libraries", {}),
        (f"{LAB}:make", {}),
        (f"{LAB}:make_for_training", {}),
    ],
)
def test_the_seed_decides_first_observations_and_episodes(make, what, options):
    vector, other = make(what, **options), make(what, **options)
    told = rollout(vector, 5)
    assert rollout(other, 5) == told
    assert rollout(vector, 5) == told, "a later reset of the same simulator begins otherwise"
    assert rollout(other, 6)[0] != told[0]
    assert len({str(state) for _, state in told[0]}) == 3


def test_isaac_gym_is_built_once(make, monkeypatch):
    """It cannot make two simulators in one process."""
    vector = make("seeded_when_built")
    env = vector._simulator.env
    vector.reset(seeds())
    assert vector._simulator.env is not env
    monkeypatch.setitem(sys.modules, "isaacgym", ModuleType("isaacgym"))
    env = vector._simulator.env
    vector.reset(seeds())
    assert vector._simulator.env is env


def test_the_seed_of_environment_0_is_the_seed_of_all(make):
    vector = make()
    first = vector.reset({0: 4, 1: 0, 2: 0})
    again = vector.reset({0: 4, 1: 9, 2: 9})
    assert all(np.array_equal(first[env].state, again[env].state) for env in range(3))


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("wrapped", {}),
        ("wrapped", {"kwargs": {"max_episode_length": 4}}),
        ("of_each_robot", {}),
        ("seeded_when_built", {}),
        ("with_cameras", {"capture": "capture", "cameras": ("top",), "width": 64, "height": 48}),
        (f"{LAB}:make", {}),
        (f"{LAB}:make_for_training", {}),
    ],
)
def test_the_contract_is_kept(make, what, options):
    check_env(lambda: make(what, **options))


def test_some_of_them_cannot_be_reset(make):
    vector = make()
    with pytest.raises(EnvironmentFault, match="all of its 3"):
        vector.reset({1: 4})
    with pytest.raises(EnvironmentFault, match="reset first"):
        vector.step(actions_of(vector))
    vector.reset(seeds())
    with pytest.raises(EnvironmentFault, match=r"takes \(6,\) actions, got \(5,\)"):
        vector.step({0: np.zeros(5)})
    with pytest.raises(EnvironmentFault, match="no environment -1"):
        vector.step({-1: np.zeros(6)})


def test_privileged_observations_are_a_group_of_their_own(make):
    assert len(make(obs_group="critic").spec.state_names) == 21
    with pytest.raises(ConfigError, match=r"obs_group: unknown group 'critics'.*critic, policy"):
        make(obs_group="critics")


def test_robots_may_have_an_axis_of_their_own(make):
    vector, ours = make("of_each_robot"), factories.of_each_robot(3)
    first = vector.reset(seeds())
    ours.env.seed(7)
    obs = ours.reset()
    assert len(vector.spec.state_names) == 24 and vector.spec.action_dim == 6
    assert np.array_equal(first[2].state, obs[2].ravel().astype(np.float64))
    step = vector.step(actions_of(vector))
    values = np.array(list(actions_of(vector).values()), np.float32)
    obs, rewards, _, _ = ours.step(values.reshape(3, 2, 3))
    assert np.array_equal(step.results[1].observation.state, obs[1].ravel().astype(np.float64))
    assert step.results[1].reward == float(rewards[1, 0])


def test_isaac_labs_groups_are_state_and_pictures(make, caplog):
    vector = make(f"{LAB}:make")
    assert vector.spec.control_hz == pytest.approx(25.0)
    assert vector.spec.state_names[:4] == ("joints_0", "joints_1", "joints_2", "object_0")
    assert len(vector.spec.state_names) == 12
    assert list(vector.spec.cameras) == ["wrist.rgb"]
    assert "wrist.depth" in caplog.text
    image = vector.reset(seeds())[2].images["wrist.rgb"]
    assert not image.rendered
    assert (image.height, image.width) == (8, 10) and image.pixels.shape == (8, 10, 3)
    assert image.pixels[0, 0].tolist() == [2, 2, 2]


def test_isaac_labs_termination_terms_tell_success(make):
    vector = make(f"{LAB}:make")
    vector.reset(seeds())
    world = vector._simulator.env._push._worlds[1]
    world.data.mocap_pos[0, :2] = world.poses()[-2, :2]
    results = vector.step({env: np.zeros(6) for env in range(3)}).results
    assert [results[env].success for env in range(3)] == [False, True, False]
    assert [results[env].terminated for env in range(3)] == [False, True, False]
    named = make(f"{LAB}:make", success_key="time_out")
    named.reset(seeds())
    told = [named.step(actions_of(named)).results[0] for _ in range(5)]
    assert [result.success for result in told] == [False] * 4 + [True]
    assert told[-1].truncated and not told[-1].terminated


def test_isaac_labs_tasks_are_made_by_their_registered_names(make, isaaclab_tasks):
    vector = make(entry=None, id=lab.ID, module=LAB)
    assert vector.spec.name == lab.ID and vector.num_envs == 3
    assert len(vector.reset(seeds())) == 3
    assert make(entry=None, id="Push-Without-Configuration-v0", module=LAB, name="mine").spec.name == "mine"


def test_a_first_step_without_the_named_success_is_a_line(make):
    vector = make(success_key="solved")
    vector.reset(seeds())
    with pytest.raises(EnvironmentFault, match=r"'solved' is not in .*; there are time_outs, success, metrics.success"):
        vector.step(actions_of(vector))
    vector = make(f"{LAB}:make", success_key="solved")
    vector.reset(seeds())
    with pytest.raises(EnvironmentFault, match=r"'solved' is not in .*time_out"):
        vector.step(actions_of(vector))
    vector = make(success_key="metrics")
    vector.reset(seeds())
    with pytest.raises(EnvironmentFault, match="has shape"):
        vector.step(actions_of(vector))


def test_success_is_found_inside_mappings(make):
    vector = make(success_key="metrics.success")
    vector.reset(seeds())
    assert vector.step(actions_of(vector)).results[0].success is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"entry": None}, "entry must be given, .* or --env.id"),
        ({"id": "CartPole-v1"}, "entry and --env.id both name an environment"),
        ({"entry": "somewhere"}, "entry must be module:callable, not 'somewhere'"),
        ({"entry": "no_such_module:make"}, "No module named 'no_such_module'.*PYTHONPATH"),
        ({"entry": f"{FACTORIES}:wraped"}, "unknown callable 'wraped'. Did you mean 'wrapped'"),
        ({"entry": f"{FACTORIES}:not_callable"}, "unknown callable 'not_callable'"),
        ({"entry": f"{FACTORIES}:failing"}, "cannot be built: RuntimeError: no GPU was found"),
        ({"entry": f"{FACTORIES}:fewer"}, "num_envs is 3, but what .* has 2 environments"),
        ({"entry": f"{FACTORIES}:bare"}, "control_hz must be given"),
        ({"entry": f"{FACTORIES}:wrapped", "kwargs": {"spin": 1}}, "cannot be built: TypeError.*spin"),
        ({"entry": None, "id": "Isaac-Nowhere-v0"}, "id 'Isaac-Nowhere-v0' is not registered"),
        ({"entry": None, "id": "CartPole-v1", "module": "no_such_module"}, "module 'no_such_module'"),
        ({"module": "tests"}, "module goes with id"),
        ({"api": "isaac"}, "unknown api 'isaac'. Did you mean 'isaac_lab'"),
        ({"control_hz": 0.0}, "control_hz must be more than 0"),
        ({"action_limit": -1.0}, "action_limit must be more than 0"),
        ({"width": 8}, "width must be from 16"),
        ({"cameras": ("a", "a")}, "cameras must be different names"),
        ({"capture": "_render_headless"}, "capture must be the name of a public method"),
        ({"capture": "photograph"}, "no method 'photograph'"),
        ({"entry": f"{FACTORIES}:with_cameras", "capture": "broken"}, "no method 'broken'"),
        ({"entry": f"{FACTORIES}:with_cameras", "capture": "draw"}, "unknown parameter 'surface'"),
        ({"entry": f"{FACTORIES}:with_cameras", "capture": "render", "cameras": ("a", "b")}, "cameras names 2"),
    ],
)
def test_options_that_do_not_fit_are_a_line(make, options, said):
    with pytest.raises(ConfigError, match=said):
        make(**options)


@pytest.mark.parametrize(
    ("told", "hz"),
    [
        ({"step_dt": 0.02, "dt": 1.0}, 50.0),
        ({"dt": 0.02}, 50.0),
        ({"dt": 0.01, "control_freq_inv": 2}, 50.0),
        ({"cfg": SimpleNamespace(decimation=4, sim=SimpleNamespace(dt=0.005))}, 50.0),
        ({"cfg": SimpleNamespace(control=SimpleNamespace(decimation=4), sim=SimpleNamespace(dt=0.005))}, 50.0),
    ],
)
def test_the_rate_is_what_the_environment_tells_of_its_steps(make, told, hz):
    assert make("bare", kwargs=told).spec.control_hz == pytest.approx(hz)
    assert make("bare", kwargs=told, control_hz=30.0).spec.control_hz == 30.0


def test_limits_of_actions_are_those_of_the_space(make):
    box = gymnasium.spaces.Box(np.array([-1, -np.inf], np.float32), np.array([2, np.inf], np.float32))
    told = {"dt": 0.02, "action_space": gymnasium.vector.utils.batch_space(box, 3)}
    spec = make("bare", kwargs=told, action_limit=5.0).spec
    assert spec.action_low.tolist() == [-1.0, -5.0] and spec.action_high.tolist() == [2.0, 5.0]
    assert make("bare", kwargs=told | {"single_action_space": box}).spec.action_dim == 2
    with pytest.raises(ConfigError, match="neither single_action_space, action_space nor num_actions"):
        make("bare", kwargs={"dt": 0.02, "num_actions": None, "action_space": gymnasium.spaces.Discrete(3)})


def test_observations_without_a_row_for_each_environment_are_a_line(make):
    with pytest.raises(ConfigError, match=r"observation 'policy' has shape \(5, 3\), not 3 rows"):
        make("bare", kwargs={"dt": 0.02, "rows": 5})


def test_an_answer_in_no_known_dialect_is_a_line(make):
    vector = make("bare", control_hz=10.0)
    vector.reset(seeds())
    with pytest.raises(EnvironmentFault, match=r"step returned str; understood are \(obs, privileged"):
        vector.step(actions_of(vector))
    vector = make(api="isaac_lab")
    vector.reset(seeds())
    with pytest.raises(EnvironmentFault, match=r"step returned what isaac_lab does not.*--env.api=legged_gym"):
        vector.step(actions_of(vector))


def test_pictures_are_captured_when_they_are_looked_at(make):
    vector = make("with_cameras", capture="capture", cameras=("top", "overview"), width=64, height=48)
    assert {name: (size.height, size.width) for name, size in vector.spec.cameras.items()} == {
        "top": (48, 64),
        "overview": (48, 64),
    }
    first = vector.reset(seeds())
    pictures = [first[env].images["top"].pixels for env in range(3)]
    assert all(pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8 for pixels in pictures)
    assert not np.array_equal(*pictures[:2]) and not np.array_equal(*pictures[1:])
    vector.step(actions_of(vector))
    assert np.array_equal(first[0].images["top"].pixels, pictures[0])
    with pytest.raises(RenderingError, match="moved on"):
        _ = first[0].images["overview"].pixels


def test_a_call_for_all_environments_is_made_once_an_instant(make):
    vector = make("with_cameras", capture="render")
    layer = vector._simulator.env.env.env.env
    assert (vector.spec.cameras["camera"].height, vector.spec.cameras["camera"].width) == (32, 48)
    first, before = vector.reset(seeds()), layer.calls
    pictures = [first[env].images["camera"].pixels for env in range(3)]
    assert layer.calls == before + 1
    assert not np.array_equal(pictures[0], pictures[2])
    vector.step(actions_of(vector)).results[0].observation.images["camera"].pixels.any()
    assert layer.calls == before + 2


def test_pictures_are_of_the_simulator_that_the_seed_has_built(make):
    vector = make("seeded_when_built_and_filmed", capture="photograph")
    first = vector.reset(seeds(seed=3))
    before = first[1].images["camera"].pixels
    again = vector.reset(seeds(seed=4))
    assert not np.array_equal(again[1].images["camera"].pixels, before)
    assert np.array_equal(vector.reset(seeds(seed=3))[1].images["camera"].pixels, before)
    with pytest.raises(RenderingError, match="moved on"):
        _ = first[0].images["camera"].pixels


def test_a_camera_of_one_environment_shows_no_other(make):
    vector = make("with_cameras", capture="rendering_camera.get_observation")
    first = vector.reset(seeds())
    assert first[0].images["camera"].pixels.shape == (48, 64, 3)
    with pytest.raises(RenderingError, match="shows environment 0 only, and not 1"):
        _ = first[1].images["camera"].pixels


def test_what_is_no_picture_is_a_line(make):
    with pytest.raises(RenderingError, match=r"grey gave float32 of shape \(8, 8\)"):
        make("with_cameras", capture="grey")


@pytest.mark.parametrize("what", ["factories:wrapped", "lab:make"])
def test_tensors_go_both_ways(make, what):
    """With PyTorch, in an environment that has it: the same numbers as with NumPy."""
    probe = Path(__file__).parent / "isaac_support" / "tensors.py"
    command = [peer_python("0.4.4"), probe, f"tests.envs.isaac_support.{what}", "numpy", "torch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["numpy"]["kinds"] == ["ndarray"] and told["torch"]["kinds"] == ["Tensor"]
    assert told["numpy"]["told"] == told["torch"]["told"]
