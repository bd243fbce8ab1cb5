"""Viewers of an MJPEG stream, in a process of its own: some read, some never do.

python live_viewers.py URL --reading=40 --deaf=10

Prints a line when all have asked, and at the end of its stdin how many frames each reader got.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import socket
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

MARK = b"Content-Type: image/jpeg"
LOW_PRIORITY = 19
"""Viewers sit at other machines; here they must not take the processor from what is measured."""


@dataclass
class Reader:
    """One that reads.

    Attributes:
        rest: the end of what came, which may be the beginning of a mark.
    """

    frames: int = 0
    rest: bytes = b""

    def take(self, data: bytes) -> None:
        """Count the frames that begin in it."""
        data = self.rest + data
        self.frames += data.count(MARK)
        self.rest = data[-(len(MARK) - 1) :]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--reading", type=int, required=True)
    parser.add_argument("--deaf", type=int, required=True)
    options = parser.parse_args()
    os.nice(LOW_PRIORITY)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    readers = [Reader() for _ in range(options.reading)]
    for reader in readers:
        selector.register(_asked(options.url), selectors.EVENT_READ, reader)
    deaf = [_asked(options.url) for _ in range(options.deaf)]
    print("asked", flush=True)
    _read(selector)
    print(json.dumps([reader.frames for reader in readers]), flush=True)
    for viewer in deaf:
        viewer.close()


def _asked(url: str) -> socket.socket:
    parts = urlsplit(url)
    viewer = socket.create_connection((parts.hostname, parts.port))
    viewer.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    viewer.setblocking(False)
    return viewer


def _read(selector: selectors.BaseSelector) -> None:
    """Read until stdin ends."""
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            data = b""
            with contextlib.suppress(OSError):
                data = key.fileobj.recv(1_000_000)  # type: ignore[union-attr]
            if data:
                key.data.take(data)
            else:
                selector.unregister(key.fileobj)


if __name__ == "__main__":
    main()
