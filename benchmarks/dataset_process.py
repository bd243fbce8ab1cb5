"""Workers of the dataset benchmark, and their memory, watched from outside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
SAMPLE_S = 0.05


class Process:
    """A process that does jobs, one at a time; what it says on stderr goes to a file."""

    def __init__(self, python: Path, script: str, log: Path) -> None:
        self._script = script
        self._log = log
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [python, HERE / script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )

    @property
    def pid(self) -> int:
        """The worker's own, since `peer-python` becomes it."""
        return self._process.pid

    def do(self, job: str, **options: Any) -> Any:
        """The answer to a job.

        Raises:
            SystemExit: it died.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died before; there is no answer then either
            self._process.stdin.write(json.dumps({"job": job, **options}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._log.read_text()[-4000:]}\nerror: {self._script} died during {job}")
        return json.loads(line)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        if error is not None:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


class MemoryWatch:
    """How far a process's memory rises above what it is when the watch begins.

    Its own resident memory, of which the kernel keeps the peak, and the private memory of its children, sampled.
    """

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._start_mb = self._peak_mb = 0.0

    def __enter__(self) -> MemoryWatch:
        (self._proc / "clear_refs").write_text("5")  # the peak begins anew (proc(5))
        self._start_mb = _status_mb(self._proc, "VmRSS")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if error is None:
            self._peak_mb = max(self._peak_mb, _status_mb(self._proc, "VmHWM"))

    @property
    def growth_mb(self) -> float:
        """Peak over start, in MB (10^6 bytes)."""
        return self._peak_mb - self._start_mb

    def _run(self) -> None:
        while not self._done.wait(SAMPLE_S):
            with contextlib.suppress(OSError):  # the process ended, or one of its children did
                own = _status_mb(self._proc, "VmRSS")
                self._peak_mb = max(self._peak_mb, own + sum(_private_mb(child) for child in _children(self._proc)))


def _status_mb(proc: Path, field: str) -> float:
    for line in (proc / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"{proc} has no {field}")


def _children(proc: Path) -> list[Path]:
    """Processes that it started, and those that they started."""
    found = []
    for task in (proc / "task").iterdir():
        for pid in (task / "children").read_text().split():
            child = Path(f"/proc/{pid}")
            found += [child, *_children(child)]
    return found


def _private_mb(proc: Path) -> float:
    """What it does not share, such as with the process that it was forked off."""
    with contextlib.suppress(OSError):
        lines = (proc / "smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6
    return 0.0


def quiet_environment(folder: Path) -> None:
    """What workers are started with: no network, caches that are thrown away, encoders that do not chat."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "SVT_LOG": "1", "PYTHONWARNINGS": "ignore"}
