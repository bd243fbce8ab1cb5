"""What is different where Gymnasium's environments run in processes of their own: one that fails is gone."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

from taketwo.errors import EnvironmentFault, one_line

CLOSE_TIMEOUT_S = 5.0
"""How long processes may take over what they are doing before they are ended."""


PRINTED_BY = r"gymnasium\.vector\.async_vector_env"
"""The module that prints, as warnings, the traceback of a process that fails."""

_hushed: list[Any] = []
"""The filter, as often as it is wanted."""


def hush() -> None:
    """Leave out the tracebacks of processes that fail, until as many vector environments are closed by `close`."""
    warnings.filterwarnings("ignore", category=UserWarning, module=PRINTED_BY)
    _hushed.append(warnings.filters[0])


def unhush() -> None:
    """Undo a `hush`, and only that: `warnings.catch_warnings` would forget what else has been warned of by then."""
    if not _hushed:
        return
    filters = cast(list[Any], warnings.filters)
    entry = _hushed.pop()
    if not _hushed and entry in filters:
        filters.remove(entry)


class Calls:
    """Put around calls of a vector environment; tells in a line when one of its processes has failed.

    All of its environments are lost then, and every later call raises the same.
    """

    def __init__(self, env: Any, name: str) -> None:
        """Nothing has failed.

        Args:
            env: a `gymnasium.vector.VectorEnv`; what one raises that runs in this process passes through.
        """
        self._in_processes = in_processes(env)
        self._name = name
        self._failed: str | None = None

    def __enter__(self) -> None:
        if self._failed is not None:
            raise EnvironmentFault(self._failed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and self._in_processes:
            said = "its process has ended" if isinstance(error, EOFError | OSError) else one_line(error)
            self._failed = f"an environment of {self._name} has failed: {type(error).__name__}: {said}"
            raise EnvironmentFault(self._failed) from error


def without_interrupts() -> Callable[[Any], Any]:
    """A wrapper for environments in processes, which leaves Ctrl-C to the process that asks for it.

    A terminal sends it to all of them, and a session that is to stop needs its environments to the end.
    """
    asker = os.getpid()

    def wrapped(env: Any) -> Any:
        if os.getpid() != asker:  # Gymnasium makes one here, too, to see its spaces
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return env

    return wrapped


def in_processes(env: Any) -> bool:
    """Whether a vector environment is Gymnasium's `AsyncVectorEnv`, under whatever wrappers."""
    from gymnasium.vector import AsyncVectorEnv

    return isinstance(env.unwrapped, AsyncVectorEnv)


def close(env: Any) -> None:
    """Close a vector environment.

    Gymnasium would wait for ever for a process that has died, or hangs, while it was asked for something.
    """
    if not in_processes(env):
        env.close()
        return
    processes = env.unwrapped.processes
    try:
        env.close(timeout=CLOSE_TIMEOUT_S, terminate=not all(process.is_alive() for process in processes))
    except (EOFError, OSError):
        for process in processes:
            process.kill()
            process.join()
        env.unwrapped.closed = True
    finally:
        unhush()
