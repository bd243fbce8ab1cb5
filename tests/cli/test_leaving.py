"""Simulators that take the process with them on their way out, by real crashes of C code."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

av = pytest.importorskip("av")

SCRIPT = [sys.executable, "-c", "from taketwo.cli.main import script; script()"]

PLUGIN = '''
import atexit
import ctypes
import os
import threading
import time
from dataclasses import dataclass

from taketwo.testing import PointEnvironment

libc = ctypes.CDLL(None)
NOWHERE = ctypes.c_void_p(8)


def crash():
    """As in an extension module that holds Python's lock."""
    ctypes.string_at(0)


def crash_elsewhere():
    """In a thread, without the lock, while the main thread waits."""
    thread = threading.Thread(target=libc.strlen, args=(None,))
    thread.start()
    thread.join()


def hang():
    from taketwo.cli import leaving

    time.sleep(60)


AT_EXIT = {
    "python": lambda: atexit.register(crash),
    "destructor": lambda: libc.__cxa_atexit(NOWHERE, None, None),
    "": lambda: None,
}
IN_CLOSE = {
    "crash": crash,
    "elsewhere": crash_elsewhere,
    "abort": os.abort,
    "hang": hang,
    "": lambda: None,
}


@dataclass(frozen=True)
class CrashesConfig:
    """A point that crashes.

    Attributes:
        closing: how, when it is closed.
        leaving: how, when the process ends.
        faulty: whether it fails before.
    """

    closing: str = ""
    leaving: str = ""
    faulty: bool = False

    def make(self):
        AT_EXIT[self.leaving]()
        if self.closing == "hang":
            from taketwo.cli import leaving

            leaving.CLOSE_LIMIT_S = 0.3
        return Crashes(self)


class Crashes(PointEnvironment):
    def __init__(self, config):
        super().__init__()
        self._config = config

    def step(self, action):
        if self._config.faulty and self._steps == 3:
            raise RuntimeError("it diverged")
        return super().step(action)

    def close(self):
        IN_CLOSE[self._config.closing]()
'''


@pytest.fixture
def start(tmp_path):
    """Starts a session of a few steps in the plug-in's environment."""
    (tmp_path / "crashes_plugin.py").write_text(PLUGIN)
    info = tmp_path / "crashes_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crashes-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[taketwo.envs]\ncrashes = crashes_plugin:CrashesConfig\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))

    def start(*words):
        words = ["run", "--env.type=crashes", "--policy.type=random", "--session.max_episode_steps=20", *words]
        return subprocess.Popen(
            [*SCRIPT, *words, "--output_dir=out"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def ended(process):
    """Exit status and what was printed."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def check_whole(folder, frames):
    session = json.loads((folder / "out" / "session.json").read_text())
    assert session["complete"]
    with av.open(str(folder / session["video"]["path"])) as video:
        assert sum(1 for _ in video.decode(video=0)) == session["video"]["frames"] == frames
    assert not list(folder.glob("out/*.partial.mp4"))


@pytest.mark.parametrize(
    ("closing", "told"),
    [
        ("crash", "the environment crashed while being closed, by SIGSEGV"),
        ("elsewhere", "the environment crashed while being closed, by SIGSEGV"),
        ("abort", "the environment crashed while being closed, by SIGABRT"),
        ("hang", "closing the environment was given up after 0 s"),
    ],
)
def test_a_simulator_that_cannot_be_closed_is_told_and_changes_neither_recordings_nor_status(
    tmp_path, start, closing, told
):
    status, out, err = ended(start(f"--env.closing={closing}", "--session.num_episodes=2"))
    assert status == 0
    assert [line for line in err.splitlines() if line.startswith("warning:")] == [f"warning: {told}"]
    assert "session.json" in out
    check_whole(tmp_path, frames=2 * 21)


@pytest.mark.parametrize("leaving", ["python", "destructor"])
def test_so_does_one_that_crashes_when_the_process_ends(tmp_path, start, leaving):
    status, _, err = ended(start(f"--env.leaving={leaving}", "--session.num_episodes=2"))
    assert status == 0
    warned = ["warning: a library crashed when the process ended, by SIGSEGV"] if leaving == "python" else []
    assert [line for line in err.splitlines() if line.startswith("warning:")] == warned
    check_whole(tmp_path, frames=2 * 21)


def test_a_fault_stays_a_fault(tmp_path, start):
    status, _, err = ended(start("--env.closing=crash", "--env.faulty", "--session.num_episodes=2"))
    assert status == 1
    assert "error: the environment failed: RuntimeError: it diverged" in err
    assert "warning: the environment crashed while being closed, by SIGSEGV" in err
    check_whole(tmp_path, frames=4)


def test_an_error_before_the_session_is_told_although_nobody_comes_back_to_tell_it(start):
    status, _, err = ended(start("--env.closing=crash", "--video.cameras=front"))
    assert status == 2
    first, second = err.splitlines()
    assert first.startswith("error: --video.cameras: unknown camera 'front'")
    assert second == "warning: the environment crashed while being closed, by SIGSEGV"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("closing", ["crash", ""])
def test_a_signal_keeps_its_status(tmp_path, start, number, closing):
    process = start(f"--env.closing={closing}", "--session.num_episodes=1000", "--session.max_hz=50")
    until = time.monotonic() + 60
    while not list(tmp_path.glob("out/*.partial.mp4")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(number)
    status, _, err = ended(process)
    assert status == 128 + number
    assert ("crashed while being closed" in err) == bool(closing)
    session = json.loads((tmp_path / "out" / "session.json").read_text())
    assert session["complete"]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_who_caught_crashes_before_does_so_afterwards():
    done = python(
        "import ctypes, faulthandler\n"
        "from taketwo.cli.leaving import crash_survived\n"
        "faulthandler.enable()\n"
        "with crash_survived('survived', 7):\n    pass\n"
        "ctypes.string_at(0)\n"
    )
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "survived" not in done.stderr


def test_what_was_printed_before_a_crash_is_not_lost():
    done = python(
        "import ctypes\n"
        "from taketwo.cli.leaving import crash_survived\n"
        "print('printed')\n"
        "with crash_survived('survived', 7):\n    ctypes.string_at(0)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "printed\n", "survived, by SIGSEGV\n")


def test_functions_for_the_exit_run_and_threads_are_waited_for():
    done = python(
        "import atexit, threading, time\n"
        "from taketwo.cli.leaving import leave_with\n"
        "def command():\n"
        "    atexit.register(print, 'at exit')\n"
        "    threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start()\n"
        "    return 5\n"
        "leave_with(command)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "thread\nat exit\n", "")


def test_a_command_that_fails_unforeseen_shows_its_traceback():
    done = python(
        "from taketwo.cli.leaving import leave_with\ndef command():\n    raise KeyError('a bug')\nleave_with(command)\n"
    )
    assert done.returncode == 1
    assert "KeyError: 'a bug'" in done.stderr


def test_output_that_does_not_arrive_is_a_fault():
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*SCRIPT, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: what was printed cannot be written: No space left on device\n"
