"""Sessions in a real simulator whose renderer is made to draw nothing, or nothing new: what a user gets to see of it.

What is taken away is MuJoCo's own call that draws a scene. All around it stays: GL, reading of pixels, video, session.
"""

import json
import logging

import numpy as np
import pytest

from taketwo.envs.push import PushConfig
from taketwo.gl import choose_backend
from taketwo.recording.session_file import SessionFile
from taketwo.recording.video import VideoConfig
from taketwo.session.commands import Commands
from taketwo.types import Decision
from tests.cli.support import taketwo
from tests.recording.filming import pictures_in
from tests.support import run_session

choose_backend()  # MuJoCo fixes it when it is imported
mujoco = pytest.importorskip("mujoco")

SMALL = {"width": 64, "height": 48, "quality": "preview"}


class Drives:
    """Sends all robots forward, or nowhere."""

    stalls = 0

    def __init__(self, speed):
        self._action = np.array([speed, 0.0, 0.0] * 2)

    def reset(self, episode, observation):
        pass

    def decide(self, observation):
        return Decision(self._action, self._action)


@pytest.fixture
def draws(monkeypatch):
    """Lets the renderer draw this many pictures, and no more."""
    draw = mujoco.mjr_render

    def limit(pictures):
        left = iter(range(pictures))
        monkeypatch.setattr(mujoco, "mjr_render", lambda *words: draw(*words) if next(left, None) is not None else None)

    return limit


def record(folder, speed=0.3, sinks=(), **options):
    """A session with video; returns its result, its report on the video, and session.json."""
    environment = PushConfig(**SMALL).make()
    film, file = VideoConfig().make(environment.spec, folder), SessionFile(folder)
    options = {"num_episodes": 1, "max_episode_steps": 150} | options
    try:
        result = run_session(environment, Drives(speed), [film, file, *sinks], **options)
    finally:
        environment.close()
    file.complete(result, film.report(sum(episode.frames for episode in result.episodes)))
    return result, json.loads(file.path.read_text())


def warnings_in(told):
    return [warning for warning in told["video"]["warnings"] if warning["kind"] != "chapters"]


def test_a_renderer_that_goes_on_showing_the_same_is_told(tmp_path, draws, caplog):
    draws(40)
    result, told = record(tmp_path)
    assert result.fault is None
    (warning,) = warnings_in(told)
    assert (warning["kind"], warning["camera"]) == ("frozen", "overview")
    assert (warning["first_frame"], warning["last_frame"]) == (39, None)
    means = {float(picture.mean()) for picture in pictures_in(told["video"]["path"])[60:]}
    assert max(means) - min(means) < 0.5  # as in videos of a simulator without a display: the mean does not change
    assert "camera 'overview' repeats the same picture while the robot moves" in caplog.text
    assert "since frame 39" in caplog.text


def test_a_renderer_that_draws_nothing_is_told(tmp_path, draws, caplog):
    draws(0)
    _, told = record(tmp_path, speed=0.0)
    (warning,) = warnings_in(told)
    assert (warning["kind"], warning["first_frame"], warning["last_frame"]) == ("blank", 0, None)
    assert "likely cause: no GL context on this machine" in caplog.text


def test_it_is_told_while_the_session_still_runs(tmp_path, draws):
    draws(40)
    commands = Commands()

    class StopsAtWarning(logging.Handler):
        def emit(self, record):
            commands.stop(record.getMessage())

    log = logging.getLogger("taketwo.recording.frame_watch")
    log.addHandler(handler := StopsAtWarning())
    try:
        result, _ = record(tmp_path, commands=commands, num_episodes=100)
    finally:
        log.removeHandler(handler)
    assert "repeats the same picture" in result.reason
    assert len(result.episodes) < 100


def test_a_renderer_that_works_gives_no_warning(tmp_path, caplog):
    _, told = record(tmp_path)
    assert warnings_in(told) == []
    assert "camera" not in caplog.text


def test_robots_that_stand_still_before_a_renderer_that_works_give_no_warning(tmp_path, caplog):
    _, told = record(tmp_path, speed=0.0)
    assert warnings_in(told) == []
    pictures = pictures_in(told["video"]["path"])
    assert np.ptp([picture.mean() for picture in pictures[10:]]) < 0.5
    assert "camera" not in caplog.text


FROZEN_PLUGIN = '''
from dataclasses import dataclass

from taketwo.testing import PointEnvironment


@dataclass(frozen=True)
class FrozenConfig:
    """A point whose camera shows its first picture for ever."""

    def make(self):
        return Frozen()


class Frozen(PointEnvironment):
    first = None

    def render(self, camera, height, width):
        self.first = self.first if self.first is not None else super().render(camera, height, width)
        return self.first
'''


def test_the_command_line_tells_it_at_once_and_at_the_end(tmp_path):
    (tmp_path / "frozen_plugin.py").write_text(FROZEN_PLUGIN)
    info = tmp_path / "frozen_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: frozen-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taketwo.envs]\nfrozen = frozen_plugin:FrozenConfig\n")
    done = taketwo(
        "run", "--env.type=frozen", "--policy.type=random", "--session.num_episodes=4", "--output_dir=out",
        cwd=tmp_path, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = "warning: camera 'top' repeats the same picture while the robot moves"
    lines = done.stderr.splitlines()
    (told_at,) = (number for number, line in enumerate(lines) if line.startswith(said))
    (ended_at,) = (number for number, line in enumerate(lines) if line.startswith("Stored episode 4/4"))
    assert told_at < ended_at
    assert "repeats the same picture" in done.stdout
    (warning,) = warnings_in(json.loads((tmp_path / "out" / "session.json").read_text()))
    assert (warning["kind"], warning["first_frame"]) == ("frozen", 0)
