"""What several tests of the rig use."""

import threading
import time


class Ticking:
    """Moves a rig on, faster than real time, while somebody waits for its frames."""

    def __init__(self, rig):
        self._rig, self._stop = rig, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.is_set():
            self._rig.advance(0.02)
            time.sleep(0.01)
