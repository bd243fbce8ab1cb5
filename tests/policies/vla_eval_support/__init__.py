"""The real vla-eval in a process of its own: one of its model servers, or its benchmark side.

It is used from this interpreter where it is installed here (`pip install vla-eval`), else from the one that
TAKETWO_VLA_EVAL_PYTHON names; tests that need it are skipped where there is neither.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support_server import free_port

HERE = Path(__file__).parent

PYTHON = sys.executable if importlib.util.find_spec("vla_eval") else os.environ.get("TAKETWO_VLA_EVAL_PYTHON")

needs_vla_eval = pytest.mark.skipif(
    PYTHON is None, reason="vla-eval is not installed, and TAKETWO_VLA_EVAL_PYTHON names no Python that has it"
)


class ModelServerProcess:
    """A real `PredictModelServer` behind its real `serve`, which notes down all that it is told."""

    def __init__(self, folder: Path, port: int, options: dict[str, Any]) -> None:
        self.port = port
        self._notes = folder / f"notes-{port}.jsonl"
        self._options = json.dumps({**options, "port": port, "notes": str(self._notes)})
        self.start()

    def start(self) -> None:
        assert PYTHON is not None
        self.process = subprocess.Popen(
            [PYTHON, str(HERE / "model_server.py"), self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def notes(self, event: str) -> list[dict[str, Any]]:
        """What it was told, of one kind."""
        if not self._notes.exists():
            return []
        notes = [json.loads(line) for line in self._notes.read_text().splitlines()]
        return [note for note in notes if note["event"] == event]

    def wait_for(self, event: str, count: int = 1, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """The same, as soon as there are so many: the server is not waited for otherwise."""
        deadline = time.monotonic() + timeout_s
        while len(self.notes(event)) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        found = self.notes(event)
        assert len(found) >= count, f"{event}: {found}"
        return found


@contextmanager
def model_server(folder: Path, **options: Any) -> Iterator[ModelServerProcess]:
    """A running model server; see `model_server.py` for the options."""
    server = ModelServerProcess(folder, free_port(), options)
    try:
        yield server
    finally:
        server.kill()


def run_harness(**options: Any) -> dict[str, Any]:
    """What the harness' own runner makes of a model server; see `harness.py` for the options."""
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, str(HERE / "harness.py"), json.dumps(options)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
