"""A worker in a process of its own, begun by `taketwo.fleet.local`: `python -m taketwo.fleet.process FD PARENT`.

It gets an `Order` and then trials through the socket FD, and answers by `Message`s. It does not outlive its parent.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection

from taketwo.errors import TakeTwoError
from taketwo.fleet.executor import Refusal
from taketwo.fleet.messages import Ended, Hangs, Message, Order, Refuses, Stepped
from taketwo.fleet.trials import Trial
from taketwo.fleet.worker import Worker

PR_SET_PDEATHSIG = 1
"""prctl(2): have a signal sent when the parent dies."""

ORPHANED = 1
"""Exit status."""


class Process:
    """The worker's end of the socket."""

    def __init__(self, connection: Connection) -> None:
        """Wait for the order."""
        self._connection = connection
        self._sending = threading.Lock()
        self._trials: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._busy = False
        order: Order = connection.recv()
        self._worker = Worker(order.config, order.name, stepped=self._stepped, on_hang=self._hang)

    def run(self) -> None:
        """Run trials until there is nobody who wants any."""
        threading.Thread(target=self._listen, name="trials", daemon=True).start()
        while (trial := self._trials.get()) is not None:
            self._busy = True
            try:
                message: Message = Ended(self._worker.run(trial))
            except TakeTwoError as error:
                message = Refuses(Refusal.of(error))
            self._busy = False  # what is done is on the disk, and the parent may go when it has heard of it
            self._send(message)
        self._worker.close()

    def _listen(self) -> None:
        """Take what the parent sends. Where it has gone, a trial under way is given up: nobody waits for it."""
        try:
            while True:
                self._trials.put(self._connection.recv())
        except (EOFError, OSError):
            if self._busy:
                os._exit(ORPHANED)
            self._trials.put(None)

    def _stepped(self, steps: int) -> None:
        self._send(Stepped(steps))

    def _hang(self, reason: str) -> None:
        self._send(Hangs(reason))
        os._exit(ORPHANED)

    def _send(self, message: Message) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:  # the parent has gone; what is done is on the disk
            os._exit(ORPHANED)


def main() -> None:
    """Run the process to its end, without what libraries do on their way out: simulators crash there."""
    descriptor, parent = map(int, sys.argv[1:])
    _die_with(parent)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    Process(Connection(descriptor)).run()
    os._exit(0)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that was set
        os._exit(ORPHANED)


if __name__ == "__main__":
    main()
