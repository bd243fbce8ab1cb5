import time

import numpy as np
import pytest

from taketwo.replay.playback import Playback, ramp_between
from taketwo.types import EpisodeInfo, Observation

INFO = EpisodeInfo(0, 0)


@pytest.mark.parametrize("distance", [0.0, 0.05, 0.1, 0.1001, 1.0, 3.7])
def test_no_step_of_a_ramp_is_longer_than_allowed(distance):
    start, end = np.array([0.0, 1.0, -2.0]), np.array([distance, 1.0 - distance / 3, -2.0])
    path = np.vstack([start, ramp_between(start, end, 0.1), end])
    assert np.abs(np.diff(path, axis=0)).max() <= 0.1 + 1e-12
    assert len(path) == 2 + max(0, int(np.ceil(distance / 0.1)) - 1)
    assert (path[:, 2] == -2.0).all()
    if distance:
        along = (path[:, 0] - start[0]) / distance
        assert np.allclose(along, (path[:, 1] - start[1]) / (-distance / 3))  # straight: all arrive together


def test_actions_are_sent_in_order_after_the_ramp():
    actions = np.array([[1.0], [2.0], [3.0]])
    playback = Playback(actions, ramp_step=0.25)
    playback.reset(INFO, Observation(np.array([0.0])))
    sent = []
    while not playback.done:
        sent.append(playback.decide(Observation(np.zeros(1))).sent[0])
    assert sent == [0.25, 0.5, 0.75, 1.0, 2.0, 3.0]
    assert playback.ramp_steps == 3


def test_actions_are_sent_as_they_are_without_a_ramp():
    actions = np.array([[1.0], [np.nan]])
    playback = Playback(actions)
    playback.reset(INFO, Observation(np.array([9.0])))
    decided = [playback.decide(Observation(np.zeros(1))) for _ in actions]
    assert np.array([decision.sent for decision in decided]).tobytes() == actions.tobytes()
    assert playback.done


def test_a_stopped_playback_sends_nothing_and_sleeps_no_longer():
    playback = Playback(np.zeros((3, 1)))
    playback.reset(INFO, Observation(np.zeros(1)))
    playback.decide(Observation(np.zeros(1)))
    playback.stop()
    began = time.monotonic()
    playback.sleep_until(playback.now() + 30)
    assert time.monotonic() - began < 10
    with pytest.raises(KeyboardInterrupt):
        playback.decide(Observation(np.zeros(1)))
    assert not playback.done
