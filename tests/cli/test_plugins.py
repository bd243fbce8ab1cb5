"""A policy out of another package, found by its entry point."""

import pytest

from tests.cli.support import error_of, install_plugin, taketwo


@pytest.fixture
def plugin(tmp_path):
    return install_plugin(tmp_path)


def test_it_is_listed_with_its_package(plugin):
    out = taketwo("list", "policies", PYTHONPATH=plugin).stdout
    assert "Holds still." in out
    assert "from still-plugin" in out


def test_its_flags_are_in_the_help(plugin):
    out = taketwo("run", "--policy.type=still", "--help", PYTHONPATH=plugin).stdout
    assert "--policy.value  float  [0.0]\n      what it answers." in out


def test_one_that_cannot_be_loaded_is_told_and_is_no_obstacle_to_the_others(plugin, tmp_path):
    done = taketwo("run", "--policy.type=broken", PYTHONPATH=plugin, cwd=tmp_path)
    assert done.returncode == 2
    assert "policy 'broken' cannot be loaded from 'still_plugin:NoSuchConfig'" in error_of(done)
    done = taketwo("run", "--policy.value=1", PYTHONPATH=plugin, cwd=tmp_path)
    assert error_of(done) == "--policy.value belongs to --policy.type=still, and --policy.type is scripted"


def test_it_runs(plugin, tmp_path):
    done = taketwo(
        "run", "--env.type=gym", "--env.render=false", "--video.mode=off", "--policy.type=still", "--policy.value=1",
        "--session.num_episodes=1", "--output_dir=out", PYTHONPATH=plugin, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "session.json").exists()
