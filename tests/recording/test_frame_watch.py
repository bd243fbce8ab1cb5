import logging

import numpy as np
import pytest

from taketwo.recording.frame_watch import FrameWatch, is_flat
from taketwo.recording.video import VideoConfig
from taketwo.types import Outcome
from tests.recording.filming import numbered, play, session_of, spec_of

HZ = 50.0
BLACK = np.zeros((48, 64, 3), np.uint8)
STILL = numbered(1234)


def look(frames, picture, state=lambda frame: [0.0], subsample=1, first=0, watch=None):
    """Show frames to a watch; returns it."""
    watch = watch or FrameWatch("top", HZ, subsample)
    for frame in range(first, first + frames):
        if frame % subsample == 0:
            watch.look(frame, picture(frame), np.array(state(frame)))
    return watch


def moving(frame):
    return [frame / 50]


@pytest.mark.parametrize("subsample", [1, 3, 7, 60, 150])
@pytest.mark.parametrize(("kind", "picture"), [("blank", lambda _: BLACK), ("frozen", lambda _: STILL)])
def test_bad_pictures_are_said_aloud_within_two_seconds(caplog, kind, picture, subsample):
    watch = look(2, lambda frame: numbered(frame + 1), moving, subsample)
    frame = 2
    while not caplog.records:
        look(1, picture, moving, subsample, first=frame, watch=watch)
        frame += 1
        assert frame < 500
    (run,) = watch.runs
    assert (run.kind, run.camera, run.last_frame) == (kind, "top", None)
    # A second picture is needed to see that the first is frozen, however far apart they are.
    assert frame - run.first_frame <= max(2 * HZ, subsample + 1)
    assert "camera 'top'" in caplog.text
    assert "likely cause" in caplog.text


def test_a_flat_picture_of_one_colour_with_a_little_noise_is_blank():
    noise = np.random.default_rng(0).integers(0, 2, (480, 640, 3), dtype=np.uint8)
    assert is_flat(np.full((480, 640, 3), (10, 200, 60), np.uint8) + noise)


def test_a_small_thing_on_a_dark_ground_is_not_blank():
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[200:210, 300:310, 0] = 200
    assert not is_flat(picture)


def test_a_robot_that_stands_still_gives_no_warning(caplog):
    noise = np.random.default_rng(0)
    watch = look(1000, lambda _: STILL, lambda _: noise.normal(0, 0.001, 3))
    assert watch.runs == []
    assert not caplog.records


def test_a_camera_that_follows_gives_no_warning_when_the_robot_starts_after_a_pause():
    watch = look(500, lambda _: STILL, lambda _: [0.0])
    # A small picture shows only every tenth frame that the robot has moved.
    look(500, lambda frame: numbered(frame // 10), moving, first=500, watch=watch)
    assert watch.runs == []


def test_a_thing_that_moves_before_an_even_ground_is_not_frozen():
    def picture(frame):
        pixels = BLACK.copy()
        pixels[10:20, frame % 40 : frame % 40 + 10] = 255
        return pixels

    assert look(500, picture, moving).runs == []


def test_a_robot_without_state_is_never_frozen():
    assert look(500, lambda _: STILL, lambda _: []).runs == []


def test_a_sensor_that_gives_no_number_hides_no_movement():
    (run,) = look(500, lambda _: STILL, lambda frame: [np.nan, frame / 50]).runs
    assert run.kind == "frozen"


@pytest.mark.parametrize(
    ("kind", "picture", "state"),
    [("blank", lambda _: BLACK, lambda _: [0.0]), ("frozen", lambda _: STILL, moving)],
)
def test_a_session_that_is_too_short_to_be_sure_is_judged_as_a_whole(caplog, kind, picture, state):
    watch = look(80, picture, state)
    assert watch.runs == []
    watch.finish()
    assert [(run.kind, run.first_frame, run.last_frame) for run in watch.runs] == [(kind, 0, None)]
    assert "in all of the session's pictures" in caplog.text


@pytest.mark.parametrize(
    "watch",
    [
        look(80, lambda _: STILL),
        look(40, lambda _: STILL, moving),
        look(30, lambda frame: numbered(1) if frame == 0 else BLACK),
        look(80, lambda frame: numbered(min(frame, 1)), moving),
        look(1, lambda _: BLACK),
        look(0, lambda _: BLACK),
    ],
    ids=[
        "robot stands still",
        "robot has only begun to move",
        "blank but for the first",
        "frozen but for the first",
        "one picture",
        "none",
    ],
)
def test_the_end_of_a_session_accuses_no_camera_that_showed_something(watch):
    watch.finish()
    assert watch.runs == []


def test_what_was_told_while_it_ran_is_not_told_again_at_the_end(caplog):
    watch = look(500, lambda _: BLACK)
    watch.finish()
    assert len(watch.runs) == len(caplog.records) == 1


def test_short_blanks_are_no_warning():
    assert look(1000, lambda frame: BLACK if frame % 100 < 99 else STILL).runs == []


def test_a_run_of_bad_pictures_is_told_once_and_so_is_its_end(caplog):
    caplog.set_level(logging.WARNING)
    watch = look(50, numbered)
    look(400, lambda _: BLACK, first=50, watch=watch)
    look(50, numbered, first=450, watch=watch)
    look(200, lambda _: BLACK, first=500, watch=watch)
    assert [(run.kind, run.first_frame, run.last_frame) for run in watch.runs] == [
        ("blank", 50, 449),
        ("blank", 500, None),
    ]
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "camera 'top' shows one flat colour",
        "camera 'top' is well again from frame 450 on",
        "camera 'top' shows one flat colour",
    ]


def test_a_black_picture_is_called_blank_and_not_frozen_though_the_robot_moves():
    assert [run.kind for run in look(500, lambda _: BLACK, moving).runs] == ["blank"]


def test_the_video_reports_what_was_bad_with_frame_numbers(tmp_path, caplog):
    spec = spec_of()
    sink = VideoConfig(subsample=2).make(spec, tmp_path)
    picture = lambda number: numbered(number) if not 20 <= number < 180 else numbered(7)  # noqa: E731
    assert play(sink, session_of([(250, Outcome.SUCCESS)], spec, picture=picture)) is None
    (warning,) = (warning for warning in sink.report(251)["warnings"] if warning["kind"] != "chapters")
    assert (warning["kind"], warning["camera"]) == ("frozen", "top")
    assert (warning["first_frame"], warning["last_frame"]) == (20, 178)
    assert "frames 20 to 178" in warning["message"]
    assert "repeats the same picture while the robot moves" in caplog.text
