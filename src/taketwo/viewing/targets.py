"""Where a recording goes: into a file, to a viewer on this machine, or to whoever asks for it over the network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from taketwo.errors import TakeTwoError, one_line
from taketwo.recording.naming import cannot_write, make_folder, move_into_place
from taketwo.viewing.sdk import load_rerun, viewer_path

if TYPE_CHECKING:
    import rerun as rr
    import rerun.blueprint as rrb

Send = Callable[["rr.RecordingStream"], None]
"""Logs an episode."""

THIS_MACHINE = "127.0.0.1"

START_S = 30.0
"""How long Rerun may take to listen."""

SETTLE_S = 1.0
CLOSE_S = 5.0


@contextmanager
def _recording(dataset: str, episode: int) -> Iterator[rr.RecordingStream]:
    """A recording of one dataset's application, so that the viewer keeps its layout from episode to episode."""
    recording = load_rerun().RecordingStream(dataset.replace("/", "_"))
    recording.send_recording_name(f"{dataset} episode {episode}")
    try:
        yield recording
    finally:
        recording.disconnect()


def write_rrd(folder: Path, stem: str, dataset: str, episode: int, blueprint: rrb.Blueprint, send: Send) -> Path:
    """Write `stem`.rrd, numbered where the name is taken; whoever sees it there sees all of it.

    Raises:
        RecordingError: the folder cannot be written; nothing is left there then.
    """
    make_folder(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{stem}.", suffix=".part", delete=False) as part:
            written = Path(part.name)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        _write(written, dataset, episode, blueprint, send)
        written.chmod(0o666 & ~_umask())
        return move_into_place(written, folder, stem, ".rrd")
    finally:
        written.unlink(missing_ok=True)


def _write(path: Path, dataset: str, episode: int, blueprint: rrb.Blueprint, send: Send) -> None:
    """Rerun writes into a pipe and we into the file: on a full disk it would wait for ever, and tell nobody."""
    failures: list[OSError] = []
    reading, writing = os.pipe()
    copier = threading.Thread(target=_copy, args=(reading, path, failures), daemon=True)
    copier.start()
    try:
        with _recording(dataset, episode) as recording:
            recording.save(f"/dev/fd/{writing}", default_blueprint=blueprint)
            send(recording)
    finally:
        os.close(writing)
        copier.join()
    if failures:
        raise cannot_write(path.parent, failures[0]) from failures[0]


def _copy(pipe: int, path: Path, failures: list[OSError]) -> None:
    with open(pipe, "rb") as source:
        try:
            with path.open("wb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            failures.append(error)
            while source.read(1 << 20):  # its writer must come to its end
                pass


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def open_viewer(dataset: str, episode: int, port: int, blueprint: rrb.Blueprint, send: Send) -> None:
    """Show it in the native viewer: the one that listens at the port, or a new one, which stays open.

    Raises:
        TakeTwoError: the viewer cannot start, or went away.
    """
    viewer = None if listens(THIS_MACHINE, port) else start_viewer(port)
    try:
        with _recording(dataset, episode) as recording:
            recording.connect_grpc(f"rerun+http://{THIS_MACHINE}:{port}/proxy", default_blueprint=blueprint)
            send(recording)
            recording.flush()
    except (RuntimeError, OSError) as error:
        raise TakeTwoError(f"the Rerun viewer at port {port} cannot be reached: {one_line(error)}") from error
    except BaseException:
        if viewer is not None:
            viewer.close()
        raise


def start_viewer(port: int, memory_limit: str = "75%") -> RerunProcess:
    """A native viewer, which listens to this machine.

    Args:
        memory_limit: it forgets what is oldest rather than take more, such as `2GB` or a part of the machine's.

    Raises:
        TakeTwoError: it cannot start.
    """
    # The SDK would start a viewer that listens to the whole network, and would find it on PATH only.
    words = ["--bind", THIS_MACHINE, "--port", str(port), "--expect-data-soon", "--memory-limit", memory_limit]
    viewer = RerunProcess("viewer", words)
    try:
        viewer.await_port(THIS_MACHINE, port)
        viewer.stays()
    except BaseException:
        viewer.close()
        raise
    return viewer


@contextmanager
def serving(rrd: Path, host: str, grpc_port: int, web_port: int) -> Iterator[RerunProcess]:
    """Serve a file, and the web viewer; see `start_server`.

    Yields:
        The server, which listens.

    Raises:
        TakeTwoError: it did not start.
    """
    server = start_server(host, grpc_port, web_port, files=(rrd,))
    try:
        yield server
    finally:
        server.close()


def start_server(
    host: str, grpc_port: int, web_port: int, memory_limit: str = "75%", files: Sequence[Path] = ()
) -> RerunProcess:
    """Serve files, what is sent to the port, and the web viewer.

    By a process of its own, since the SDK's server listens to the whole network.

    Args:
        host: address of the network interface; 127.0.0.1 is this machine only.
        memory_limit: it forgets what is oldest rather than take more, such as `2GB` or a part of the machine's.

    Raises:
        TakeTwoError: it did not start.
    """
    words = ["--serve-web", "--bind", host, "--port", str(grpc_port), "--web-viewer-port", str(web_port)]
    server = RerunProcess("server", [*words, "--server-memory-limit", memory_limit, *map(str, files)])
    try:
        for port in (grpc_port, web_port):
            server.await_port(host, port)
    except BaseException:
        server.close()
        raise
    return server


def near(host: str) -> str:
    """The address at which this machine reaches what listens at `host`, which may stand for all interfaces."""
    return {"0.0.0.0": THIS_MACHINE, "::": "::1"}.get(host, host)


class RerunProcess:
    """Rerun's executable, running."""

    def __init__(self, name: str, words: Sequence[str]) -> None:
        """Start it.

        Args:
            name: what messages call it.
        """
        self._name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - the process goes on writing into it
        self._process = subprocess.Popen(
            [str(viewer_path()), *words],
            process_group=0,  # Ctrl-C is for us
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env=os.environ | {"RERUN_APP_ONLY": "true", "NO_COLOR": "1"},
        )

    def await_port(self, host: str, port: int) -> None:
        """Wait until it listens.

        Raises:
            TakeTwoError: it ended, or takes too long.
        """
        until = time.monotonic() + START_S
        while not listens(near(host), port):
            if self._process.poll() is not None:
                raise TakeTwoError(f"the Rerun {self._name} cannot start: {self._last_words()}")
            if time.monotonic() > until:
                raise TakeTwoError(f"the Rerun {self._name} does not listen at {near(host)}, port {port}")
            time.sleep(0.05)

    def stays(self) -> None:
        """Give it a moment to fail, which a viewer does after it has begun to listen.

        Raises:
            TakeTwoError: it did.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(SETTLE_S)
            raise TakeTwoError(f"the Rerun {self._name} cannot start: {self._last_words()}")

    def wait(self) -> None:
        """Wait until it ends by itself, which is an error.

        Raises:
            TakeTwoError: it has ended.
        """
        self._process.wait()
        raise TakeTwoError(f"the Rerun {self._name} has ended: {self._last_words()}")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        return one_line(lines[-1]) if lines else f"status {self._process.returncode}"


def listens(host: str, port: int) -> bool:
    """Whether something does at this address."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
