"""A client of policy servers, in a process of its own: openpi's `WebsocketClientPolicy`, or vla-eval's. A worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from serving_policies import ACTION_DIM
from workload import serve

HOST = "127.0.0.1"


class Worker:
    """Keeps a connection to each server that it was told of."""

    def __init__(self) -> None:
        self._ask: dict[int, Callable[[dict[str, Any]], Any]] = {}

    def connect(self, port: int, speaks: str = "openpi") -> None:
        """Connect to the server at a port, once."""
        self._ask[port] = _openpi(port) if speaks == "openpi" else _vla_eval(port)

    def count(self, port: int, height: int, width: int, begin_s: float, end_s: float) -> int:
        """Ask without a pause until `end_s`; how many answers came after `begin_s`, on the monotonic clock."""
        ask, message, answers = self._ask[port], _message(height, width), 0
        while True:
            ask(message)
            now_s = time.monotonic()
            if now_s >= end_s:
                return answers
            answers += now_s >= begin_s

    def round_trips(self, port: int, height: int, width: int, number: int) -> list[float]:
        """So many round trips, one after the other, in milliseconds."""
        ask, message, took = self._ask[port], _message(height, width), []
        for _ in range(number):
            began = time.perf_counter()
            ask(message)
            took.append((time.perf_counter() - began) * 1000)
        return took


def _message(height: int, width: int) -> dict[str, Any]:
    picture = np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)
    return {"state": np.zeros(ACTION_DIM), "images": {"cam_high": picture}, "prompt": "Transfer cube"}


def _openpi(port: int) -> Callable[[dict[str, Any]], Any]:
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    return WebsocketClientPolicy(HOST, port).infer


def _vla_eval(port: int) -> Callable[[dict[str, Any]], Any]:
    """As vla-eval's client talks: a greeting, an episode, then observations."""
    from vla_eval.protocol.messages import Message, MessageType, make_hello_payload, pack_message, unpack_message
    from websockets.sync.client import connect

    connection = connect(f"ws://{HOST}:{port}", compression=None, max_size=None, ping_interval=None, legacy=True)
    connection.send(pack_message(Message(type=MessageType.HELLO, payload=make_hello_payload(), seq=0)))
    connection.recv()
    connection.send(pack_message(Message(type=MessageType.EPISODE_START, payload={}, seq=1)))

    def ask(observation: dict[str, Any]) -> Any:
        connection.send(pack_message(Message(type=MessageType.OBSERVATION, payload=observation, seq=2)))
        answer = unpack_message(connection.recv())
        if answer.type != MessageType.ACTION:
            raise RuntimeError(f"vla-eval's server answers {answer.payload}")
        return answer.payload

    return ask


if __name__ == "__main__":
    worker = Worker()
    serve({"connect": worker.connect, "count": worker.count, "round_trips": worker.round_trips})
