"""LeRobot's drivers in a process of their own, asked from here."""

import json
import os
import selectors
import subprocess
import tempfile
from pathlib import Path

import pytest

from taketwo.testing.so101 import PLUGIN
from tests.peers import peer_python

PROBE = Path(__file__).parent / "driver_probe.py"
PATIENCE_S = 90.0


class LeRobotError(Exception):
    """What LeRobot raised.

    Attributes:
        kind: name of its class.
    """

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Drivers:
    """LeRobot of one version. Skips where it, or what it drives Feetech motors with, is not there."""

    def __init__(self, version):
        python = peer_python(version)
        if subprocess.run([python, "-c", "import scservo_sdk, serial, deepdiff"], capture_output=True).returncode:
            pytest.skip(f"LeRobot {version} is there without feetech-servo-sdk")
        self.version = version
        self._cache = tempfile.TemporaryDirectory()
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        own = {"PYTHONPATH": str(PLUGIN), "HF_HUB_OFFLINE": "1", "HF_HOME": self._cache.name, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [python, PROBE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=os.environ | own,
        )

    def ask(self, do, **arguments):
        """What came of it.

        Raises:
            LeRobotError: LeRobot raised something.
        """
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(PATIENCE_S) else ""
        if not line:
            self._said.seek(0)
            raise AssertionError(f"LeRobot {self.version}, {do}: no answer; it said:\n{self._said.read()[-4000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise LeRobotError(answer["error"], answer["message"])
        return answer["value"]

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.stdout.close()
        self._said.close()
        self._cache.cleanup()
