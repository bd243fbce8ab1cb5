"""Video and session file in whole sessions."""

import json

import av
import pytest

from taketwo.errors import RecordingError
from taketwo.recording.remux import chapters_supported
from taketwo.recording.session_file import SessionFile
from taketwo.recording.video import VideoConfig
from taketwo.testing import PointEnvironment
from taketwo.types import Outcome
from tests.recording.filming import pictures_in
from tests.support import run_session


def recorded(folder, environment=None, video=None, **options):
    environment = environment or PointEnvironment()
    video = video or VideoConfig()
    film, file = video.make(environment.spec, folder), SessionFile(folder, video.subsample)
    result = run_session(environment, sinks=[film, file], **options)
    report = film.report(sum(episode.frames for episode in result.episodes))
    file.complete(result, report)
    return result, report, json.loads(file.path.read_text())


@pytest.mark.parametrize("subsample", [1, 3])
def test_a_session_is_filmed_and_told(tmp_path, subsample):
    result, report, told = recorded(tmp_path, video=VideoConfig(subsample=subsample), seed=5, num_episodes=3)
    assert result.fault is None
    frames = sum(episode.steps + 1 for episode in result.episodes)
    assert report["path"] == str(tmp_path / "point_seed5_3eps.mp4")
    assert len(pictures_in(report["path"])) == report["frames"] == -(-frames // subsample)
    assert told["video"] == report
    assert told["success_rate"] == 1.0
    if chapters_supported():
        with av.open(report["path"]) as container:
            starts = [chapter["start"] * chapter["time_base"] for chapter in container.chapters()]
        period = subsample / 50
        assert [float(start) for start in starts] == pytest.approx(
            [episode["first_frame"] * period for episode in told["episodes"]], abs=1e-3
        )


@pytest.mark.parametrize("mode", ["session", "both"])
def test_each_kept_frame_is_rendered_once_and_no_other(tmp_path, mode):
    environment = PointEnvironment()
    _, report, _ = recorded(tmp_path, environment, VideoConfig(mode=mode, subsample=2), num_episodes=3)
    assert environment.pictures_made == report["frames"]


def test_terminal_pictures_show_the_solved_task_and_not_the_next_episode(tmp_path):
    result, report, _ = recorded(tmp_path, PointEnvironment(96, 128), seed=1, num_episodes=2)
    pictures = pictures_in(report["path"])
    last = pictures[result.episodes[0].steps].astype(int)
    green = (last[..., 1] - last[..., 0] > 90).sum()
    assert result.episodes[0].outcome is Outcome.SUCCESS
    assert green < 12  # the red point covers the green target


def test_total_seconds_are_the_videos_duration(tmp_path):
    _, report, _ = recorded(tmp_path, total_seconds=4.0)
    assert report["duration_s"] == pytest.approx(4.0)


def test_a_session_ends_when_its_video_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("")
    environment = PointEnvironment()
    film = VideoConfig().make(environment.spec, tmp_path / "out")
    result = run_session(environment, sinks=[film], num_episodes=50)
    assert isinstance(result.fault, RecordingError)
    assert len(result.episodes) < 50


def test_an_episode_that_ends_by_a_fault_is_filmed_up_to_it(tmp_path):
    class Breaks(PointEnvironment):
        def step(self, action):
            if self._steps == 3:
                raise RuntimeError("the simulator diverged")
            return super().step(action)

    result, report, told = recorded(tmp_path, Breaks(), VideoConfig(mode="both"), num_episodes=1)
    assert result.fault is not None
    assert report["dropped"] == 0
    assert len(pictures_in(report["path"])) == result.episodes[0].frames
    assert [path.rsplit("_", 1)[1] for path in report["files"]] == ["fault.mp4", "1eps.mp4"]
    assert told["counts"] == {"fault": 1}
