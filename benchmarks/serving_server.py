"""A policy server under test, in a process of its own: prints its port when clients can connect, ends with its stdin.

python serving_server.py taketwo --policy=pause [--max_batch_size=16] [--max_wait_ms=0]
python serving_server.py openpi --policy=pause --file=.../websocket_policy_server.py
python serving_server.py like_openpi --policy=noop
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving_policies import POLICIES, Policy

HOST = "127.0.0.1"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=["taketwo", "openpi", "like_openpi", "vla_eval"])
    parser.add_argument("--policy", choices=list(POLICIES), required=True)
    parser.add_argument("--pause_ms", type=float, default=20.0, help="what a forward pass of `pause` takes")
    parser.add_argument("--max_batch_size", type=int, default=16)
    parser.add_argument("--max_wait_ms", type=float, default=None)
    parser.add_argument("--file", type=Path, help="openpi's websocket_policy_server.py")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the answers
    logging.disable(logging.WARNING)  # openpi's server tells of every connection
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    policy = POLICIES[options.policy](options.pause_ms / 1000)

    def ready(port: int) -> None:
        answers.write(f"{port}\n")
        answers.flush()

    serve: dict[str, Callable[[], None]] = {
        "taketwo": lambda: _taketwo(options, ready),
        "openpi": lambda: _openpi(policy, options.file, ready),
        "like_openpi": lambda: asyncio.run(_like_openpi(policy, ready)),
        "vla_eval": lambda: _vla_eval(policy, options.max_batch_size, ready),
    }
    serve[options.server]()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def _taketwo(options: argparse.Namespace, ready: Callable[[int], None]) -> None:
    """`taketwo serve` itself; the policy joins as a third party's does, by an entry point."""
    from taketwo.cli.main import main as taketwo

    folder = Path(tempfile.mkdtemp())
    package = folder / "benchmark-0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: benchmark\nVersion: 0\n")
    (package / "entry_points.txt").write_text("[taketwo.policies]\nbenchmark = serving_ours:BenchmarkConfig\n")
    sys.path.append(str(folder))

    def made(port: int) -> None:
        shutil.rmtree(folder)
        ready(port)

    words = [
        "serve",
        "--env=ALOHA_SIM",
        "--policy.type=benchmark",
        f"--policy.what={options.policy}",
        f"--policy.pause_ms={options.pause_ms}",
        f"--port={_announce_when_listening(made)}",
        f"--max_batch_size={options.max_batch_size}",
        *([] if options.max_wait_ms is None else [f"--max_wait_ms={options.max_wait_ms}"]),
    ]
    sys.exit(taketwo(words))


class _ForOpenpi:
    """A policy as openpi's server wants it: a map in, a map out."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        return {"actions": self._policy.chunks([np.asarray(obs["state"])], [0.0])[0]}


def _openpi(policy: Policy, file: Path, ready: Callable[[int], None]) -> None:
    """openpi's own server, whose file is no package's."""
    spec = importlib.util.spec_from_file_location("websocket_policy_server", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    port = _announce_when_listening(ready)
    module.WebsocketPolicyServer(_ForOpenpi(policy), HOST, port, {}).serve_forever()


def _announce_when_listening(ready: Callable[[int], None]) -> int:
    """A free port, which is told as soon as somebody listens on it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    threading.Thread(target=_when_listening, args=(port, ready), daemon=True).start()
    return port


def _when_listening(port: int, ready: Callable[[int], None]) -> None:
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((HOST, port)):
            return ready(port)
        time.sleep(0.05)


async def _like_openpi(policy: Policy, ready: Callable[[int], None]) -> None:
    """Stands in for openpi's server: its packing code, and a policy that is asked on the event loop."""
    from openpi_client import msgpack_numpy
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed

    infer, packer = _ForOpenpi(policy).infer, msgpack_numpy.Packer()

    async def handle(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await connection.send(packer.pack({}))
            async for message in connection:
                began = time.monotonic()
                answer = infer(msgpack_numpy.unpackb(message))
                answer["server_timing"] = {"infer_ms": (time.monotonic() - began) * 1000}
                await connection.send(packer.pack(answer))

    async with serve(handle, HOST, 0, compression=None, max_size=None) as server:
        ready(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


def _vla_eval(policy: Policy, max_batch_size: int, ready: Callable[[int], None]) -> None:
    """vla-eval's batching server, with the waiting time that it comes with."""
    from vla_eval.model_servers.predict import PredictModelServer
    from vla_eval.model_servers.serve import serve

    class Server(PredictModelServer):
        def predict_batch(self, obs_batch: list[Any], ctx_batch: list[Any]) -> list[Any]:
            states = [np.asarray(obs["state"]) for obs in obs_batch]
            return [{"actions": chunk} for chunk in policy.chunks(states, [0.0] * len(states))]

    serve(Server(max_batch_size=max_batch_size), HOST, _announce_when_listening(ready))


if __name__ == "__main__":
    main()
