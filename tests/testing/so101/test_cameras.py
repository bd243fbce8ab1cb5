"""The rig's cameras, over their socket."""

import json
import socket
import time

import numpy as np
import pytest

from taketwo.gl import choose_backend
from taketwo.testing.so101 import REST, RigConfig, VirtualRig, hold
from taketwo.testing.so101.cameras import FRAME_HEADER
from tests.testing.so101.support import Ticking

choose_backend()


@pytest.fixture(scope="module")
def shared():
    """One rig for all, as contexts take a while; tests put back what they change."""
    with VirtualRig(RigConfig(realtime=False, line_speed=False, latency_ms=0)) as rig:
        yield rig


@pytest.fixture
def rig(shared):
    yield shared
    faults = shared.cameras.faults
    faults.silent, faults.frozen, faults.unplugged = set(), set(), set()


class Client:
    def __init__(self, rig, **asked):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(rig.cameras.path))
        self.socket.sendall(json.dumps(asked).encode() + b"\n")
        self.stream = self.socket.makefile("rb")
        self.answer = json.loads(self.stream.readline())

    def frame(self):
        """Number, time, and pixels; None where the camera has gone."""
        header = self.stream.read(FRAME_HEADER.size)
        if len(header) < FRAME_HEADER.size:
            return None
        number, width, height, taken = FRAME_HEADER.unpack(header)
        pixels = np.frombuffer(self.stream.read(width * height * 3), np.uint8)
        return number, taken, pixels.reshape(height, width, 3)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stream.close()
        self.socket.close()


def small(camera, fps=30):
    return {"camera": camera, "width": 64, "height": 48, "fps": fps}


@pytest.mark.parametrize("camera", ["front", "top", "wrist"])
def test_a_camera_sends_pictures_of_the_scene(rig, camera):
    with Client(rig, **small(camera)) as client, Ticking(rig):
        assert client.answer == {"width": 64, "height": 48, "fps": 30}
        before = time.monotonic()
        frames = [client.frame() for _ in range(3)]
    assert [number for number, _, _ in frames] == sorted({number for number, _, _ in frames})
    for _, taken, pixels in frames:
        assert pixels.shape == (48, 64, 3)
        assert pixels.std() > 5
        assert before - 5 < taken < time.monotonic()


def test_frames_come_at_the_rate_in_the_rigs_time(rig):
    with Client(rig, **small("top", fps=50)) as client:
        for expected in range(4):
            number, _, _ = client.frame()
            assert number == expected
            rig.advance(0.02)


def test_the_picture_changes_as_the_arm_moves(rig):
    with Client(rig, **small("front")) as client:
        _, _, before = client.frame()
        rig.follower.hand = hold(np.zeros(6))
        rig.advance(2)
        pictures = [client.frame()[2]]
        rig.advance(0.1)
        pictures.append(client.frame()[2])
        assert np.abs(pictures[-1].astype(int) - before).max() > 50
    rig.follower.hand = hold(REST)
    rig.advance(2)


def test_two_clients_get_their_own_sizes(rig):
    other = {"camera": "front", "width": 32, "height": 32, "fps": 10}
    with Client(rig, **small("front")) as one, Client(rig, **other) as two, Ticking(rig):
        assert one.frame()[2].shape == (48, 64, 3)
        assert two.frame()[2].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"camera": "wrst", "width": 8, "height": 8, "fps": 5}, "Did you mean 'wrist'"),
        ({"camera": "wrist", "width": 8, "height": 8}, "not understood: 'fps'"),
        ({"camera": "wrist", "width": 0, "height": 8, "fps": 5}, "cannot do 0x8 at 5 fps"),
        ({"camera": "wrist", "width": 99999, "height": 9999, "fps": 5}, "cannot do 99999x9999"),
        ({"camera": "wrist", "width": 8, "height": 8, "fps": 0}, "at 0 fps"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(rig, asked, said):
    with Client(rig, **asked) as client:
        assert said in client.answer["error"]
        assert client.stream.read() == b""


def test_it_tells_which_cameras_there_are(rig):
    rig.cameras.faults.unplugged = {"top"}
    with Client(rig) as client:
        assert client.answer == {"cameras": ["front", "wrist"]}


def test_a_frozen_camera_sends_the_same_picture_and_new_numbers(rig):
    with Client(rig, **small("front")) as client, Ticking(rig):
        client.frame()
        rig.cameras.faults.frozen = {"front"}
        number, _, frozen = client.frame()
        rig.follower.hand = hold(np.zeros(6))
        for _ in range(10):
            later, _, pixels = client.frame()
            assert np.array_equal(pixels, frozen)
        assert later > number
        rig.follower.hand = hold(REST)


def test_a_silent_camera_sends_nothing_and_goes_on_when_it_is_over(rig):
    with Client(rig, **small("front", fps=50)) as client:
        client.frame()
        rig.cameras.faults.silent = {"front"}
        rig.advance(1.0)
        rig.cameras.faults.silent = set()
        with Ticking(rig):
            numbers = [client.frame()[0] for _ in range(3)]
        assert numbers[-1] >= 50


def test_an_unplugged_camera_goes_away_under_its_client_and_comes_back(rig):
    with Client(rig, **small("front")) as client, Ticking(rig):
        client.frame()
        rig.cameras.faults.unplugged = {"front"}
        while client.frame() is not None:
            pass
        with Client(rig, **small("front")) as refused:
            assert refused.answer == {"error": "camera 'front' is not there"}
        rig.cameras.faults.unplugged = set()
        with Client(rig, **small("front")) as again:
            assert again.frame() is not None


def test_a_client_that_reads_nothing_holds_up_neither_others_nor_the_end():
    large = {"camera": "top", "width": 640, "height": 480, "fps": 30}
    with VirtualRig(RigConfig(realtime=False)) as rig, Client(rig, **large), Client(rig, **small("front")) as client:
        with Ticking(rig):
            for _ in range(20):
                assert client.frame() is not None
        rig.close()
    assert not rig.cameras.path.exists()
