"""Episodes that begin from a recorded initial state, and the seed alone does not tell which."""

import numpy as np
import pytest

from taketwo.cli.resolve import to_plain
from taketwo.control.config import ControlConfig
from taketwo.datasets.reader import Dataset
from taketwo.envs.libero import LiberoConfig
from taketwo.policies.scripted import ScriptedConfig
from taketwo.replay.episode import ReplayedEpisode
from taketwo.replay.replay import Replay, Start
from tests.envs.libero_support import ASSETS, needs_libero
from tests.replay.recording import copied, edit_notes, record, without_trace

pytestmark = needs_libero

CONFIG = LiberoConfig(cameras=(), assets=ASSETS)


@pytest.fixture(scope="module")
def soup(tmp_path_factory):
    """The beginnings of two episodes, without a trace."""
    root = tmp_path_factory.mktemp("me") / "soup"
    environment = CONFIG.make()
    controller = ControlConfig().make(ScriptedConfig().make(environment.spec), environment.spec)
    described_as = {"env": {"type": "libero", **to_plain(CONFIG)}}
    record(root, environment, controller, described_as, seed=3, num_episodes=2, max_episode_steps=12)
    without_trace(root)
    return root


@pytest.fixture(scope="module")
def simulator():
    environment = CONFIG.make()
    yield environment
    environment.close()


def replayed(root, index, simulator):
    with Dataset.open(root) as dataset:
        return Replay(simulator, ReplayedEpisode.load(dataset, index)).run()


def test_an_episode_without_a_trace_begins_from_its_own_initial_state(soup, simulator):
    for index in (1, 0):
        found = replayed(soup, index, simulator)
        assert found.start is Start.SEEDED
        assert found.as_recorded, str(found)
        assert simulator.step(np.zeros(7)).info["init_state"] == index


def test_from_another_initial_state_it_is_not_as_recorded(soup, simulator, tmp_path):
    changed = copied(soup, tmp_path)
    edit_notes(changed, init_state=7)
    found = replayed(changed, 1, simulator)
    assert simulator.step(np.zeros(7)).info["init_state"] == 7
    assert not found.as_recorded
