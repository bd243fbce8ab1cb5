"""The processes of the serving benchmark: servers, and clients that work at the same time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent


class Process:
    """A script in a process of its own that ends when its stdin does."""

    def __init__(self, python: Path, script: str, arguments: Sequence[str] = ()) -> None:
        self._name = " ".join([script, *arguments])
        self._process = subprocess.Popen(
            [python, HERE / script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def write(self, line: str) -> None:
        """Send it a line; if it has died, there will be no answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def read(self) -> str:
        """Its next line.

        Raises:
            SystemExit: it died.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {self._name} died; what it said stands above")
        return line

    def __enter__(self) -> Self:
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


class Server(Process):
    """A policy server; `port` is where it listens."""

    def __init__(self, kind: str, *, python: Path = Path(sys.executable), **options: Any) -> None:
        arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
        super().__init__(python, "serving_server.py", [kind, *arguments])
        self.port = int(self.read())


class Client(Process):
    """A worker that asks servers. `begin` and `end` of several may overlap."""

    def __init__(self, *, python: Path = Path(sys.executable)) -> None:
        super().__init__(python, "serving_client.py")

    def begin(self, job: str, **options: Any) -> None:
        """Give it a job."""
        self.write(json.dumps({"job": job, **options}))

    def end(self) -> Any:
        """Its answer."""
        return json.loads(self.read())

    def do(self, job: str, **options: Any) -> Any:
        """Give it a job and wait for the answer."""
        self.begin(job, **options)
        return self.end()
