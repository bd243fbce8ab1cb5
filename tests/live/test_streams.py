"""Pictures over HTTP: made once, for those who look, by whatever reads them."""

import shutil
import subprocess
import threading
from contextlib import ExitStack
from itertools import islice, pairwise

import numpy as np
import pytest

from taketwo.live import app, streams
from taketwo.testing import PointEnvironment
from tests.live.support import COLOURS, Still, Wide, live, pixels, showing, silent_viewer, until
from tests.support import Keep


class Follows(PointEnvironment):
    """Its pictures tell the step that they are of, in ever brighter grey."""

    def render(self, camera, height, width):
        self.pictures_made += 1
        return np.full((height, width, 3), self._steps % 250, np.uint8)


def test_a_stream_shows_what_the_camera_shows_and_goes_on():
    with showing(Follows()) as opened, opened.stream() as stream:
        means = [pixels(jpeg).mean() for _, jpeg in islice(stream, 8)]
        assert all(later > earlier for earlier, later in pairwise(means))


def test_a_picture_has_the_cameras_colours_size_and_place():
    with showing(PointEnvironment(96, 128), sinks=[Keep(cameras=("top",))]) as opened:
        status, headers, jpeg = opened.ask("GET", "/snapshot/top.jpg")
        shown = opened.session.keep.steps[0].observation.images["top"].pixels
        assert status == 200 and headers["Content-Type"] == "image/jpeg"
        assert pixels(jpeg).shape == shown.shape == (96, 128, 3)
        difference = np.abs(pixels(jpeg).astype(int) - shown)
        assert difference.mean() < 2 and np.median(difference) <= 1


@pytest.mark.parametrize("camera", COLOURS)
def test_each_camera_has_a_stream_and_a_snapshot(camera):
    with showing(Wide()) as opened, opened.stream(f"/stream/{camera}") as stream:
        headers, jpeg = next(stream)
        assert headers["content-type"] == "image/jpeg"
        assert np.abs(pixels(jpeg).mean((0, 1)) - COLOURS[camera]).max() < 4
        assert np.array_equal(pixels(opened.ask("GET", f"/snapshot/{camera}.jpg")[2]).shape, (48, 64, 3))


def test_the_first_camera_is_the_one_without_a_name():
    with showing(Wide()) as opened, opened.stream("/stream") as stream:
        assert np.abs(pixels(next(stream)[1]).mean((0, 1)) - COLOURS["top"]).max() < 4


@pytest.mark.parametrize("path", ["/stream/wrst/left", "/snapshot/tp.jpg", "/snapshot/.jpg", "/stream/"])
def test_an_unknown_camera_is_told_with_those_that_there_are(path):
    with showing(Wide()) as opened:
        status, _, body = opened.ask("GET", path)
        assert status == 404
        assert b"Known: angle, top, wrist/left." in body


def test_nothing_is_rendered_while_nobody_looks_and_only_what_is_looked_at_otherwise():
    with showing(Wide()) as opened:
        made = opened.session.environment.made_of
        until(lambda: len(opened.session.keep.steps) > 20)
        assert not made
        with opened.stream("/stream/angle") as stream:
            for _ in range(3):
                next(stream)
            assert set(made) == {"angle"}
        until(lambda: opened.state()["viewers"] == 0, "the viewer's leaving")
        seen = len(opened.session.keep.steps)
        until(lambda: len(opened.session.keep.steps) > seen + 2)
        after, encoded = made["angle"], opened.state()["frames_encoded"]
        until(lambda: len(opened.session.keep.steps) > seen + 30)
        assert made["angle"] == after
        assert opened.state()["frames_encoded"] == encoded
        assert encoded["angle"] > 0 and encoded["top"] == encoded["wrist/left"] == 0


def test_what_others_have_rendered_is_not_encoded_while_nobody_looks():
    with showing(sinks=[Keep(cameras=("top",))]) as opened:
        until(lambda: opened.session.environment.pictures_made > 20)
        assert opened.state()["frames_encoded"] == {"top": 0}


def test_each_picture_is_encoded_once_however_many_look():
    with showing() as opened, ExitStack() as stack:
        viewers = [stack.enter_context(opened.stream()) for _ in range(20)]
        for _ in range(10):
            for viewer in viewers:
                next(viewer)
        encoded = opened.state()["frames_encoded"]["top"]
        assert 10 <= encoded <= opened.session.environment.pictures_made
        assert opened.state()["viewers"] == 20


def test_no_more_pictures_are_made_than_the_page_is_to_show():
    with showing(config={"fps": 10.0}) as opened, opened.stream() as stream:
        next(stream)
        first = len(opened.session.keep.steps), opened.session.environment.pictures_made
        for _ in range(10):
            next(stream)
        steps = len(opened.session.keep.steps) - first[0]
        made = opened.session.environment.pictures_made - first[1]
        assert made <= steps / 5 + 3


def test_who_comes_during_a_pause_sees_where_the_session_stands():
    with showing() as opened:
        opened.command("pause")
        until(lambda: opened.state()["session"]["status"] == "paused")
        steps = until(lambda: len(opened.session.keep.steps) or None)
        with opened.stream() as stream:
            next(stream)
        made = opened.state()["frames_encoded"]["top"]
        with opened.stream() as stream:
            next(stream)
        assert opened.state()["frames_encoded"]["top"] == made == 1
        assert len(opened.session.keep.steps) <= steps + 1


def test_a_camera_that_is_first_looked_at_during_a_pause_is_shown():
    with showing(Wide()) as opened, opened.stream("/stream/top") as top:
        next(top)
        opened.session.stand_still()
        with opened.stream("/stream/angle") as angle:
            _, jpeg = next(angle)
        assert np.abs(pixels(jpeg).mean((0, 1)) - COLOURS["angle"]).max() < 5


def test_viewers_that_never_read_hold_up_neither_the_others_nor_the_session():
    with showing(PointEnvironment(480, 640)) as opened, ExitStack() as stack:
        for _ in range(10):
            stack.callback(silent_viewer(opened.port).close)
        with opened.stream() as stream:
            for _ in range(30):
                next(stream)
            steps = len(opened.session.keep.steps)
            until(lambda: len(opened.session.keep.steps) > steps + 20)
            assert opened.state()["viewers"] == 11


def test_while_a_session_is_paused_its_last_picture_is_sent_again(monkeypatch):
    monkeypatch.setattr(app, "REPEAT_S", 0.2)
    with showing() as opened, opened.stream() as stream:
        next(stream)
        opened.commands.pause()
        encoded = opened.state()["frames_encoded"]
        jpegs = [jpeg for _, jpeg in islice(stream, 6)]
        assert jpegs[-1] == jpegs[-2]
        assert opened.state()["frames_encoded"]["top"] <= encoded["top"] + 2
        opened.commands.resume()


class Thinks(Still):
    """Takes its time over a step where it is told to."""

    def __init__(self):
        super().__init__()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def decide(self, observation):
        assert self.may_answer.wait(20)
        return super().decide(observation)


def test_a_snapshot_is_refused_in_a_line_while_nothing_moves_that_it_could_show(monkeypatch):
    monkeypatch.setattr(streams, "PATIENCE_S", 0.3)
    policy = Thinks()
    with showing(controller=policy) as opened:
        policy.may_answer.clear()
        status, _, body = opened.ask("GET", "/snapshot/top.jpg")
        assert status == 503 and b"nothing moves now" in body
        policy.may_answer.set()
        assert opened.ask("GET", "/snapshot/top.jpg")[0] == 200


def test_a_snapshot_shows_nothing_of_long_ago(monkeypatch):
    monkeypatch.setattr(streams, "PATIENCE_S", 0.3)
    policy = Thinks()
    with showing(controller=policy) as opened:
        assert opened.ask("GET", "/snapshot/top.jpg")[0] == 200
        seen = len(opened.session.keep.steps)
        until(lambda: len(opened.session.keep.steps) > seen + 60)
        policy.may_answer.clear()
        assert opened.ask("GET", "/snapshot/top.jpg")[0] == 503
        policy.may_answer.set()


def test_a_snapshot_of_a_paused_session_shows_where_it_stands():
    with showing(Follows()) as opened:
        opened.session.stand_still()
        status, _, body = opened.ask("GET", "/snapshot/top.jpg")
        assert status == 200
        assert pixels(body).mean() == pytest.approx((opened.session.keep.steps[-1].index + 1) % 250, abs=2)


def test_before_the_session_there_is_no_camera_yet(monkeypatch):
    monkeypatch.setattr(streams, "PATIENCE_S", 0.2)
    with live() as opened:
        for path in ("/stream", "/stream/top", "/snapshot/top.jpg"):
            status, _, body = opened.ask("GET", path)
            assert status == 503 and body == b"the session has not begun\n"


def test_a_question_about_a_stream_gets_no_pictures():
    with showing() as opened:
        status, headers, body = opened.ask("HEAD", "/stream")
        assert (status, body) == (200, b"")
        assert headers["Content-Type"].startswith("multipart/x-mixed-replace")
        assert opened.session.environment.pictures_made == 0


def test_ffmpeg_reads_a_stream(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    with showing(PointEnvironment(96, 128)) as opened:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-f", "mpjpeg", "-i", f"{opened.page.url}stream"]
        command += ["-frames:v", "10", str(tmp_path / "%d.png")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.iterdir())) == 10


def test_opencv_reads_a_stream():
    cv2 = pytest.importorskip("cv2")
    with showing(Wide()) as opened:
        capture = cv2.VideoCapture(f"{opened.page.url}stream/angle")
        try:
            for _ in range(5):
                read, frame = capture.read()
                assert read and frame.shape == (48, 64, 3)
            assert np.abs(frame[:, :, ::-1].mean((0, 1)) - COLOURS["angle"]).max() < 4
        finally:
            capture.release()
