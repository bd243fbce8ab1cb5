"""The end of a process in which a simulator may crash or hang on its way out: with the status that the command came to.

Simulators and drivers are known for it, when they are closed or when the process ends. All is saved by then, and it
says nothing about the session. So a crash is told in a line, and the process ends with the status that it would have
had. It ends before the destructors of C libraries run, and after the functions that Python calls at exit.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn

from taketwo.errors import ConfigError, one_line
from taketwo.session.processes import kill_children
from taketwo.session.watchdog import Watchdog

FAULT = 1
BAD_USAGE = 2
INTERRUPTED = 130

CLOSE_LIMIT_S = 60.0
"""How long closing something may take; some robots go to a safe pose first."""

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
"""What C code dies of."""

SIGACTION_BYTES = 1024
"""No C library's `struct sigaction` takes more."""

STDERR = 2


class Leaving:
    """How a session's process ends where what is closed takes it with it.

    Attributes:
        status: the exit status, once the session has come to one.
    """

    def __init__(self) -> None:
        self.status = FAULT

    def closing(self, what: str, close: Callable[[], None]) -> Callable[..., None]:
        """For `ExitStack.push`: closes a part, and only tells where that fails, crashes or hangs.

        Where an error is on its way up and closing ends the process, that error is told first, with its own status.

        Args:
            what: it is called so in messages, such as `the environment`.
        """
        from taketwo.cli.making import closing  # with more behind it than every command needs

        def leave(_kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
            status = self.status if error is None else status_of(error)
            before = "" if error is None else f"error: {said_of(error)}\n"

            def give_up(_what: str, seconds: float) -> None:
                kill_children()
                _die(f"{before}warning: closing {what} was given up after {seconds:.0f} s", status)

            with (
                crash_survived(f"{before}warning: {what} crashed while being closed", status),
                Watchdog(CLOSE_LIMIT_S, give_up) as watchdog,
                watchdog.watching(what),
            ):
                closing(what, close)

        return leave


def status_of(error: BaseException) -> int:
    """The exit status of a command that ends by an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return BAD_USAGE if isinstance(error, ConfigError) else FAULT


def said_of(error: BaseException) -> str:
    """What is said of it, in a line."""
    return "interrupted" if isinstance(error, KeyboardInterrupt) else one_line(error)


@contextmanager
def crash_survived(message: str, status: int) -> Iterator[None]:
    """Inside, a crash of C code prints a message, with the signal's name, and ends the process with a status.

    A crash for want of stack, or a second one, is as fatal as ever.
    """
    sys.stdout.flush()
    before = _catch_crashes(message, status)
    try:
        yield
    finally:
        libc = ctypes.CDLL(None)
        for number, action in before.items():
            libc.sigaction(number, action, None)


def leave_with(command: Callable[[], int]) -> NoReturn:
    """Run a command and end the process with its status, whatever libraries do on their way out."""
    ended: list[int] = []
    atexit.register(_end_at_last, ended)  # registered before theirs, so called after them
    ended.append(command())
    _catch_crashes("warning: a library crashed when the process ended", ended[0])
    sys.exit(ended[0])


def _end_at_last(ended: list[int]) -> None:
    """Leave before C's destructors; where the command came to no status, Python ends as it always does."""
    if not ended:
        return
    (status,) = ended
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone
        os._exit(status or FAULT)
    except OSError as error:
        _die(f"error: what was printed cannot be written: {error.strerror}", status or FAULT)
    os._exit(status)


def _die(message: str, status: int) -> NoReturn:
    os.write(STDERR, f"{message}\n".encode(errors="replace"))
    os._exit(status)


_handlers: list[Any] = []
"""C holds no references."""


def _catch_crashes(message: str, status: int) -> dict[signal.Signals, Any]:
    """Install the handler; returns what was there before, as `sigaction` tells it.

    It is a handler of C: those of the module `signal` run when the code that crashed has returned, which it never does.
    """

    def crashed(number: int) -> None:
        _die(f"{message}, by {signal.Signals(number).name}", status)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(crashed)
    _handlers.append(handler)
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    before: dict[signal.Signals, Any] = {}
    for number in CRASHES:
        before[number] = ctypes.create_string_buffer(SIGACTION_BYTES)
        libc.sigaction(number, None, before[number])
        libc.signal(number, handler)
    return before
