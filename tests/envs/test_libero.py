"""The LIBERO environment in the real simulator, against LIBERO's own loop."""

import gc
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from taketwo.envs.libero import LiberoConfig
from taketwo.envs.libero.culling import BOX, Culling
from taketwo.envs.libero.environment import INIT_STATE
from taketwo.envs.libero.package import package_folder
from taketwo.envs.libero.tasks import find_task, read_init_states
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError
from taketwo.policies.openvla_conventions import Conventions
from taketwo.policies.openvla_rest import OpenVLARestConfig
from taketwo.policies.remote import RemoteConfig
from taketwo.serving.environments import LiberoConfig as ServedLibero
from taketwo.testing import check_env
from taketwo.types import EpisodeInfo
from tests.envs.libero_support import ASSETS, needs_libero
from tests.support_server import actions_like, serving

pytestmark = needs_libero

SUPPORT = Path(__file__).parent / "libero_support"
CAMERAS = ("agentview", "robot0_eye_in_hand")
SMALL = {"width": 64, "height": 48, "assets": ASSETS}


@pytest.fixture(scope="module")
def soup():
    environment = LiberoConfig(**SMALL).make()
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def drawer():
    """A task with fixtures: a cabinet and a stove, which stand where the seed says."""
    environment = LiberoConfig(suite="libero_goal", task=0, **SMALL).make()
    yield environment
    environment.close()


def actions(count, seed=0):
    """Wild ones, that turn the hand and use the gripper."""
    generator = np.random.default_rng(seed)
    return np.clip(np.cumsum(generator.normal(0, 0.4, (count, 7)), axis=0) - [0, 0, 0.4, 0, 0, 0, 0], -1, 1)


def physical_state(environment):
    data = environment._simulation.data
    return np.concatenate([[data.time], data.qpos, data.qvel])


def played(environment, sent):
    return [environment.step(action) for action in sent]


def test_the_adapter_keeps_the_contract():
    check_env(LiberoConfig(task=6, cameras=CAMERAS[:1], quality="preview", **SMALL).make)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """An episode in LIBERO's own loop, and in ours with a look at a picture now and then; at last a server is asked."""
    folder = tmp_path_factory.mktemp("usual")
    sent = actions(8)
    np.save(folder / "actions.npy", sent)
    environment = LiberoConfig(assets=ASSETS).make()
    environment.reset(1, {INIT_STATE: 9})
    played(environment, actions(3, seed=5))  # what was before must not matter
    environment.reset(7, {INIT_STATE: 2})
    states, results = [physical_state(environment)], []
    for index, action in enumerate(sent):
        results.append(environment.step(action))
        states.append(physical_state(environment))
        if index % 5 == 0:
            _ = results[-1].observation.images["agentview"].pixels
    pictures = {camera: results[-1].observation.images[camera].pixels for camera in CAMERAS}
    task = environment.snapshot()["task"]
    with serving(actions_like(np.zeros(7))) as server:
        policy = RemoteConfig(port=server.port, layout="libero").make(environment.spec)
        policy.reset(EpisodeInfo(0, 7))
        policy.infer(results[-1].observation)
        policy.close()
    environment.close()
    command = [sys.executable, SUPPORT / "usual_loop.py", "libero_object", task, "2", "7"]
    surroundings = os.environ | {"TAKETWO_LIBERO_ASSETS": str(ASSETS)}
    subprocess.run([*command, folder / "actions.npy", folder / "out.npz"], env=surroundings, check=True, timeout=120)
    return SimpleNamespace(
        theirs=np.load(folder / "out.npz"),
        states=np.array(states),
        results=results,
        pictures=pictures,
        request=server.requests[-1],
        spec=environment.spec,
    )


def test_the_same_actions_lead_to_the_same_states_as_in_liberos_own_loop_bit_for_bit(usual):
    assert np.array_equal(usual.states, usual.theirs["mujoco"])
    assert [result.reward for result in usual.results] == usual.theirs["rewards"].tolist()
    assert [result.success for result in usual.results] == usual.theirs["verdicts"].tolist()


def test_the_state_is_of_the_very_instant_where_robosuites_observation_is_late(usual):
    theirs = usual.theirs
    assert np.allclose(usual.results[-1].observation.state, theirs["fresh_state"], rtol=0, atol=1e-12)
    late = np.abs(theirs["state"][-1] - theirs["fresh_state"]).max()
    assert late > 1e-5, "robosuite's own observation is not late any more: nothing has been tested here"


@pytest.mark.parametrize("camera", CAMERAS)
def test_pictures_are_robosuites_of_the_very_instant_turned_by_180_degrees(usual, camera):
    picture, theirs = usual.pictures[camera], usual.theirs
    assert np.array_equal(picture, theirs[f"fresh_{camera}"][::-1, ::-1])
    assert not np.array_equal(picture, theirs[camera][-1]), "robosuite's own is not late any more"


def test_what_goes_over_the_wire_is_what_openpis_libero_client_would_send_of_this_instant(usual):
    request, theirs = usual.request, usual.theirs
    assert request.keys() == {"observation/image", "observation/wrist_image", "observation/state", "prompt"}
    assert request["prompt"] == "pick up the alphabet soup and place it in the basket"
    for key, camera in zip(("observation/image", "observation/wrist_image"), CAMERAS, strict=True):
        assert request[key].shape == (224, 224, 3)
        assert request[key].dtype == np.uint8
        assert np.array_equal(request[key], theirs[f"sent_{camera}"])
    assert request["observation/state"].dtype == theirs["fresh_state"].dtype == np.float64
    assert np.allclose(request["observation/state"], theirs["fresh_state"], rtol=0, atol=1e-12)


def test_openvla_is_shown_what_its_own_evaluation_makes_of_robosuites_picture(usual):
    """`get_libero_image`: turned by 180 degrees, through JPEG as TensorFlow encodes it, and scaled by Lanczos."""
    conventions = Conventions.of(OpenVLARestConfig(), usual.spec)
    assert conventions.camera == "agentview"
    turned = Image.fromarray(np.ascontiguousarray(usual.theirs["fresh_agentview"][::-1, ::-1]))
    file = io.BytesIO()
    turned.save(file, "JPEG", quality=95, subsampling="4:2:0")
    expected = Image.open(file).resize((224, 224), Image.Resampling.LANCZOS)
    assert np.array_equal(conventions.picture(usual.results[-1].observation), np.asarray(expected))


OF_EACH_SUITE = [("libero_spatial", 7), ("libero_goal", 3), ("libero_10", 5), ("libero_90", 0)]
"""A bowl on a stove, a drawer, a study, a kitchen; `libero_object` is what the rest is tested with."""


@pytest.mark.parametrize(("suite", "task"), OF_EACH_SUITE)
def test_tasks_of_every_suite_reset_and_step_as_robosuite_would(suite, task):
    """Each control period against robosuite's own, from the same state."""
    environment = LiberoConfig(suite=suite, task=task, quality="preview", **SMALL).make()
    sent = actions(3, seed=task)
    environment.reset(3, {INIT_STATE: 1})
    result = played(environment, sent)[-1]
    ours = physical_state(environment)
    assert all(result.observation.images[camera].pixels.std() > 5 for camera in CAMERAS)
    environment.reset(3, {INIT_STATE: 1})
    for action in sent:
        environment._simulation._domain.step(action)
    assert np.array_equal(ours, physical_state(environment))
    environment.close()


def test_fixtures_and_drawers_are_where_liberos_own_environment_puts_them():
    """A bowl in an open drawer: robosuite's samplers draw for the drawer, the cabinet and the bowl."""
    task = find_task(package_folder(), "libero_spatial", 4)
    ours = LiberoConfig(suite=task.suite, task=task.index, cameras=(), assets=ASSETS).make()
    from libero.libero.envs.env_wrapper import ControlEnv

    theirs = ControlEnv(bddl_file_name=str(task.bddl_file), use_camera_obs=False, has_offscreen_renderer=False)
    theirs.seed(5)
    theirs.reset()
    theirs.set_init_state(read_init_states(task.init_states_file)[2])
    ours.reset(9)  # what was before must not matter
    ours.reset(5, {INIT_STATE: 2})
    for _ in range(10):
        theirs.step([0.0] * 6 + [-1.0])
    for action in actions(3):
        theirs.step(action.tolist())
        ours.step(action)
    model = theirs.sim.model._model
    assert np.array_equal(ours._simulation.model.body_pos, model.body_pos)
    assert np.array_equal(ours._simulation.model.body_quat, model.body_quat)
    assert np.array_equal(physical_state(ours), theirs.get_sim_state())
    theirs.close()
    ours.close()


def test_looking_makes_no_later_observation_late(soup):
    """Every forced update of robosuite's observations delays all later ones, up to a whole control period."""
    import mujoco

    simulation = soup._simulation
    copy = mujoco.MjData(simulation.model)
    soup.reset(3)
    for action in actions(10):
        observation = soup.step(action).observation
        _ = observation.images["agentview"].pixels
        mujoco.mj_copyData(copy, simulation.model, simulation.data)
        mujoco.mj_forward(simulation.model, copy)
        assert np.array_equal(observation.state[:3], copy.site("gripper0_grip_site").xpos)
        soup_now = copy.body("alphabet_soup_1_main")
        told = observation.extras["object_poses"]["alphabet_soup_1"]
        assert np.array_equal(told, np.concatenate([soup_now.xpos, soup_now.xquat]))


def test_two_environments_draw_their_own_pictures_in_turns(soup, drawer):
    """robosuite's renderer draws into whichever GL context is current, without an error."""
    alone = [environment.reset(4).images["agentview"].pixels for environment in (soup, drawer)]
    for environment, picture in zip((soup, drawer), alone, strict=True):
        assert np.array_equal(environment.render("agentview", 48, 64), picture)
    assert all(picture.std() > 5 for picture in alone)
    assert not np.array_equal(*alone)


def test_an_environment_that_is_dropped_without_close_takes_no_others_pictures_with_it(soup):
    """The GL objects of one that is collected have numbers that are in use in another's context too."""
    picture = soup.reset(4).images["agentview"].pixels
    dropped = LiberoConfig(task=3, **SMALL).make()
    _ = dropped.reset(0).images["agentview"].pixels
    assert np.array_equal(soup.render("agentview", 48, 64), picture)
    del dropped
    gc.collect()
    assert np.array_equal(soup.render("agentview", 48, 64), picture)
    assert soup.render("birdview", 40, 40).std() > 5


def test_nothing_is_drawn_that_nobody_looks_at(soup, monkeypatch):
    drawn = []
    real = soup._renderer.render
    monkeypatch.setattr(soup._renderer, "render", lambda data, *what: drawn.append(what) or real(data, *what))
    observation = soup.reset(1)
    for result in played(soup, actions(3)):
        assert not any(image.rendered for image in observation.images.values())
        with pytest.raises(RenderingError, match="before the environment moved on"):
            _ = observation.images["agentview"].pixels
        observation = result.observation
    assert drawn == []
    _ = observation.images["robot0_eye_in_hand"].pixels
    assert drawn == [("robot0_eye_in_hand", 48, 64)]


def test_every_camera_can_be_drawn_at_any_size(soup):
    soup.reset(1)
    pictures = [soup.render(camera, 40, 56) for camera in soup.camera_names()]
    assert all(picture.shape == (40, 56, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) == 7
    assert soup.render("agentview", 480, 640).std() > 5


@pytest.mark.parametrize("size", [(48, 64), (96, 40)])
def test_leaving_out_what_a_camera_does_not_see_changes_no_pixel(soup, size):
    soup.reset(2)
    played(soup, actions(4))
    simulation = soup._simulation
    before = simulation.model.geom_group.copy()
    hidden = []
    for camera in soup.camera_names():
        whole = soup._renderer.render(simulation.data, camera, *size)[:, ::-1]
        assert np.array_equal(soup.render(camera, *size), whole)
        with soup._culling.unseen_hidden(simulation.data, camera, *size):
            hidden.append((simulation.model.geom_group != before).sum())
    assert max(hidden) > 10
    assert np.array_equal(simulation.model.geom_group, before)


def test_what_only_a_mirror_shows_is_drawn(drawer):
    """The stove has a mirror. The wrist's camera sees in it what it does not see itself."""
    drawer.reset(2)
    simulation, culling = drawer._simulation, drawer._culling
    (mirror,) = culling._mirrors
    camera = simulation.model.camera("robot0_eye_in_hand").id
    direct, seen = culling._in_view(simulation.data, camera, 1.0), culling._seen(simulation.data, camera, 1.0)
    assert direct[mirror]
    assert not seen.all()
    assert (seen & ~direct).any()
    for name in drawer.camera_names():
        whole = drawer._renderer.render(simulation.data, name, 64, 64)[:, ::-1]
        assert np.array_equal(drawer.render(name, 64, 64), whole)


def test_where_two_things_could_mirror_nothing_is_left_out(drawer):
    """MuJoCo lets the first one mirror; were it left out, the second one would."""
    model = drawer._simulation.model
    wood = next(geom for geom in range(model.ngeom) if model.geom_type[geom] == BOX and model.geom_group[geom] == 1)
    reflecting, before = model.geom_matid.copy(), model.geom_group.copy()
    model.geom_matid[wood] = model.geom_matid[drawer._culling._mirrors[0]]
    try:
        with Culling(model).unseen_hidden(drawer._simulation.data, "robot0_eye_in_hand", 48, 64):
            assert np.array_equal(model.geom_group, before)
    finally:
        model.geom_matid[:] = reflecting


def test_a_snapshot_goes_on_the_same_in_another_environment(drawer):
    """With the gripper on its way, a turn that the controller holds on to, and fixtures that the seed has placed."""
    drawer.reset(11, {INIT_STATE: 4})
    closing = np.array([0.3, -0.2, -0.3, 0.4, -0.3, 0.2, 1.0])
    played(drawer, [closing] * 3)
    snapshot = drawer.snapshot()
    holding = closing * [1, 1, 1, 0, 0, 0, 1]
    here = played(drawer, [holding] * 4)
    picture = here[-1].observation.images["agentview"].pixels
    other = LiberoConfig(suite="libero_goal", task=0, **SMALL).make()
    restored = other.restore(snapshot)
    assert restored.time_s == pytest.approx(3 / 20)
    assert snapshot[INIT_STATE] == 4 == other.snapshot()[INIT_STATE]
    there = played(other, [holding] * 4)
    for one, two in zip(here, there, strict=True):
        assert np.array_equal(one.observation.state, two.observation.state)
        poses = two.observation.extras["object_poses"]
        assert all(np.array_equal(pose, poses[name]) for name, pose in one.observation.extras["object_poses"].items())
    assert np.array_equal(picture, there[-1].observation.images["agentview"].pixels)
    assert np.array_equal(physical_state(drawer), physical_state(other))
    other.close()


def test_a_snapshot_of_another_task_is_refused(soup, drawer):
    drawer.reset(0)
    with pytest.raises(EnvironmentFault, match=r"open_the_middle_drawer.*cannot be restored in pick_up_the_alphabet"):
        soup.restore(drawer.snapshot())


def test_initial_states_are_liberos_in_turn(soup):
    states = soup._init_states
    assert states.shape == (50, 1 + soup._simulation.model.nq + soup._simulation.model.nv)
    for told, meant in ((0, 0), (49, 49), (50, 0), (103, 3)):
        soup.reset(5, {INIT_STATE: told})
        assert soup.step(np.zeros(7)).info[INIT_STATE] == meant
    first, again, other = (
        soup.reset(seed, {INIT_STATE: state}).extras["object_poses"]["basket_1"]
        for seed, state in ((5, 1), (6, 1), (5, 2))
    )
    assert np.array_equal(first, again), "on a bare floor the seed changes nothing"
    assert not np.array_equal(first, other)


def test_the_seed_says_where_fixtures_stand_and_leaves_the_global_generator_alone(drawer):
    before = np.random.get_state()[1].copy()

    def cabinet(seed):
        return drawer.reset(seed, {INIT_STATE: 0}).extras["object_poses"]["wooden_cabinet_1"]

    first, other, again = cabinet(1), cabinet(2), cabinet(1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(np.random.get_state()[1], before)


def test_one_initial_state_can_be_held_on_to():
    held = LiberoConfig(init_state=7, cameras=(), assets=ASSETS).make()
    held.reset(3, {INIT_STATE: 2})
    assert held.step(np.zeros(7)).info[INIT_STATE] == 7
    held.close()


def test_another_reset_option_is_refused(soup):
    with pytest.raises(EnvironmentFault, match="init_state, not foo"):
        soup.reset(0, {"foo": 1})


def test_it_says_what_a_server_for_libero_expects(soup):
    served, ours = ServedLibero().make().spec, soup.spec
    assert (ours.action_names, ours.action_units) == (served.action_names, served.action_units)
    assert (ours.state_names, ours.control_hz) == (served.state_names, served.control_hz)
    assert np.array_equal(ours.action_low, served.action_low)
    assert np.array_equal(ours.action_high, served.action_high)
    assert tuple(ours.cameras) == tuple(served.cameras)


def test_prompt_name_and_step_limit_are_the_tasks(soup, drawer):
    assert soup.spec.name == "libero_object_0"
    assert soup.spec.prompt == "pick up the alphabet soup and place it in the basket"
    assert soup.spec.max_episode_steps == 280
    assert drawer.spec.max_episode_steps == 300


def test_objects_sizes_touches_and_the_goal_are_told(soup):
    observation = soup.reset(0)
    extras = observation.extras
    assert extras["goal"] == (("in", "alphabet_soup_1", "basket_1_contain_region"),)
    low, high = extras["object_boxes"]["alphabet_soup_1"]
    assert high - low == pytest.approx([0.0624, 0.0762, 0.0624], abs=0.002)
    assert extras["object_poses"]["alphabet_soup_1"][2] == pytest.approx(0.038, abs=0.002), "it has come to rest"
    assert extras["touched_by"] == {"left": frozenset(), "right": frozenset()}
    assert set(extras["object_poses"]) == set(extras["object_boxes"])


def test_actions_of_another_size_are_refused(soup):
    with pytest.raises(EnvironmentFault, match=r"shape \(7,\), got \(8,\)"):
        soup.step(np.zeros(8))


IN_A_NEW_HOME = """
import json, sys
import numpy as np
from taketwo.envs.libero import LiberoConfig
from taketwo.errors import RenderingError

environment = LiberoConfig().make()
environment.reset(0)
result = environment.step(np.zeros(7))
try:
    result.observation.images["agentview"].pixels
except RenderingError as error:
    said = str(error)
environment.close()
print(json.dumps({"torch": "torch" in sys.modules, "state": result.observation.state.tolist(), "said": said}))
"""


def test_it_asks_nobody_anything_and_leaves_the_home_folder_alone(tmp_path, soup):
    """In a new home, without stdin, torch or GL."""
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    surroundings = {name: value for name, value in os.environ.items() if name != "LIBERO_CONFIG_PATH"}
    surroundings |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(cache),
        "TAKETWO_LIBERO_ASSETS": str(ASSETS),
        "MUJOCO_GL": "disabled",
        "MPLCONFIGDIR": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_HOME],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # nothing else was printed
    assert done.stderr == ""
    assert not told["torch"]
    assert "MUJOCO_GL" in told["said"]
    assert [path.name for path in (cache / "taketwo" / "libero").rglob("*.yaml")] == ["config.yaml"]
    assert list(home.iterdir()) == []
    soup.reset(0)
    assert told["state"] == soup.step(np.zeros(7)).observation.state.tolist()


def test_a_file_that_is_missing_among_the_assets_is_named(tmp_path):
    for part in ASSETS.iterdir():
        if part.name != "stable_hope_objects":
            (tmp_path / part.name).symlink_to(part)
    (tmp_path / "stable_hope_objects").mkdir()
    with pytest.raises(ConfigError, match=r"^assets lack .*stable_hope_objects/\w+.*, which task pick_up") as raised:
        LiberoConfig(cameras=(), assets=tmp_path).make()
    assert "\n" not in str(raised.value)


def test_an_unknown_camera_names_the_nearest():
    with pytest.raises(ConfigError, match=r"^cameras: unknown camera 'agentvew'.*'agentview'"):
        LiberoConfig(cameras=("agentvew",), assets=ASSETS).make()
