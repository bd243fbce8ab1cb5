"""A real policy server in this process, and policies that show what a server does with them."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from taketwo.serving.environments import CustomConfig
from taketwo.serving.hosting import PolicyHost
from taketwo.serving.openpi import OpenpiProtocol
from taketwo.serving.options import ServerOptions
from taketwo.serving.server import PolicyServer
from taketwo.sockets import bound_socket
from taketwo.types import ActionChunk

SMALL = CustomConfig(state_names=("x", "y"), action_names=("dx", "dy"), cameras=("top",), control_hz=10.0)
"""Two numbers in, two out."""


def observation(x=0.0, y=0.0, **more):
    """A request for `SMALL`."""
    return {"state": np.array([x, y]), **more}


class Counting:
    """Remembers: its first action is the number of requests of its episode, its second the episode's seed."""

    cameras = ()

    def __init__(self):
        self.requests, self.seed, self.closed = 0, -1, False

    def reset(self, episode):
        self.requests, self.seed = 0, episode.seed

    def infer(self, observation):
        self.requests += 1
        return ActionChunk(np.array([[self.requests, self.seed]], float))

    def close(self):
        self.closed = True


class Prompted:
    """Reads prompts, and has one of its own where it is given."""

    cameras = ()

    def __init__(self, own_prompt=None):
        self.own_prompt = own_prompt
        self.acted_on = []

    def reset(self, episode):
        pass

    def infer(self, observation):
        self.acted_on.append(self.own_prompt if observation.prompt is None else observation.prompt)
        return ActionChunk(np.zeros((3, 2)))

    def close(self):
        pass


class Looking(Counting):
    """Looks at a camera."""

    cameras = ("top",)

    def infer(self, observation):
        pixels = observation.images["top"].pixels
        return ActionChunk(np.array([[pixels.shape[0], pixels[0, 0, 2]]], float))


class Waiting(Counting):
    """Does not answer before it may, as a model that compiles."""

    def __init__(self):
        super().__init__()
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def infer(self, observation):
        self.asked.set()
        assert self.may_answer.wait(30)
        return super().infer(observation)


class Served:
    """A server that runs, and its address."""

    def __init__(self, server, port, thread):
        self.server, self.port, self.thread = server, port, thread
        self.url = f"http://127.0.0.1:{port}"

    def client(self, **options):
        """openpi's own client, connected."""
        return WebsocketClientPolicy("127.0.0.1", self.port, **options)


@contextmanager
def served(
    make, environment=SMALL, *, records=None, max_batch_size=16, max_wait_s=None, port=0, protocol=None, **options
):
    """A policy, served on a free port by the real server on a thread of this process."""
    described = environment.make()
    bound = bound_socket("127.0.0.1", port)
    number = bound.getsockname()[1]
    host = PolicyHost(make, max_batch_size=max_batch_size, max_wait_s=max_wait_s)
    server = PolicyServer(host, described, ServerOptions(**options), protocol or OpenpiProtocol(), records)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(bound, ready.set), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield Served(server, number, thread)
    finally:
        server.stop()
        thread.join(10)
        host.close()
        assert not thread.is_alive()


def silent_connection(port):
    """A TCP connection that says nothing."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)
