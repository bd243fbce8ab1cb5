"""LIBERO's suites, initial states and places, without its simulator."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from taketwo.envs.libero import LiberoConfig, package
from taketwo.envs.libero.package import ASSETS_VARIABLE, PARTS_OF_ASSETS, assets_folder, package_folder
from taketwo.envs.libero.tasks import STEP_LIMITS, find_task, language_of, read_init_states, task_names
from taketwo.errors import ConfigError, EnvironmentFault, MissingExtraError
from tests.envs.libero_support import needs_libero


@pytest.fixture
def installed():
    return package_folder()


@pytest.fixture
def no_assets(tmp_path, monkeypatch):
    """A machine on which nobody has ever had LIBERO's assets."""
    monkeypatch.delenv(ASSETS_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "package"


def some_assets(folder):
    for part in PARTS_OF_ASSETS:
        (folder / part).mkdir(parents=True)
    return folder


@needs_libero
def test_every_suite_has_its_tasks_each_with_a_description_and_initial_states(installed):
    counts = {suite: len(task_names(installed, suite)) for suite in STEP_LIMITS}
    assert counts == {
        "libero_spatial": 10,
        "libero_object": 10,
        "libero_goal": 10,
        "libero_10": 10,
        "libero_90": 90,
    }
    for suite, count in counts.items():
        for index in range(count):
            task = find_task(installed, suite, index)
            assert task.bddl_file.is_file()
            assert task.init_states_file.is_file()
    states = read_init_states(task.init_states_file)
    assert states.dtype == np.float64
    assert len(states) == 50


@needs_libero
@pytest.mark.parametrize("task", [4, "4", "pick_up_the_ketchup_and_place_it_in_the_basket"])
def test_a_task_is_found_by_number_and_by_name(installed, task):
    found = find_task(installed, "libero_object", task)
    assert (found.index, found.language) == (4, "pick up the ketchup and place it in the basket")


@needs_libero
@pytest.mark.parametrize("task", [10, -1, "10"])
def test_a_number_that_no_task_has_is_refused(installed, task):
    with pytest.raises(ConfigError, match=f"^task must be from 0 to 9, .*libero_object has no task {task}$"):
        find_task(installed, "libero_object", task)


@needs_libero
def test_a_name_that_no_task_has_names_the_nearest(installed):
    with pytest.raises(ConfigError, match=r"^task: unknown .*Did you mean 'pick_up_the_milk_and_place_it_in_the_"):
        find_task(installed, "libero_object", "pick_up_the_mylk_and_place_it_in_the_basket")


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("pick_up_the_milk_and_place_it_in_the_basket", "pick up the milk and place it in the basket"),
        ("KITCHEN_SCENE3_turn_on_the_stove", "turn on the stove"),
        ("LIVING_ROOM_SCENE2_put_both_the_soup_and_the_box", "put both the soup and the box"),
        ("KITCHEN_SCENE10_close_the_top_drawer", "close the top drawer"),
    ],
)
def test_the_instruction_is_the_tasks_name_in_words(name, language):
    assert language_of(name) == language


def saved(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_file_of_initial_states_that_would_run_something_is_refused_and_runs_nothing(tmp_path):
    trace = tmp_path / "it_ran"
    path = saved(tmp_path / "states", pickle.dumps(Runs(trace)))
    with pytest.raises(EnvironmentFault, match=r"posix\.mkdir, which no array needs"):
        read_init_states(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps("text"), pickle.dumps(np.zeros(3))])
def test_a_file_that_has_no_initial_states_is_refused_in_a_line(tmp_path, content):
    with pytest.raises(EnvironmentFault, match=r"initial states in .*states") as raised:
        read_init_states(saved(tmp_path / "states", content))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        read_init_states(tmp_path / "states")


def test_rows_come_out_as_they_went_in(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 9))
    buffer = io.BytesIO()
    pickle.dump(rows, buffer, protocol=2)
    old = buffer.getvalue().replace(b"numpy._core", b"numpy.core")  # as the NumPy that wrote LIBERO's has it
    assert np.array_equal(read_init_states(saved(tmp_path / "states", old)), rows)


def test_missing_assets_say_where_they_are_looked_for_and_where_to_get_them(no_assets):
    with pytest.raises(ConfigError) as raised:
        assets_folder(no_assets, None)
    said = str(raised.value)
    assert said.startswith("assets must be given")
    assert "\n" not in said
    for part in (ASSETS_VARIABLE, str(no_assets / "assets"), "lerobot/libero-assets", "hf download"):
        assert part in said


def test_assets_are_found_by_option_before_variable_before_liberos_own_places(no_assets, tmp_path, monkeypatch):
    cached = some_assets(Path.home() / ".cache" / "libero" / "assets")
    assert assets_folder(no_assets, None) == cached
    packaged = some_assets(no_assets / "assets")
    assert assets_folder(no_assets, None) == packaged
    monkeypatch.setenv(ASSETS_VARIABLE, str(some_assets(tmp_path / "named")))
    assert assets_folder(no_assets, None) == tmp_path / "named"
    assert assets_folder(no_assets, some_assets(tmp_path / "chosen")) == tmp_path / "chosen"


def test_a_folder_without_assets_is_refused_wherever_it_was_named(no_assets, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=f"^assets must be a folder with .*scenes.*, which {tmp_path} is not$"):
        assets_folder(no_assets, tmp_path)
    monkeypatch.setenv(ASSETS_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=rf"^assets: \${ASSETS_VARIABLE} must be a folder with .*, which {tmp_path}"):
        assets_folder(no_assets, None)


INSTALL = "pip install 'taketwo[libero]' && pip install --no-deps hf-libero==0.1.4 bddl==1.0.1"


@pytest.mark.parametrize(
    ("missing", "said"),
    [(name, f"{name} is not installed: {INSTALL}") for name in ("robosuite", "mujoco")]
    + [("libero", f"hf-libero is not installed: {INSTALL}")],
)
def test_a_missing_library_says_how_to_install_it(monkeypatch, missing, said):
    def find_spec(name):
        return None if name == missing else object()

    monkeypatch.setattr(package.importlib.util, "find_spec", find_spec)
    with pytest.raises(MissingExtraError) as raised:
        LiberoConfig().make()
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("option", "value"), [("width", 8), ("height", 5000), ("num_steps_wait", 0), ("num_steps_wait", 1001)]
)
def test_a_number_out_of_range_is_refused(option, value):
    with pytest.raises(ConfigError, match=f"^{option} must be from .*not {value}$"):
        LiberoConfig(**{option: value})


def test_a_camera_named_twice_is_refused():
    with pytest.raises(ConfigError, match=r"^cameras names one twice"):
        LiberoConfig(cameras=("agentview", "agentview"))


@needs_libero
@pytest.mark.parametrize("number", [50, -1])
def test_an_initial_state_that_is_not_there_is_refused(number):
    with pytest.raises(ConfigError, match=rf"^init_state must be from 0 to 49, not {number}$"):
        LiberoConfig(init_state=number).make()
