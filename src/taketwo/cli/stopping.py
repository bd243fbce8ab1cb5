"""Ctrl-C and SIGTERM as a request to stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

SENDERS = {signal.SIGINT: "the operator (Ctrl-C)", signal.SIGTERM: "SIGTERM"}


@contextmanager
def stopping(stop: Callable[[str], None], message: str) -> Iterator[list[signal.Signals]]:
    """Call `stop` on the first signal, with who sent it, and end at once on a second one.

    Args:
        message: what is told when the first one comes.

    Yields:
        The signals that came.
    """
    came: list[signal.Signals] = []

    def handle(number: int, _frame: object) -> None:
        came.append(signal.Signals(number))
        if len(came) > 1:
            raise KeyboardInterrupt
        stop(f"stopped by {SENDERS[came[0]]}")
        log.warning("%s; a second signal stops at once", message)

    before = {number: signal.signal(number, handle) for number in SENDERS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
