"""The Python that can load OpenVLA's checkpoints: with PyTorch, and a transformers of the right age.

It is `$TAKETWO_OPENVLA_PYTHON`, or what `scripts/openvla_environment.sh` has built. Where there is none, the tests that
need it are skipped.
"""

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

ENVIRONMENT_SCRIPT = Path(__file__).parents[3] / "scripts" / "openvla_environment.sh"


def run_in_openvla(script: str, *arguments: Any, timeout: float = 300) -> Any:
    """Run a script of this folder there; the JSON value of its last line, None where it prints nothing.

    Raises:
        AssertionError: it failed; the message has the end of what it said.
    """
    python = openvla_python()
    if python is None:
        pytest.skip("OpenVLA's environment is not there; scripts/openvla_environment.sh builds it")
    command = [str(part) for part in (python, SUPPORT / script, *arguments)]
    with tempfile.TemporaryDirectory() as cache_folder:
        own = {"HF_HUB_OFFLINE": "1", "HF_HOME": cache_folder, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        environment = os.environ | own
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{script} {' '.join(command[2:])}:\n{done.stderr[-4000:]}"
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else None


@cache
def openvla_python() -> str | None:
    named = os.environ.get("TAKETWO_OPENVLA_PYTHON")
    if named:
        return named  # one that will not do makes its tests fail, not skip
    found = subprocess.run([ENVIRONMENT_SCRIPT, "--existing"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
