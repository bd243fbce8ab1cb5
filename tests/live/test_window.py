"""The window, on a real X server, with real keys."""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageGrab

from taketwo.errors import ConfigError, MissingExtraError
from taketwo.live.window import open_window
from taketwo.session.commands import Commands
from taketwo.session.events import EpisodeEnd, EpisodeStart, Intervention, SessionEnd
from taketwo.testing import PointEnvironment, SteeringController, check_sink
from taketwo.types import EpisodeInfo, Outcome
from tests.peers import peer_python
from tests.support import Keep, run_session

pytest.importorskip("cv2")

from taketwo.live.window_picture import first_size, tiled
from taketwo.live.window_process import REPEAT_S, Keys

PATIENCE_S = 60

RED, GREEN = (220, 0, 0), (0, 200, 0)
"""PointEnvironment's point, and its target."""


def until(condition, what):
    """What `condition` gives, once it is true."""
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)
    return value


class Screen:
    """An X server without a screen."""

    def __init__(self):
        reading, writing = os.pipe()
        words = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x900x24", "-noreset", "-nolisten", "tcp"]
        self._process = subprocess.Popen(words, pass_fds=[writing], stderr=subprocess.DEVNULL)
        os.close(writing)
        with os.fdopen(reading) as told:
            self.name = f":{told.readline().strip()}"
        assert self.name != ":", "Xvfb did not start"

    def pixels(self):
        """(H, W, 3) uint8: what is to be seen."""
        return np.asarray(ImageGrab.grab(xdisplay=self.name).convert("RGB"))

    def window(self):
        """X's number of the window; None where there is none."""
        found = self._xdotool("search", "--onlyvisible", "--name", "Take Two").split()
        return int(found[0]) if found else None

    def press(self, key):
        """A key on the keyboard, with the window in focus."""
        self._xdotool("windowfocus", "--sync", str(until(self.window, "the window is there")))
        self._xdotool("key", key)

    def press_until(self, key, condition):
        """A key; it must have done its work in time."""
        self.press(key)
        until(condition, f"{key} does its work")

    def resize(self, width, height):
        self._xdotool("windowsize", str(self.window()), str(width), str(height))

    def click_close(self):
        """What a window manager tells the window when its close button is clicked (ICCCM 4.2.8.1)."""
        window = self.window()
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        display = ctypes.c_void_p(x11.XOpenDisplay(self.name.encode()))
        protocols, delete = (x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
        message = (ctypes.c_long * 24)()  # an XEvent is 24 longs; here type, serial, send_event, display, window, ...
        message[0], message[4], message[5], message[6], message[7] = 33, window, protocols, 32, delete
        assert x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
        x11.XCloseDisplay(display)

    def end(self):
        self._process.kill()
        self._process.wait()

    def _xdotool(self, *words):
        environment = os.environ | {"DISPLAY": self.name}
        return subprocess.run(
            ["xdotool", *words], env=environment, capture_output=True, text=True, timeout=30, check=False
        ).stdout


@pytest.fixture
def screen(monkeypatch):
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: xvfb, xdotool)")
    screen = Screen()
    monkeypatch.setenv("DISPLAY", screen.name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    yield screen
    screen.end()


@pytest.fixture
def window(screen):
    """Open windows on it, which are closed at the end."""
    opened = []

    def make(commands, environment=None, **options):
        opened.append(open_window((environment or PointEnvironment()).spec, commands, **options))
        return opened[-1]

    yield make
    for sink in opened:
        sink.close()


class Running:
    """A session at 20 steps a second on a thread, whose point never arrives."""

    def __init__(self, sink, commands, environment, **options):
        self.kept = Keep()
        self._options = {"max_hz": 20, "num_episodes": 50, "max_episode_steps": 10_000} | options
        self._parts = environment, SteeringController(speed=0.0005), [sink, self.kept]
        self._commands = commands
        self.result = None
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        environment, controller, sinks = self._parts
        self.result = run_session(environment, controller, sinks, commands=self._commands, **self._options)

    def __enter__(self):
        self._thread.start()
        until(lambda: self.kept.steps, "the session takes a step")
        return self

    def __exit__(self, *_):
        self._commands.stop("the test is over")
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    @property
    def outcomes(self):
        return [event.episode.outcome for event in self.kept.of(EpisodeEnd)]


def middle_of(pixels, colour):
    """Row and column of the middle of what has about this colour; None where nothing has."""
    near = (np.abs(pixels.astype(int) - colour) < 40).all(axis=2)
    return tuple(np.argwhere(near).mean(axis=0)) if near.sum() > 20 else None


def moved_from(before, screen):
    """The middle of the point once it is elsewhere."""
    middle = middle_of(screen.pixels(), RED)
    return middle if middle is not None and np.abs(np.subtract(middle, before)).max() > 4 else None


def test_the_window_shows_the_frames_of_a_running_session(screen, window):
    commands, environment = Commands(), PointEnvironment()
    sink = window(commands, environment)
    with Running(sink, commands, environment):
        first = until(lambda: middle_of(screen.pixels(), RED), "the point is to be seen")
        target = middle_of(screen.pixels(), GREEN)
        later = until(lambda: moved_from(first, screen), "the point moves")
    assert np.linalg.norm(np.subtract(later, target)) < np.linalg.norm(np.subtract(first, target))


def test_keys_steer_the_session_also_while_it_is_paused(screen, window):
    """A key that comes again soon is held down, so each is pressed once, and what takes it back is told otherwise."""
    commands, environment = Commands(), PointEnvironment()
    sink = window(commands, environment, num_episodes=50)
    with Running(sink, commands, environment) as session:
        commands.pause()
        screen.press_until("s", lambda: commands.marked is True)
        screen.press_until("f", lambda: commands.marked is False)
        screen.press_until("i", lambda: commands.retry_reason is not None)
        screen.press_until("space", lambda: not commands.paused)
        until(lambda: session.kept.of(Intervention), "the policy begins again")
        screen.press_until("Right", lambda: session.outcomes == [Outcome.FAILURE])
        screen.press_until("Left", lambda: session.outcomes == [Outcome.FAILURE, Outcome.DISCARDED])
        until(lambda: [event.episode.index for event in session.kept.of(EpisodeStart)] == [0, 1, 1], "it is redone")
        screen.press_until("Escape", lambda: session.result is not None)
        assert session.result.reason == "stopped by the operator"
    assert until(lambda: screen.window() is None, "the window is closed at the session's end")


def begin_episode(commands, sink):
    """As a session does."""
    commands.begin_take(0)
    sink.on(EpisodeStart(EpisodeInfo(0, 0)))


@pytest.mark.parametrize(("key", "verdict"), [("s", True), ("f", False)])
def test_a_verdict_is_taken_back_by_its_own_key(screen, window, key, verdict):
    commands = Commands()
    sink = window(commands)
    begin_episode(commands, sink)
    commands.mark(verdict)
    screen.press_until(key, lambda: commands.marked is None)


def test_the_keypads_arrows_do_the_same(screen, window):
    commands = Commands()
    sink = window(commands)
    begin_episode(commands, sink)
    screen.press_until("KP_Right", lambda: commands.end_reason is not None)
    screen.press_until("KP_Left", lambda: commands.discard_reason is not None)


def test_keys_of_an_episode_do_nothing_while_none_is_under_way(screen, window):
    commands = Commands()
    sink = window(commands)
    for key in ("Right", "Left", "s", "i"):
        screen.press(key)
    screen.press_until("space", lambda: commands.paused)  # by now the others have been taken, too
    assert commands.waits
    assert commands.marked is commands.retry_reason is None
    begin_episode(commands, sink)
    screen.press_until("f", lambda: commands.marked is False)


def test_a_key_that_is_held_down_counts_once():
    keys = Keys()
    held = [0.0, 0.6, *np.arange(0.62, 3, 0.03)]
    assert [keys.meant(0xFF53, moment) for moment in held] == ["end"] + [None] * (len(held) - 1)
    assert keys.meant(0xFF51, 3.0) == "redo"
    assert keys.meant(0xFF53, 3.0 + REPEAT_S) == "end"


@pytest.mark.parametrize(
    ("code", "key"),
    [(0x10FF53, "end"), (0x10FF51, "redo"), (ord("S"), "success"), (ord("f"), "failure"), (27, "stop"), (-1, None)],
)
def test_keys_are_known_with_num_lock_on_and_as_capitals(code, key):
    assert Keys().meant(code, 0.0) == key


def test_the_bar_tells_of_pausing_and_marking_though_no_event_comes(screen, window):
    commands = Commands()
    sink = window(commands)
    commands.begin_take(0)
    sink.on(EpisodeStart(EpisodeInfo(0, 0)))
    running = until(lambda: bar_of(screen), "the bar is drawn")
    commands.pause()
    paused = until(lambda: (now := bar_of(screen)) != running and now, "the bar changes")
    commands.mark(True)
    until(lambda: bar_of(screen) not in (running, paused), "the bar changes again")


def bar_of(screen):
    """The pixels of the bar, once something is written there."""
    width, height = first_size({"top": (48, 64)})
    bar = screen.pixels()[height - 50 : height, :width]
    return bar.tobytes() if bar.max() > 150 else None


def test_every_nth_frame_is_asked_for_and_none_before_the_last_was_taken(screen, window):
    commands, environment = Commands(), PointEnvironment()
    sink = window(commands, environment, every_n=5)
    with Running(sink, commands, environment, max_hz=200) as session:
        until(lambda: len(session.kept.steps) > 100, "many steps")
    rendered = [step.frame for step in session.kept.steps if step.observation.images["top"].rendered]
    assert rendered
    assert all(frame % 5 == 0 for frame in rendered)
    assert sink.cameras(0) == (), "nothing is rendered for a window that is closed"


def test_the_picture_fits_the_window_whatever_its_shape(screen, window):
    commands, environment = Commands(), PointEnvironment(48, 64)
    sink = window(commands, environment)
    with Running(sink, commands, environment):
        until(lambda: middle_of(screen.pixels(), RED) is not None, "the point is to be seen")
        screen.resize(1000, 300)

        def in_proportion():
            """Whether the environment's ground fills the height, and is as wide as it should be."""
            rows, columns = np.nonzero((screen.pixels()[:250, :1000] == 32).all(axis=2))
            return rows.size and np.ptp(rows) > 240 and np.ptp(columns) == pytest.approx(np.ptp(rows) * 64 / 48, abs=3)

        until(in_proportion, "it is drawn in its new shape")


def test_closing_the_window_ends_the_viewing_and_not_the_session(screen, window, caplog):
    caplog.set_level("INFO")
    commands, environment = Commands(), PointEnvironment()
    sink = window(commands, environment)
    with Running(sink, commands, environment) as session:
        until(lambda: middle_of(screen.pixels(), RED) is not None, "the point is to be seen")
        screen.click_close()
        until(lambda: "the window was closed; the session goes on" in caplog.text, "it is told")
        steps = len(session.kept.steps)
        until(lambda: len(session.kept.steps) > steps + 5, "the session goes on")
        assert sink.cameras(0) == ()
        assert session.result is None
    assert session.result.fault is None
    assert screen.window() is None


def test_a_display_that_goes_away_leaves_the_session_alone(screen, window, caplog):
    commands, environment = Commands(), PointEnvironment()
    sink = window(commands, environment)
    with Running(sink, commands, environment) as session:
        screen.end()
        until(lambda: "the window is gone (" in caplog.text, "it is told")
        steps = len(session.kept.steps)
        until(lambda: len(session.kept.steps) > steps + 5, "the session goes on")
    assert session.result.fault is None
    assert caplog.text.count("the session goes on without it") == 1


def test_a_window_keeps_the_contract_of_sinks(window):
    check_sink(lambda: window(Commands()))


def test_a_window_that_hangs_does_not_hold_up_the_sessions_end(screen, window):
    sink = window(Commands())
    process = sink._process._process
    os.kill(process.pid, 19)  # SIGSTOP
    began = time.monotonic()
    sink.on(SessionEnd("done"))
    assert time.monotonic() - began < 10
    assert process.poll() is not None


SESSION = """
import logging
from taketwo.live.window import open_window
from taketwo.session.commands import Commands
from taketwo.testing import PointEnvironment
from tests.support import run_session

logging.basicConfig(format="%(levelname)s %(message)s")
environment, commands = PointEnvironment(), Commands()
window = open_window(environment.spec, commands)
assert window is None
result = run_session(environment, commands=commands, num_episodes=1)
print(result.fault, len(result.episodes))
"""


@pytest.mark.parametrize(
    ("display", "why"),
    [
        ("", "this machine has no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"),
        (":6399", "the display ':6399' cannot be opened ("),
    ],
)
def test_without_a_display_there_is_one_warning_and_the_session_goes_on(display, why):
    done = session_alone(DISPLAY=display, WAYLAND_DISPLAY="")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "None 1\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"WARNING no window: {why}")
    assert line.endswith("; the session goes on without it")


def session_alone(**environment):
    """The session in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", SESSION],
        cwd=Path(__file__).parents[2],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_opencv_without_windows_is_told_with_what_to_do(screen, tmp_path):
    """LeRobot brings `opencv-python-headless` along, which takes the place of the other."""
    packages = peer_python("0.4.4").parent.parent / "lib/python3.11/site-packages"
    for name in ("cv2", "opencv_python_headless.libs"):
        (tmp_path / name).symlink_to(packages / name)
    done = session_alone(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "taketwo.errors.ConfigError: the installed OpenCV has no windows (opencv-python-headless): "
        "pip uninstall opencv-python-headless, then pip install --force-reinstall opencv-python"
    )


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"opencv-python is not installed: pip install 'taketwo\[window\]'"):
        open_window(PointEnvironment().spec, Commands())


def test_options_that_do_not_fit_are_refused():
    spec = PointEnvironment().spec
    with pytest.raises(ConfigError, match="every_n must be 1 or more, not 0"):
        open_window(spec, Commands(), every_n=0)
    with pytest.raises(ConfigError, match=r"unknown camera 'tip'\. Did you mean 'top'"):
        open_window(spec, Commands(), cameras=("tip",))


@pytest.mark.parametrize("size", [(1280, 750), (300, 900), (900, 200)])
@pytest.mark.parametrize(
    "pictures", [[(480, 640)], [(480, 640)] * 4, [(480, 640), (224, 224), (720, 1280)], [(9, 9)] * 7]
)
def test_tiles_lie_in_the_window_side_by_side_and_in_proportion(pictures, size):
    boxes = tiled(pictures, *size)
    taken = np.zeros((size[1], size[0]), int)
    for (left, top, width, height), (picture_height, picture_width) in zip(boxes, pictures, strict=True):
        assert left >= 0
        assert top >= 0
        taken[top : top + height, left : left + width] += 1
        assert taken[top : top + height, left : left + width].shape == (height, width)
        assert abs(width / height - picture_width / picture_height) < 2 * picture_width / picture_height / height
    assert taken.max() == 1


def test_importing_the_sink_loads_neither_opencv_nor_pillow():
    code = "import sys, taketwo.live.window; print([name for name in ('cv2', 'PIL') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
