"""A line to a Rerun viewer that can be cut.

The SDK keeps everything that it could not send yet, without any limit, and at its end waits for the viewer for ever:
a viewer that hangs, or a network that is gone, would fill the memory and keep the process from ending. So everything
is flushed in time, and the SDK talks to the viewer through a relay of ours, which ends what hangs.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from taketwo.errors import TakeTwoError
from taketwo.viewing.targets import THIS_MACHINE, near

if TYPE_CHECKING:
    import rerun as rr
    import rerun.blueprint as rrb

STALLED_S = 10.0
"""After this long without taking what it is sent, a viewer is given up."""

CONNECT_S = 5.0

PIECE_BYTES = 1 << 16


class ViewerLink:
    """A recording that goes to a viewer, or to a server of such.

    Attributes:
        recording: what is logged there is sent.
    """

    def __init__(
        self,
        recording: rr.RecordingStream,
        host: str,
        port: int,
        blueprint: rrb.Blueprint,
        stalled_s: float = STALLED_S,
    ) -> None:
        """Connect.

        Args:
            stalled_s: how long the viewer may take nothing.

        Raises:
            TakeTwoError: nobody listens there.
        """
        self.recording = recording
        self._to = f"the Rerun viewer at {host}, port {port}"
        self._stalled_s = stalled_s
        self._relay = Relay(near(host), port)
        recording.connect_grpc(f"rerun+http://{THIS_MACHINE}:{self._relay.port}/proxy", default_blueprint=blueprint)

    def flush(self) -> None:
        """Wait until everything is sent.

        Raises:
            TakeTwoError: the viewer takes nothing any more, or was closed.
        """
        stalled = threading.Event()

        def give_up() -> None:
            stalled.set()
            self._relay.cut()

        # Not by `flush`'s own time limit, which older SDKs do not have.
        watch = threading.Timer(self._stalled_s, give_up)
        watch.daemon = True
        watch.start()
        try:
            self.recording.flush()
        except RuntimeError as error:
            if stalled.is_set():
                raise TakeTwoError(f"{self._to} has taken nothing for {self._stalled_s:g} s") from error
            raise TakeTwoError(f"{self._to} was closed, or cannot be reached any more") from error
        finally:
            watch.cancel()
        if stalled.is_set():
            raise TakeTwoError(f"{self._to} has taken nothing for {self._stalled_s:g} s")

    def close(self) -> None:
        """Send what is left, where that is possible, and end the connection."""
        with suppress(TakeTwoError):
            self.flush()
        watch = threading.Timer(self._stalled_s, self._relay.cut)
        watch.daemon = True
        watch.start()
        self.recording.disconnect()
        watch.cancel()
        self._relay.cut()


class Relay:
    """Passes on what comes to a port of this machine, and what is answered, until it is cut.

    Attributes:
        port: where it listens, on this machine only.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen, and pass on to this address.

        Raises:
            TakeTwoError: nobody listens there.
        """
        self._target = host, port
        try:
            socket.create_connection(self._target, timeout=CONNECT_S).close()
        except OSError as error:
            raise TakeTwoError(f"no Rerun viewer listens at {host}, port {port}: {error.strerror or error}") from error
        self._listener = socket.create_server((THIS_MACHINE, 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._changing = threading.Lock()
        self._is_cut = False
        threading.Thread(target=self._accept, name="rerun-relay", daemon=True).start()

    def cut(self) -> None:
        """End all connections, and take no more."""
        with self._changing:
            self._is_cut = True
            for end in (self._listener, *self._ends):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it, which closes it
            self._ends.clear()

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                near_end, _ = self._listener.accept()
                self._pass_on(near_end)

    def _pass_on(self, near_end: socket.socket) -> None:
        try:
            far_end = socket.create_connection(self._target, timeout=CONNECT_S)
        except OSError:
            near_end.close()
            return
        far_end.settimeout(None)
        with self._changing:
            if self._is_cut:
                near_end.close()
                far_end.close()
                return
            self._ends += [near_end, far_end]
        for source, target in ((near_end, far_end), (far_end, near_end)):
            threading.Thread(target=_copy, args=(source, target), name="rerun-relay", daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
