"""A window on a running session: its cameras, a line about it, and the keys that steer it.

The window is a process of its own (`taketwo.live.window_process`): toolkits end their whole process where a display
cannot be opened or goes away, and want all calls on one thread, which must never wait for the session.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np

from taketwo.errors import ConfigError, MissingExtraError, TakeTwoError, one_of, shortened
from taketwo.gl import has_display
from taketwo.session.commands import Commands
from taketwo.session.events import (
    EpisodeEnd,
    EpisodeStart,
    Event,
    Intervention,
    SessionEnd,
    StepTaken,
    TerminalObservation,
)
from taketwo.session.punctuality import give_way
from taketwo.types import EnvironmentSpec, Pixels

log = logging.getLogger(__name__)

START_S = 30.0
"""How long OpenCV may take to load and to open its window."""

CLOSE_S = 2.0

PROMPT_CHARACTERS = 300
"""More than any window has room for."""

Answer = tuple[Mapping[str, Any], Sequence[Pixels]]
"""What a window is to show: a description, and the pictures that are new, (H, W, 3) uint8 RGB."""


class NoWindowError(TakeTwoError):
    """There is no window, or no longer, and the session can do without."""


def open_window(
    spec: EnvironmentSpec,
    commands: Commands,
    *,
    cameras: Sequence[str] = (),
    every_n: int = 1,
    num_episodes: int | None = None,
) -> WindowSink | None:
    """Open a window for a session; None, and a warning, where this machine has no display.

    Args:
        cameras: those to show; all of the environment's where none is named.
        every_n: show every n-th frame.
        num_episodes: how many there will be, where that is known.

    Raises:
        ConfigError: there is no such camera, `every_n` is below 1, or the installed OpenCV has no windows.
        MissingExtraError: there is no OpenCV.
    """
    if every_n < 1:
        raise ConfigError(f"every_n must be 1 or more, not {every_n}")
    for camera in cameras:
        if camera not in spec.cameras:
            raise ConfigError(one_of("camera", camera, spec.cameras))
    if importlib.util.find_spec("cv2") is None:
        raise MissingExtraError("opencv-python", "window")
    shown = tuple(cameras or spec.cameras)
    sizes = {camera: (spec.cameras[camera].height, spec.cameras[camera].width) for camera in shown}
    try:
        process = WindowProcess(f"Take Two: {spec.name}", sizes)
    except NoWindowError as error:
        log.warning("no window: %s; the session goes on without it", error)
        return None
    return WindowSink(process, commands, shown, every_n, num_episodes)


class WindowProcess:
    """The window's process, and the line to it."""

    def __init__(self, title: str, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Start it, and wait until its window is open.

        Args:
            sizes: camera to height and width of its pictures, in pixels.

        Raises:
            NoWindowError: this machine has no display, or it cannot be opened.
            ConfigError: the installed OpenCV has no windows, or cannot be loaded.
        """
        if not has_display():
            raise NoWindowError("this machine has no display (neither DISPLAY nor WAYLAND_DISPLAY is set)")
        self._line, theirs = Pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - the process goes on writing into it
        command = [sys.executable, "-P", "-m", "taketwo.live.window_process", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                [*command, json.dumps({"title": title, "sizes": sizes})],
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for us
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        try:
            self._await_window()
        except BaseException:
            self.close()
            raise

    def serve(self, press: Callable[[str], None], answer: Callable[[], Answer | None]) -> None:
        """Hand over each key and answer each look, until there is no answer, or until the user closes the window.

        Args:
            press: called with the name of each key that was pressed.
            answer: gives what to show now; None when all is over.

        Raises:
            NoWindowError: the process has ended otherwise.
        """
        try:
            while True:
                for key in json.loads(self._line.recv_bytes()):
                    press(key)
                if (now := answer()) is None:
                    return
                described, pictures = now
                self._line.send_bytes(json.dumps(described).encode())
                for pixels in pictures:
                    self._line.send_bytes(np.ascontiguousarray(pixels).reshape(-1).data)
        except (EOFError, OSError):
            if self._ended() != 0:
                raise NoWindowError(f"the window is gone ({self._last_words()})") from None

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """Close the window, by ending what it asks."""
        self._line.close()
        self._ended()
        self._said.close()

    def _await_window(self) -> None:
        try:
            opened = json.loads(self._line.recv_bytes()) if self._line.poll(START_S) else None
        except (EOFError, OSError):
            self._ended()
            display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY", "")
            raise NoWindowError(f"the display {display!r} cannot be opened ({self._last_words()})") from None
        if opened is None:
            raise NoWindowError(f"OpenCV has not opened it within {START_S:g} s")
        if opened["refused"] is not None:
            raise ConfigError(opened["refused"])

    def _ended(self) -> int:
        """Its exit status; it has been told to end, or has by itself."""
        try:
            return self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        # Qt begins with what is wrong, and goes on with what it tried; Python ends with what is wrong.
        told = next((line for line in lines if "could not connect" in line), lines[-1] if lines else "")
        return shortened(told, 200) or f"status {self._process.returncode}"


class WindowSink:
    """Shows the session in a window, and carries out what is pressed there.

    The window asks for something new some 40 times a second, also while the session is paused or waits. A picture is
    rendered for it only when it has taken the last one.
    """

    name = "window"
    lossless = False
    required = False

    def __init__(
        self, process: WindowProcess, commands: Commands, cameras: Sequence[str], every_n: int, num_episodes: int | None
    ) -> None:
        """Serve the window from now on, on a thread of its own; `open_window` makes both.

        Args:
            cameras: those shown.
            every_n: show every n-th frame.
            num_episodes: how many there will be, where that is known.
        """
        self._process = process
        self._commands = commands
        self._cameras = tuple(cameras)
        self._every_n = every_n
        self._num_episodes = num_episodes
        self._is_open = True
        self._closing = False
        self._status = "starting"
        self._episode: int | None = None
        self._takes = 0  # begun, which numbers them as the session's commands do
        self._shown: dict[str, Any] = {"episode": "", "step": None, "retries": 0, "prompt": ""}
        self._pictures: list[Pixels] = []
        self._handing_over = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="window", daemon=True)
        self._thread.start()

    def cameras(self, frame: int) -> Collection[str]:
        """Those shown, for every n-th frame, while the window waits for a picture."""
        return self._cameras if self._is_open and not self._pictures and frame % self._every_n == 0 else ()

    def on(self, event: Event) -> None:
        """Keep what the window will be told at its next look."""
        match event:
            case EpisodeStart(episode):
                self._begin_episode(episode.index)
            case StepTaken() | TerminalObservation():
                self._take_frame(event)
            case Intervention():
                self._shown["retries"] += 1
            case EpisodeEnd():
                self._episode, self._status = None, "between episodes"
            case SessionEnd():
                self.close()

    def close(self) -> None:
        """Close the window, if it is still open."""
        self._closing = True
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():  # it waits for a window that does not ask any more
            self._process.kill()
            self._thread.join()
        self._process.close()

    def _begin_episode(self, index: int) -> None:
        of_all = f"/{self._num_episodes}" if self._num_episodes is not None else ""
        self._shown |= {"episode": f"Episode {index + 1}{of_all}", "step": None, "retries": 0}
        self._episode = index
        self._takes += 1

    def _take_frame(self, event: StepTaken | TerminalObservation) -> None:
        self._shown |= {"step": event.index, "prompt": shortened(event.observation.prompt or "", PROMPT_CHARACTERS)}
        images = [event.observation.images[camera] for camera in self._cameras]
        if event.frame % self._every_n == 0 and all(image.rendered for image in images):
            with self._handing_over:
                self._pictures = [image.pixels for image in images]

    def _serve(self) -> None:
        give_way()
        try:
            self._process.serve(self._press, self._answer)
        except NoWindowError as error:
            if not self._closing:
                log.warning("%s; the session goes on without it", error)
        else:
            if not self._closing:
                log.info("the window was closed; the session goes on")
        finally:
            self._is_open = False

    def _answer(self) -> Answer | None:
        """What the window is told at each look, and new pictures, where there are some; None when all is over."""
        if self._closing:
            return None
        with self._handing_over:
            pictures, self._pictures = self._pictures, []
        told = self._shown | {"status": self._wanted(), "marked": self._commands.marked}
        described = [(camera, *pixels.shape[:2]) for camera, pixels in zip(self._cameras, pictures, strict=False)]
        return {"told": told, "pictures": described}, pictures

    def _wanted(self) -> str:
        """What the session does, or is about to, as far as anybody wants something of it."""
        commands = self._commands
        if commands.stop_reason is not None:
            return "stopping"
        if self._episode is None:
            return self._status
        if commands.discard_reason is not None:
            return "redoing"
        if commands.end_reason is not None:
            return "ending"
        if commands.retry_reason is not None:
            return "retrying"
        return "paused" if commands.paused else "running"

    def _press(self, key: str) -> None:
        """Carry out a key. What concerns an episode does nothing while none is under way."""
        commands = self._commands
        if key == "stop":
            commands.stop()
        elif key == "pause":
            (commands.resume if commands.paused else commands.pause)()
        elif self._episode is None:
            return
        elif key == "end":
            commands.end_episode(take=self._takes)
        elif key == "redo":
            commands.discard_episode(take=self._takes)
        elif key == "intervene":
            commands.retry(take=self._takes)
        elif key in ("success", "failure"):
            verdict = key == "success"
            commands.mark(None if commands.marked is verdict else verdict, self._takes)
