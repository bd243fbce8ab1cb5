"""The websocket of the page."""

import json
import struct

import pytest
from websockets.exceptions import ConnectionClosed

from taketwo.types import Decision, FailureEstimate
from tests.live.support import COLOURS, PATIENCE_S, Still, Wide, live, pixels, showing, until


class Listener:
    """A page that sorts what it is told."""

    def __init__(self, socket):
        self._socket = socket

    def next(self, kind, such=lambda told: True):
        while True:
            message = self._socket.recv(timeout=PATIENCE_S)
            told = frame(message) if isinstance(message, bytes) else json.loads(message)
            if told["type"] == kind and such(told):
                return told

    def watch(self, *cameras):
        self._socket.send(json.dumps({"watch": cameras}))


def frame(message):
    (length,) = struct.unpack(">I", message[:4])
    return {"type": "frame", **json.loads(message[4 : 4 + length]), "jpeg": message[4 + length :]}


def test_the_first_message_is_the_state():
    with showing() as opened, opened.events() as socket:
        told = json.loads(socket.recv())
        assert told.pop("type") == "state"
        assert told.keys() == opened.state().keys()
        assert told["session"]["environment"] == "point"


def test_nothing_is_watched_until_it_says_so_and_only_what_it_says():
    with showing(Wide()) as opened, opened.events() as socket:
        listener = Listener(socket)
        listener.next("state", lambda told: told["episode"] and told["episode"]["step"] > 20)
        assert not opened.session.environment.made_of
        listener.watch("angle", "wrist/left")
        seen = {}
        while len(seen) < 2:
            told = listener.next("frame")
            seen[told["camera"]] = told
        for name, told in seen.items():
            assert abs(pixels(told["jpeg"]).mean((0, 1)) - COLOURS[name]).max() < 4
            assert told["time"] == pytest.approx(told["frame"] / 50)
        assert set(opened.session.environment.made_of) == {"angle", "wrist/left"}


def test_a_picture_is_sent_once_to_each():
    with showing() as opened, opened.events() as socket:
        listener = Listener(socket)
        listener.watch("top")
        numbers = [listener.next("frame")["frame"] for _ in range(40)]
        assert numbers == sorted(set(numbers))


def test_a_hidden_page_has_nothing_rendered_and_is_told_all_else():
    with showing() as opened, opened.events() as socket:
        listener = Listener(socket)
        listener.watch("top")
        listener.next("frame")
        listener.watch()
        until(lambda: not opened.page.sink._audience.watched)
        step = listener.next("state")["episode"]["step"]
        listener.next("state", lambda told: told["episode"]["step"] > step + 5)
        made = opened.session.environment.pictures_made
        listener.next("state", lambda told: told["episode"]["step"] > step + 40)
        assert opened.session.environment.pictures_made == made


def test_names_that_are_no_cameras_are_no_harm():
    with showing(Wide()) as opened, opened.events() as socket:
        listener = Listener(socket)
        listener.watch("no such camera", "top")
        assert listener.next("frame")["camera"] == "top"
        assert opened.state()["frames_encoded"]["top"] > 0


def test_samples_come_along_the_sessions_time_at_most_25_a_second():
    with showing() as opened, opened.events() as socket:
        listener = Listener(socket)
        times, batches = [], 0
        while not times or times[-1] < 1.5:
            told = listener.next("samples")
            assert len(told["time"]) == len(told["episode"]) == len(told["action"]) == len(told["state"])
            assert set(told["p_fail"]) == set(told["high"]) == set(told["low"]) == {None}
            assert set(map(tuple, told["action"])) == {(0.25, -0.5)}
            times += told["time"]
            batches += 1
        assert times == sorted(set(times))
        assert 10 * 1.4 < len(times) <= 25 * 1.7 + 2
        assert batches < 25


def test_who_comes_late_gets_the_past_and_then_the_same_as_all():
    with showing() as opened:
        until(lambda: len(opened.session.keep.steps) > 50)
        with opened.events() as first, opened.events() as second:
            batches = [Listener(socket).next("samples") for socket in (first, second)]
            for told in batches:
                assert told["time"][0] == 0.0 and told["time"][-1] > 0.8


def test_joined_episodes_lie_on_one_axis():
    with showing() as opened, opened.events() as socket:
        listener = Listener(socket)
        listener.next("samples")
        opened.commands.end_episode()
        told = listener.next("samples", lambda told: 1 in told["episode"])
        begin = told["episode"].index(1)
        first_frame = opened.state()["episodes"][0]["frames"]
        assert told["time"][begin] == pytest.approx(first_frame / 50, abs=0.05)


def test_what_a_monitor_says_is_told():
    class Monitored(Still):
        def decide(self, observation):
            decision = super().decide(observation)
            return Decision(decision.asked, decision.sent, failure=FailureEstimate(0.25, 0.75, 0.5))

    with showing(controller=Monitored()) as opened, opened.events() as socket:
        told = Listener(socket).next("samples")
        assert (told["p_fail"][0], told["high"][0], told["low"][0]) == (0.25, 0.75, 0.5)


def test_an_intervention_is_told_also_to_who_comes_later():
    with showing() as opened, opened.events() as socket:
        listener = Listener(socket)
        listener.next("samples")
        opened.command("intervene")
        told = listener.next("intervention")
        assert (told["kind"], told["episode"]) == ("retry", 0)
        assert told["reason"] == "asked for by the operator"
        assert 0 < told["time"] < 60
        with opened.events() as late:
            assert Listener(late).next("intervention") == told


@pytest.mark.parametrize(
    ("do", "such"),
    [
        (lambda opened: opened.commands.mark(True), lambda told: told["episode"]["marked"] == "success"),
        (lambda opened: opened.commands.pause(), lambda told: told["session"]["status"] == "paused"),
        (lambda opened: opened.commands.end_episode(), lambda told: (told["episode"] or {}).get("index") == 1),
        (lambda opened: opened.command("set_prompt", prompt="new"), lambda told: told["prompt"]["text"] == "new"),
    ],
    ids=["marks", "pause", "episode", "prompt"],
)
def test_a_change_is_told(do, such):
    with showing() as opened, opened.events() as socket:
        listener = Listener(socket)
        listener.next("state")
        do(opened)
        listener.next("state", such)


def test_the_end_is_told_before_the_page_closes():
    with live() as opened:
        with opened.events() as socket:
            listener = Listener(socket)
            listener.next("state")
            opened.page.close()
            assert listener.next("state", lambda told: told["session"]["status"] == "ended")
            with pytest.raises(ConnectionClosed) as caught:
                listener.next("never")
        assert caught.value.rcvd.code == 1001
        assert caught.value.rcvd.reason == "the session has ended"


@pytest.mark.parametrize(
    "message",
    ["", "{", "[]", "null", '{"watch": 3}', '{"watch": [3]}', '{"watch": ["top"], "more": 1}', "[" * 10_000,
     '{"watch": [' + '"a",' * 100 + '"a"]}', '{"watch": ["' + "a" * 1000 + '"]}', b"top"],
)  # fmt: skip
def test_what_is_not_understood_ends_the_connection_with_a_reason(message):
    with showing() as opened, opened.events() as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                socket.recv(timeout=PATIENCE_S)
        assert caught.value.rcvd.code == 1008
        assert caught.value.rcvd.reason.startswith("not understood: ")
        until(lambda: opened.state()["viewers"] == 0)


def test_a_message_that_is_too_long_ends_the_connection():
    with showing() as opened, opened.events() as socket:
        socket.send("x" * 20_000)
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                socket.recv(timeout=PATIENCE_S)
        assert caught.value.rcvd.code == 1009
        until(lambda: opened.state()["viewers"] == 0)
