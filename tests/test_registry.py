import sys

import pytest

from taketwo.envs.base import ENVIRONMENTS
from taketwo.errors import ConfigError
from taketwo.policies.base import POLICIES


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """An installed package that offers an environment, a policy, and one that cannot be imported."""
    (tmp_path / "their_robots.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass TheirConfig:\n    '''Their robot.'''\n    speed: float = 1.0\n"
    )
    info = tmp_path / "their_robots-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-robots\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[taketwo.envs]\ntheirs = their_robots:TheirConfig\nbroken = no_such_package:Config\n"
        "aloha = their_robots:TheirConfig\n[taketwo.policies]\ntheirs = their_robots:TheirConfig\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("their_robots", None)


def test_a_third_partys_components_join_by_entry_point(third_party):
    assert ENVIRONMENTS.config_class("theirs").__doc__ == "Their robot."
    assert POLICIES.config_class("theirs")().speed == 1.0


def test_a_built_in_name_cannot_be_taken_over(third_party):
    assert ENVIRONMENTS.config_class("aloha").__name__ == "AlohaConfig"


def test_a_third_party_that_cannot_be_imported_is_named(third_party):
    with pytest.raises(ConfigError, match=r"'broken' cannot be loaded from 'no_such_package:Config'"):
        ENVIRONMENTS.config_class("broken")


def test_an_unknown_name_gets_the_nearest_and_all_others():
    with pytest.raises(ConfigError, match=r"unknown environment 'alhoa'. Did you mean 'aloha'\? Known: .*gym"):
        ENVIRONMENTS.config_class("alhoa")


@pytest.mark.parametrize("registry", [ENVIRONMENTS, POLICIES], ids=["envs", "policies"])
def test_every_built_in_name_can_be_loaded(registry):
    for name in registry.targets():
        assert registry.config_class(name).__doc__
