"""The processes that a simulator runs in, where this one ends without further ado."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress

JOIN_S = 1.0
"""How long to wait for each: one that sits in a driver's call may not go at once."""


def kill_children() -> None:
    """End the processes that `multiprocessing` began here; for right before `os._exit`, which leaves them behind."""
    children = multiprocessing.active_children()
    for child in children:
        with suppress(OSError):
            child.kill()
    for child in children:
        with suppress(OSError):
            child.join(JOIN_S)
