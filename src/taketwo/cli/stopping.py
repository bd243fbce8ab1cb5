"""Ctrl-C and other signals: as a request to stop, and as the end of a command."""

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


@contextmanager
def ending_in_order() -> Iterator[list[signal.Signals]]:
    """SIGTERM and SIGHUP end the body as Ctrl-C does, by KeyboardInterrupt, so that it cleans up.

    One that is ignored, as SIGHUP is under nohup, stays so.

    Yields:
        Those of the two that came.
    """
    came: list[signal.Signals] = []

    def handle(number: int, _frame: object) -> None:
        came.append(signal.Signals(number))
        raise KeyboardInterrupt

    heeded = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
