"""Real threads and real time: what hangs waits for an event of the test, or sleeps in a process of its own."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from taketwo.session.watchdog import Watchdog

SOON_S = 0.2
LONG_S = 30.0


class Told:
    """Keeps what a watchdog says, and lets a test wait for it."""

    def __init__(self):
        self.calls = []
        self.came = threading.Event()

    def __call__(self, what, seconds):
        self.calls.append((what, seconds, threading.current_thread().name))
        self.came.set()


@pytest.fixture
def told():
    return Told()


def test_what_takes_too_long_is_told_while_it_still_does(told):
    with Watchdog(SOON_S, told) as watchdog, watchdog.watching("the environment's step"):
        assert told.came.wait(LONG_S)
    ((what, seconds, thread),) = told.calls
    assert what == "the environment's step"
    assert seconds >= SOON_S
    assert thread == "watchdog"
    assert watchdog.fired


def test_it_is_told_once(told):
    with Watchdog(SOON_S, told) as watchdog:
        for _ in range(2):
            with watchdog.watching("a step"):
                assert told.came.wait(LONG_S)
                time.sleep(2 * SOON_S)  # would be told again by now
    assert len(told.calls) == 1


def test_many_steps_that_are_slow_but_allowed_are_not_told_though_together_they_take_longer(told):
    with Watchdog(1.0, told) as watchdog:
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            with watchdog.watching("a step"):
                time.sleep(0.05)
    assert told.calls == []
    assert not watchdog.fired


def test_what_is_not_watched_may_take_as_long_as_it_likes(told):
    with Watchdog(SOON_S, told) as watchdog:
        with watchdog.watching("a step"):
            pass
        time.sleep(3 * SOON_S)
    assert told.calls == []


def test_a_step_that_fails_is_not_watched_any_longer(told):
    with Watchdog(SOON_S, told) as watchdog:
        with pytest.raises(RuntimeError), watchdog.watching("a step"):
            raise RuntimeError("diverged")
        time.sleep(3 * SOON_S)
    assert told.calls == []


def test_nothing_is_told_once_it_is_closed(told):
    watchdog = Watchdog(SOON_S, told)
    with watchdog.watching("a step"):
        watchdog.close()
        watchdog.close()
        time.sleep(3 * SOON_S)
    assert told.calls == []
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("timeout_s", [None, 0, 0.0])
def test_without_a_time_out_there_is_no_thread(told, timeout_s):
    with Watchdog(timeout_s, told) as watchdog, watchdog.watching("a step"):
        assert "watchdog" not in {thread.name for thread in threading.enumerate()}
    assert told.calls == []


def test_of_nested_ones_all_are_named_and_the_outermost_counts(told):
    with Watchdog(0.6, told) as watchdog, watchdog.watching("the environment's step"):
        while not told.came.is_set():
            with watchdog.watching("camera 'top'"):
                told.came.wait(0.1)  # none of these takes too long by itself
    ((what, _, _),) = told.calls
    assert what.split(", ")[0] == "the environment's step"


def test_what_hangs_inside_is_named(told):
    with Watchdog(SOON_S, told) as watchdog, watchdog.watching("a step"), watchdog.watching("camera 'top'"):
        assert told.came.wait(LONG_S)
    assert told.calls[0][0] == "a step, camera 'top'"


def test_the_one_who_is_told_may_close_it():
    closed = threading.Event()

    def close(what, seconds):
        watchdog.close()
        closed.set()

    watchdog = Watchdog(SOON_S, close)
    with watchdog.watching("a step"):
        assert closed.wait(LONG_S)
    watchdog.close()


def test_what_fails_on_being_told_is_logged(caplog):
    def fail(what, seconds):
        raise OSError("no space left")

    with Watchdog(SOON_S, fail) as watchdog, watchdog.watching("a step"):
        watchdog._thread.join(LONG_S)
    assert "a step hangs, and what should follow failed" in caplog.text
    assert "no space left" in caplog.text


def test_a_process_that_was_stopped_is_not_hanging():
    """Stopped for longer than a step may take, in the middle of one, and sent on its way again."""
    code = """
import sys, time
from taketwo.session.watchdog import Watchdog

with Watchdog(2.0, lambda what, seconds: print("told", flush=True)) as watchdog:
    with watchdog.watching("a step"):
        print("stepping", flush=True)
        sys.stdin.readline()
print("well", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "stepping\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    process.send_signal(signal.SIGCONT)
    assert process.communicate("go on\n", timeout=LONG_S)[0] == "well\n"
    assert process.returncode == 0


HOLDS_THE_LOCK = """
import ctypes
from taketwo.session import watchdog as module

module.LAST_RESORT_S = 0.5

def step():
    ctypes.PyDLL(None).sleep(60)

with module.Watchdog(0.5, lambda what, seconds: print("told")) as watchdog:
    {before}
    with watchdog.watching("a step"):
        step()
"""


@pytest.mark.parametrize("before", ["pass", "import time; time.sleep(1.5)"], ids=["at once", "after a rest"])
def test_where_python_itself_stands_still_the_process_ends_and_shows_where(before):
    done = subprocess.run(
        [sys.executable, "-c", HOLDS_THE_LOCK.format(before=before)], capture_output=True, text=True, timeout=LONG_S
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in step" in done.stderr
    assert "told" not in done.stdout


def test_the_last_resort_is_called_off_with_the_watchdog():
    code = """
import time
from taketwo.session import watchdog as module

module.LAST_RESORT_S = 0.2
with module.Watchdog(0.2, print) as watchdog, watchdog.watching("a step"):
    pass
time.sleep(1.5)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG_S)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
