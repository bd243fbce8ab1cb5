"""Frames come out as they went in, however the network cuts them; what is not a whole message goes on untouched."""

import random
import socket
import struct

import numpy as np
import pytest
from openpi_client import msgpack_numpy
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from taketwo.serving.framing import AHEAD_BYTES, FrameReader
from tests.serving.support import Counting, Looking, observation, served


class Taker:
    """Keeps what a reader hands on, in order."""

    def __init__(self):
        self.got = []

    def take_message(self, message):
        self.got.append(("message", bytes(message)))

    def data_received(self, data):
        if self.got and self.got[-1][0] == "passed":
            self.got[-1] = ("passed", self.got[-1][1] + data)
        else:
            self.got.append(("passed", data))


def fed(data, cut, longest=10_000_000):
    """What comes out of a reader that receives these bytes in pieces of at most `cut()`."""
    taker = Taker()
    reader = FrameReader(taker, longest)
    while data:
        buffer = reader.get_buffer(-1)
        count = min(len(buffer), cut(), len(data))
        buffer[:count] = data[:count]
        data = data[count:]
        reader.buffer_updated(count)
    return taker.got


def frame(payload, opcode=Opcode.BINARY, fin=True, mask=True):
    return Frame(opcode, payload, fin=fin).serialize(mask=mask)


LENGTHS = [1, 2, 125, 126, 127, 65_535, 65_536, AHEAD_BYTES + 1, 300_000]


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000, AHEAD_BYTES, 10**9])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_message_of_any_length_comes_out_whole_however_it_is_cut(length, cut):
    if length > 100_000 and cut < 100:
        cut = 997
    payload = random.Random(length).randbytes(length)
    assert fed(frame(payload) * 2, lambda: cut) == [("message", payload)] * 2


def test_messages_and_other_frames_come_out_in_their_order_at_random_cuts():
    dice = random.Random(5)
    for _ in range(30):
        sent, expected = b"", []
        for _ in range(40):
            payload = dice.randbytes(dice.choice([1, 20, 125, 126, 5000, 70_000]))
            kind = dice.choice(["message", "message", "text", "ping", "fragment", "unmasked"])
            piece = {
                "message": lambda payload=payload: frame(payload),
                "text": lambda payload=payload: frame(payload, Opcode.TEXT),
                "ping": lambda payload=payload: frame(payload[:100], Opcode.PING),
                "fragment": lambda payload=payload: frame(payload, fin=False) + frame(payload, Opcode.CONT),
                "unmasked": lambda payload=payload: frame(payload, mask=False),
            }[kind]()
            sent += piece
            if kind == "message":
                expected.append(("message", payload))
            elif expected and expected[-1][0] == "passed":
                expected[-1] = ("passed", expected[-1][1] + piece)
            else:
                expected.append(("passed", piece))
        assert fed(sent, lambda: dice.choice([1, 5, 100, 4096, 65_536])) == expected


def test_a_message_that_is_too_long_and_an_empty_one_are_passed_on():
    long, empty = frame(b"x" * 1001), frame(b"")
    assert fed(long + empty + frame(b"y"), lambda: 50, longest=1000) == [("passed", long + empty), ("message", b"y")]


def test_a_server_understands_fragments_pings_and_text_between_messages():
    request = msgpack_numpy.packb(observation())
    with served(Counting) as server, connect(f"ws://127.0.0.1:{server.port}") as websocket:
        websocket.recv()
        websocket.send([request[:10], request[10:]])  # in two fragments
        assert msgpack_numpy.unpackb(websocket.recv())["actions"][0, 0] == 1
        websocket.send(request)
        assert websocket.ping().wait(10)
        assert msgpack_numpy.unpackb(websocket.recv())["actions"][0, 0] == 2
        websocket.send("hello")
        assert "a request is a binary message" in websocket.recv()
        websocket.send(request)
        assert msgpack_numpy.unpackb(websocket.recv())["actions"][0, 0] == 3
        websocket.close()
        assert websocket.protocol.close_rcvd.code == 1000


def test_pictures_arrive_as_they_were_sent():
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    seen = []

    class Keeping(Looking):
        def infer(self, observation):
            seen.append(observation.images["top"].pixels.copy())
            return super().infer(observation)

    with served(Keeping) as server:
        client = server.client()
        client.infer(observation(images={"top": picture}))
        client.infer(observation(images={"top": picture[::-1]}))
    np.testing.assert_array_equal(seen[0], picture)
    np.testing.assert_array_equal(seen[1], picture[::-1])


def test_an_unmasked_frame_ends_the_connection_as_the_protocol_has_it():
    with served(Counting) as server, connect(f"ws://127.0.0.1:{server.port}") as websocket:
        websocket.recv()
        websocket.socket.sendall(frame(b"x" * 10, mask=False))
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=10)
        assert closed.value.rcvd.code == 1002
        assert server.client().infer(observation())["actions"][0, 0] == 1


def test_a_client_that_does_not_wait_for_the_answer_to_its_handshake_is_served():
    request = msgpack_numpy.packb(observation())
    with served(Counting) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        handshake = (
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        whole = frame(request)
        plain.sendall(handshake.encode() + whole[:7])
        plain.sendall(whole[7:])
        received = b""
        while b"\r\n\r\n" not in received:
            received += plain.recv(65_536)
        received = received.split(b"\r\n\r\n", 1)[1]
        answers = []
        while len(answers) < 2:  # the metadata, and the actions
            while len(received) < 4 or len(received) < 4 + struct.unpack(">H", received[2:4])[0]:
                received += plain.recv(65_536)
            assert received[0] == 0x82
            length = struct.unpack(">H", received[2:4])[0]
            answers.append(msgpack_numpy.unpackb(received[4 : 4 + length]))
            received = received[4 + length :]
    assert answers[0]["action_dim"] == 2
    assert answers[1]["actions"][0, 0] == 1


def test_a_client_that_asks_a_thousand_times_and_reads_late_gets_all_answers_in_order():
    request = msgpack_numpy.packb(observation())
    with served(Counting) as server, connect(f"ws://127.0.0.1:{server.port}", max_queue=None) as websocket:
        websocket.recv()
        for _ in range(1000):
            websocket.send(request)
        numbers = [msgpack_numpy.unpackb(websocket.recv())["actions"][0, 0] for _ in range(1000)]
    assert numbers == list(range(1, 1001))
