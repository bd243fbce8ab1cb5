"""Environments of the benchmarks' other sides, built on first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements"


def peer_python(name: str) -> Path:
    """The interpreter of a virtual environment of `requirements/NAME.txt`, built where it is missing or outdated.

    Raises:
        SystemExit: it cannot be built.
    """
    pins = REQUIREMENTS / f"{name}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "taketwo" / name
    python = home / "bin" / "python"
    stamp = home / "stamp"
    wanted = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"building the peer's environment in {home}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check"]
    if subprocess.run([*pip, "install", "--no-deps", "--requirement", str(pins)]).returncode:
        raise SystemExit("error: the peer's environment cannot be built; what pip said stands above")
    stamp.write_text(wanted)
    return python
