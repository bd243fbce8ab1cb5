"""What else in the process could make the loop late, and how it is kept from that."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator

KEPT_UP = 0.95
"""Part of the rate asked for below which a session has not kept up."""

SINK_NICENESS = 10
"""How much sinks give way to the loop, from 0 to 19 (nice(1))."""


def give_way() -> None:
    """Let the loop's thread go before this one where cores are short; threads started by this one follow suit.

    Linux has a priority per thread (setpriority(2), "C library/kernel differences"); elsewhere nothing changes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it, and then the loop is a little less punctual
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), SINK_NICENESS)


@contextlib.contextmanager
def short_collections() -> Iterator[None]:
    """Keep Python's garbage collector from looking through all that was there before.

    With a simulator loaded that takes some 10 ms each time, half a control period at 50 Hz. What comes into being
    meanwhile is collected as always.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
