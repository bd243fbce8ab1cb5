"""The callback that tells of stored episodes."""

import pytest

from taketwo.recording.video import VideoConfig
from taketwo.types import Outcome
from tests.recording.filming import play, session_of, spec_of

EPISODES = [(10, Outcome.SUCCESS), (4, Outcome.FAILURE)]


@pytest.mark.parametrize("mode", ["session", "episode", "both"])
@pytest.mark.parametrize(("subsample", "frames"), [(1, [11, 5]), (3, [4, 2])])
def test_each_episode_is_told_with_its_frames_in_the_video(tmp_path, mode, subsample, frames):
    told = []
    sink = VideoConfig(mode=mode, subsample=subsample).make(spec_of(), tmp_path, lambda *what: told.append(what))
    assert play(sink, session_of(EPISODES)) is None
    assert told == list(enumerate(frames))
    assert sink.report(16)["frames"] == sum(frames)


def test_an_episodes_own_file_is_there_when_it_is_told(tmp_path):
    seen = []
    sink = VideoConfig(mode="episode").make(
        spec_of(), tmp_path, lambda *_: seen.append(len(list(tmp_path.glob("*/*_success.mp4"))))
    )
    assert play(sink, session_of([(3, Outcome.SUCCESS)] * 2)) is None
    assert seen == [1, 2]
