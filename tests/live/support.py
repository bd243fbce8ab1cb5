"""The real page on a free port, real sessions that it shows, and raw HTTP to ask it with."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from websockets.sync.client import connect

from taketwo.control.prompt import PromptSource
from taketwo.live.config import LiveConfig
from taketwo.live.page import LivePage
from taketwo.session.commands import Commands
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import CameraSpec, Decision
from tests.support import Keep, run_session

PATIENCE_S = 20.0
"""For whatever happens soon, on a machine that is busy with other things."""


COLOURS = {"top": (200, 40, 40), "angle": (40, 200, 40), "wrist/left": (40, 40, 200)}


def until(holds, what="what was waited for"):
    """What `holds` gives, as soon as that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.005)
    return found


class Still(SteeringController):
    """Never moves, so that episodes only end by a limit or a command."""

    def __init__(self):
        super().__init__()
        self.resets = 0

    def reset(self, episode, observation):
        self.resets += 1

    def decide(self, observation):
        return Decision(asked=np.zeros(2), sent=np.array([0.25, -0.5]), prompt_used=observation.prompt)


class Wide(PointEnvironment):
    """The point with more cameras, told apart by their colour."""

    def __init__(self, height=48, width=64):
        super().__init__(height, width)
        self.spec.cameras.update({name: CameraSpec(height, width) for name in COLOURS})
        self.made_of = Counter()

    def render(self, camera, height, width):
        self.made_of[camera] += 1
        return np.full((height, width, 3), COLOURS[camera], np.uint8)


class Shown:
    """A session that runs on a thread, with a page on it."""

    def __init__(self, live, environment, **options):
        self.live = live
        self.environment = environment
        self.controller = options.pop("controller", None) or Still()
        self.keep = Keep()
        self.result = None
        self._options = {"max_hz": 50.0, "max_episode_steps": 100_000, "num_episodes": 1_000, **options}
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        self.result = run_session(
            self.environment,
            self.controller,
            [self.live.page.sink, self.keep, *self._options.pop("sinks", ())],
            commands=self.live.commands,
            prompt=self.live.prompt,
            **self._options,
        )

    def begin(self):
        self._thread.start()
        until(lambda: self.keep.steps or not self._thread.is_alive(), "the first step")

    def stand_still(self):
        """Pause, and wait until no step is under way any more."""
        self.live.commands.pause()

        def stands():
            before = len(self.keep.steps)
            time.sleep(0.1)  # five periods
            return len(self.keep.steps) == before

        until(stands)

    def end(self):
        self.live.commands.stop("the test is over")
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.result


class Live:
    """A page that is open, and what belongs to it."""

    def __init__(self, page, commands, prompt):
        self.page, self.commands, self.prompt = page, commands, prompt
        self.port = urlsplit(page.url).port

    def ask(self, method, path, body=None, **headers):
        """Raw HTTP: status, headers, body."""
        return ask(self.port, method, path, body, **headers)

    def state(self):
        status, _, body = self.ask("GET", "/api/state")
        assert status == 200
        return json.loads(body)

    def command(self, command, **more):
        """Status and what was said."""
        body = json.dumps({"command": command, **more})
        status, _, answer = self.ask("POST", "/api/command", body, content_type="application/json")
        return status, json.loads(answer)["said"]

    def events(self, **options):
        """The websocket, connected."""
        return connect(f"ws://127.0.0.1:{self.port}/api/events", max_size=None, **options)

    @contextmanager
    def stream(self, path="/stream"):
        """The pictures of a stream, one after the other."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("GET", path)
        response = connection.getresponse()
        try:
            yield parts(response)
        finally:
            response.close()
            connection.close()


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
        if body is not None and "content_length" not in headers and "transfer_encoding" not in headers:
            headers["content_length"] = str(len(body))
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body.encode() if isinstance(body, str) else body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def parts(response):
    """(headers, JPEG) of a multipart stream. Reads it as RFC 2046 has it, by length."""
    assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    assert response.readline() == b"--frame\r\n"
    while line := response.readline():
        headers = {}
        while line.strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
            line = response.readline()
        jpeg = response.read(int(headers["content-length"]))
        assert response.readline() == b"\r\n"
        assert response.readline() == b"--frame\r\n"
        yield headers, jpeg


def pixels(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


@contextmanager
def live(prompt="first", note=None, editable=True, **config):
    """A page on a free port, without a session."""
    commands = Commands()
    source = PromptSource(prompt)
    page = LivePage(LiveConfig(**{"port": 0, **config}), commands, source if editable else None, note)
    page.start()
    try:
        yield Live(page, commands, source)
    finally:
        page.close()


@contextmanager
def showing(environment=None, config=None, **options):
    """A page, and a session of a point that does not move, 50 steps a second."""
    with live(**(config or {})) as opened:
        opened.session = Shown(opened, environment or PointEnvironment(), **options)
        opened.session.begin()
        try:
            yield opened
        finally:
            opened.session.end()


def silent_viewer(port, path="/stream"):
    """A TCP connection that asks for a stream and never reads it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection
