"""The process that has the window. It asks the session what to show, and tells it which keys were pressed.

Messages over the line, in turns: the window sends the keys pressed since its last look, as a JSON list of names; the
session answers `{"told": {...}, "pictures": [[camera, height, width], ...]}`, followed by a message of RGB bytes for
each picture that is new. The very first message of the window is `{"refused": null}`, or why there is none.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

import numpy as np

from taketwo.live.window_picture import BAR_COLOUR, NOTHING_YET, WindowPicture, first_size
from taketwo.session.punctuality import SINK_NICENESS
from taketwo.types import Pixels

LOOK_MS = 25
"""How long the window waits for keys before it asks the session again."""

PAINT_S = 1.0
"""How long a new window may take to appear on the screen."""

TRIES = 5
"""A window that does not appear is opened again so many times."""

REPEAT_S = 0.7
"""A key that comes again within this time is held down; X servers and desktops repeat it after 0.5 to 0.66 s."""

KEYS = {
    0xFF53: "end",  # Right, as the arrow key and on the keypad; X11's keysymdef.h
    0xFF98: "end",
    0xFF51: "redo",  # Left
    0xFF96: "redo",
    0x1B: "stop",  # Escape
    ord(" "): "pause",
    ord("s"): "success",
    ord("f"): "failure",
    ord("i"): "intervene",
}
"""What `cv2.waitKeyEx` gives, on Qt and on GTK, to what it means."""

KEYSYM_BITS = 0xFFFF
"""GTK puts the modifiers, such as Num Lock, above them."""

HEADLESS = (
    "the installed OpenCV has no windows (opencv-python-headless): pip uninstall opencv-python-headless, "
    "then pip install --force-reinstall opencv-python"
)


LIBRARIES = "on Debian and Ubuntu, apt-get install libgl1 libglib2.0-0 brings what it needs"


class Keys:
    """Tells what a key means, once for each time that it is pressed."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def meant(self, code: int, now: float) -> str | None:
        """What a key's code means; None for other keys, and while it is held down.

        Args:
            now: in seconds.
        """
        code &= KEYSYM_BITS
        key = KEYS.get(ord(chr(code).lower()) if code < 0x80 else code)
        if key is None:
            return None
        is_held = now - self._last.get(key, -REPEAT_S) < REPEAT_S
        self._last[key] = now
        return None if is_held else key


class Window:
    """OpenCV's window; all its calls are on the thread that made it."""

    def __init__(self, cv2: ModuleType, title: str, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Open it, in a size that suits the pictures."""
        self._cv2 = cv2
        self._title = title
        self._picture = WindowPicture(cv2, sizes)
        self._drawn: tuple[object, ...] = ()
        # Without Qt's own toolbar and menu, which know nothing of sessions; the picture fits any shape by itself.
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(title, *first_size(sizes))

    @property
    def is_open(self) -> bool:
        """Whether the user has not closed it."""
        try:
            return bool(self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) >= 1)
        except self._cv2.error:  # GTK knows nothing any more of a window that was closed
            return False

    def show(self, told: Mapping[str, Any], pictures: Mapping[str, Pixels]) -> None:
        """Draw what has changed, at the size that the window has now."""
        _, _, width, height = self._cv2.getWindowImageRect(self._title)
        drawn = (told, width, height)
        if pictures or drawn != self._drawn:
            self._drawn = drawn
            self._cv2.imshow(self._title, self._picture.drawn(told, pictures, width, height))

    def close(self) -> None:
        """Close it."""
        self._cv2.destroyWindow(self._title)

    def appears(self) -> bool:
        """Whether what is drawn comes to the screen within `PAINT_S`; True where nobody can tell."""
        end = time.monotonic() + PAINT_S
        while time.monotonic() < end:
            self.show(NOTHING_YET, {})
            self.key()
            left, top, width, height = self._cv2.getWindowImageRect(self._title)
            seen = _pixel_on_screen(left + width - 2, top + height - 2)
            if seen is None or seen == BAR_COLOUR:
                return True
        return False

    def key(self) -> int:
        """The code of the next key; -1 where none comes within `LOOK_MS`. Meanwhile the window is alive."""
        return int(self._cv2.waitKeyEx(LOOK_MS))


def open_window(cv2: ModuleType, title: str, sizes: Mapping[str, tuple[int, int]]) -> Window:
    """A window that is to be seen.

    On a busy machine Qt 5 now and then misses that the X server has shown a new window, and never paints it.
    """
    for _ in range(TRIES - 1):
        window = Window(cv2, title, sizes)
        if window.appears():
            return window
        window.close()
    return Window(cv2, title, sizes)


def _pixel_on_screen(x: int, y: int) -> tuple[int, ...] | None:
    """Red, green and blue; None where the screen cannot be read, as under Wayland."""
    from PIL import ImageGrab

    if os.environ.get("WAYLAND_DISPLAY"):
        return None
    try:
        screen = ImageGrab.grab(xdisplay=os.environ.get("DISPLAY"))
    except OSError:
        return None
    if not (0 <= x < screen.width and 0 <= y < screen.height):
        return None
    pixel = screen.convert("RGB").getpixel((x, y))
    return pixel if isinstance(pixel, tuple) else None


def main(line: Connection, title: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Show the window until it is closed, or until the session's end of the line is."""
    with suppress(OSError):
        os.nice(SINK_NICENESS)
    try:
        import cv2

        window = open_window(cv2, title, sizes)
    except ImportError as error:
        line.send_bytes(json.dumps({"refused": f"OpenCV cannot be loaded: {error}; {LIBRARIES}"}).encode())
        return
    except Exception as error:
        if "not implemented" not in str(error):
            raise
        line.send_bytes(json.dumps({"refused": HEADLESS}).encode())
        return
    line.send_bytes(json.dumps({"refused": None}).encode())
    keys = Keys()
    while True:
        key = keys.meant(window.key(), time.monotonic())
        if not window.is_open:
            return
        line.send_bytes(json.dumps([key] if key else []).encode())
        window.show(*_answer(line))


def _answer(line: Connection) -> tuple[Mapping[str, Any], dict[str, Pixels]]:
    answer = json.loads(line.recv_bytes())
    pictures = {}
    for camera, height, width in answer["pictures"]:
        pictures[camera] = np.frombuffer(line.recv_bytes(), np.uint8).reshape(height, width, 3)
    return answer["told"], pictures


if __name__ == "__main__":
    with suppress(EOFError, ConnectionError), Connection(int(sys.argv[1])) as session:
        main(session, **json.loads(sys.argv[2]))
