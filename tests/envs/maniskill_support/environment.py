"""The Python that has ManiSkill; where `scripts/maniskill_environment.sh` has built none, tests are skipped."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parent
SCRIPTS = Path(__file__).parents[3] / "scripts"

NO_DEVICE = "/nonexistent.json"
"""A Vulkan loader that is told this finds no device."""


def run_in_maniskill(*arguments: Any, devices: str | None = None, timeout: float = 300) -> Any:
    """Run the probe there; the JSON value of its last line.

    Args:
        devices: the description of Vulkan's devices; the system's own where not given.

    Raises:
        AssertionError: it failed; the message has the end of what it said.
    """
    python = printed_by("maniskill_environment.sh")
    if python is None:
        pytest.skip("ManiSkill's environment is not there; scripts/maniskill_environment.sh builds it")
    command = [python, str(SUPPORT / "probe.py"), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        own = {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "MS_ASSET_DIR": folder}
        environment = os.environ | own | ({} if devices is None else {"VK_ICD_FILENAMES": devices})
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command[2:])}:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.strip().splitlines()[-1])


@cache
def printed_by(script: str) -> str | None:
    """What a script of ours says is there already."""
    found = subprocess.run([SCRIPTS / script, "--existing"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
