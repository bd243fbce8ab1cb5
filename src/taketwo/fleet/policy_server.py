"""The policy server of a fleet's command, begun by `taketwo.fleet.inference`.

`python -m taketwo.fleet.policy_server FD` gets a `ServerOrder` through the socket FD, answers `Ready` or `Refusal`, and
ends when the socket is closed.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection

from taketwo.envs.base import MakesOne
from taketwo.errors import ConfigError, EnvironmentFault, PolicyError, TakeTwoError, blaming, one_line
from taketwo.fleet.executor import MisfitError, Refusal
from taketwo.fleet.inference import HOST, LARGEST_REQUEST_BYTES, Ready, ServerOrder
from taketwo.policies.base import Policy
from taketwo.policies.layouts import build_layout
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.hosting import PolicyHost
from taketwo.serving.openpi import OpenpiProtocol
from taketwo.serving.options import ServerOptions
from taketwo.serving.server import PolicyServer
from taketwo.sockets import bound_socket
from taketwo.types import EnvironmentSpec

log = logging.getLogger(__name__)

MAX_BATCH_SIZE = 16

ENDING_S = 8.0
"""How long the server may take to end, before the process does."""


def describe(config: MakesOne) -> EnvironmentSpec | Refusal:
    """What an environment is like, or why it cannot be made."""
    try:
        with blaming(EnvironmentFault, "the environment cannot be made"):
            environment = config.make()
    except ConfigError as error:
        return Refusal("config", "env", str(error))
    except TakeTwoError as error:
        return Refusal.of(error)
    spec = environment.spec
    with contextlib.suppress(Exception):  # simulators are known for it, and the process ends
        environment.close()
    return spec


def served(spec: EnvironmentSpec) -> ServedEnvironment:
    """What the clients of a server are, whose environment is at hand: it gets pictures as they are.

    Raises:
        MisfitError: they are of different sizes; clients bring them to a single one.
    """
    if len({(camera.height, camera.width) for camera in spec.cameras.values()}) > 1:
        sizes = ", ".join(f"{name} {camera.width}x{camera.height}" for name, camera in spec.cameras.items())
        raise MisfitError(
            "env",
            f"--inference=server takes pictures of one size, and the cameras differ ({sizes}): give them the same, or "
            "use --inference=process",
        )
    height, width = next(((c.height, c.width) for c in spec.cameras.values()), (224, 224))
    mapping = {"state": "state", "prompt": "prompt"} | {f"images.{name}": f"images.{name}" for name in spec.cameras}
    layout = build_layout("custom", mapping, spec, height=height, width=width, axes="hwc")
    return ServedEnvironment(spec, layout, "custom")


def serve(connection: Connection) -> None:
    """Serve until the other end of the connection is closed.

    Raises:
        TakeTwoError: it cannot begin.
    """
    order: ServerOrder = connection.recv()
    environment = served(_described(order.env))
    host = PolicyHost(lambda: _policy(order, environment.spec), max_batch_size=MAX_BATCH_SIZE, max_wait_s=None)
    options = ServerOptions(order.key, None, order.max_clients, LARGEST_REQUEST_BYTES, 0)
    server = PolicyServer(host, environment, options, OpenpiProtocol())
    bound = bound_socket(HOST, 0)
    port = bound.getsockname()[1]
    threading.Thread(target=_end_with, args=(connection, server), name="command", daemon=True).start()
    server.run(bound, lambda: connection.send(Ready(port)))
    host.close()


def _described(config: MakesOne) -> EnvironmentSpec:
    """In a process of its own: a simulator would keep memory, and some go with no deep-learning framework."""
    spawn = multiprocessing.get_context("spawn")
    with blaming(EnvironmentFault, "the environment cannot be made"), ProcessPoolExecutor(1, mp_context=spawn) as pool:
        found = pool.submit(describe, config).result()
    if isinstance(found, Refusal):
        raise found.error()
    return found


def _policy(order: ServerOrder, spec: EnvironmentSpec) -> Policy:
    with blaming(PolicyError, "the policy cannot be made"):
        try:
            return order.policy.make(spec)
        except ConfigError as error:
            raise MisfitError("policy", str(error)) from error


def _end_with(connection: Connection, server: PolicyServer) -> None:
    """Wait for the command to go, however it does."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    server.stop()
    threading.Event().wait(ENDING_S)
    os._exit(1)


def main() -> None:
    """Run the process to its end."""
    connection = Connection(int(sys.argv[1]))
    logging.basicConfig(format="%(asctime)s %(levelname)s: %(message)s", level=logging.INFO)
    try:
        serve(connection)
    except TakeTwoError as error:
        with contextlib.suppress(OSError):
            connection.send(Refusal.of(error))
        os._exit(2)
    except Exception as error:
        log.exception("the policy server cannot go on")
        with contextlib.suppress(OSError):
            connection.send(
                Refusal("other", "", f"the policy server failed: {type(error).__name__}: {one_line(error)}")
            )
        os._exit(2)
    os._exit(0)


if __name__ == "__main__":
    main()
