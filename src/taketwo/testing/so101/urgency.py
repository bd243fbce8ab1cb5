"""Precedence for threads that stand for hardware, which does not slow down when this machine is busy."""

from __future__ import annotations

import contextlib
import os
import threading

NICENESS = -10


def be_urgent() -> None:
    """Give the calling thread precedence over others, where the user is allowed to (Linux: CAP_SYS_NICE)."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
