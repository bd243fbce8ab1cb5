"""Real LeRobot, each version in an environment of its own, for tests that ask it what it makes of our files.

`scripts/peer_environment.sh VERSION` builds the environments; where one is not there, its tests are skipped.
"""

import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

VERSIONS = ("0.4.4", "0.6.1")
ENVIRONMENT_SCRIPT = Path(__file__).parent.parent / "scripts" / "peer_environment.sh"


def peer_python(version):
    """The Python that has LeRobot of this version; skips the test where it is not built."""
    python = _existing_python(version)
    if python is None:
        pytest.skip(f"LeRobot {version} is not there; scripts/peer_environment.sh {version} builds it")
    return python


def run_in_peer(version, script, *arguments, timeout=300):
    """Run a probe beside LeRobot and return the JSON object of its last line.

    Raises:
        AssertionError: it failed; the message has the end of what it said.
    """
    lines = peer_output(version, script, *arguments, timeout=timeout).strip().splitlines()
    assert lines, f"{Path(script).name} printed nothing"
    return json.loads(lines[-1])


def peer_output(version, *arguments, timeout=300):
    """What LeRobot's Python prints for these arguments, without network and with caches of its own.

    Raises:
        AssertionError: it failed; the message has the end of what it said.
    """
    command = [str(part) for part in (peer_python(version), *arguments)]
    with tempfile.TemporaryDirectory() as cache_folder:
        own = {"HF_HUB_OFFLINE": "1", "HF_HOME": cache_folder, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        environment = os.environ | own
        for name in ("PYTHONPATH", "HF_LEROBOT_HOME", "HF_DATASETS_CACHE"):
            environment.pop(name, None)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"LeRobot {version}, {' '.join(command[1:3])}:\n{done.stderr[-4000:]}"
    return done.stdout


@cache
def _existing_python(version):
    found = subprocess.run([ENVIRONMENT_SCRIPT, version, "--existing"], capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()) if found.returncode == 0 else None
