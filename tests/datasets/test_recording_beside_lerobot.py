"""Recording works with the PyAV that each LeRobot asks for, which is older than ours."""

import numpy as np
import pytest

from taketwo.datasets.reader import Dataset
from taketwo.testing import PointEnvironment, SteeringController
from tests.datasets.recording import record_point
from tests.peers import VERSIONS, run_in_peer


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_recorded_in_lerobots_environment_is_what_is_recorded_in_ours(version, tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    told = run_in_peer(version, "tests/datasets/probes/record_point.py", theirs)
    assert told["fault"] is None
    controller = SteeringController(0.02)
    record_point(ours, environment=PointEnvironment(), controller=controller, episodes=3, max_episode_steps=20, seed=4)
    with Dataset.open(theirs) as recorded, Dataset.open(ours) as expected:
        assert [episode.length for episode in recorded.episodes] == [episode.length for episode in expected.episodes]
        for episode in expected.episodes:
            pairs = zip(recorded.frames(episode.index, "top"), expected.frames(episode.index, "top"), strict=True)
            for seen, wanted in pairs:
                assert np.abs(seen.astype(int) - wanted).mean() < 3
