"""The real server, asked by openpi's own client and by whoever else knocks."""

import json
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from openpi_client import msgpack_numpy
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from taketwo.errors import ConfigError, PolicyError
from taketwo.serving.connection import ServedConnection
from taketwo.sockets import bound_socket
from taketwo.types import ActionChunk
from tests.serving.support import Counting, Looking, Waiting, observation, served, silent_connection

GOOD = observation(images={"top": np.full((3, 6, 8), 9, np.uint8)})


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        return response.headers["Content-Type"], response.read().decode()


def test_openpis_client_gets_metadata_and_actions():
    with served(Counting) as server:
        client = server.client()
        metadata = client.get_server_metadata()
        assert metadata["action_dim"] == 2
        assert metadata["taketwo"]["state"] == {"dim": 2, "names": ["x", "y"]}
        response = client.infer(observation())
        assert response["actions"].tolist() == [[1.0, 0.0]]
        assert {"infer_ms", "queue_ms", "batch_size"} <= response["server_timing"].keys()
        assert "prev_total_ms" in client.infer(observation())["server_timing"]


def test_state_is_kept_for_each_connection():
    with served(Counting) as server:
        one, other = server.client(), server.client()
        assert [one.infer(observation())["actions"][0, 0] for _ in range(3)] == [1, 2, 3]
        assert other.infer(observation())["actions"][0, 0] == 1
        assert one.infer(observation())["actions"][0, 0] == 4


def test_a_new_connection_begins_anew_with_a_policy_that_was_used_before():
    with served(Counting) as server:
        client = server.client()
        client.infer(observation())
        client._ws.close()
        assert server.client().infer(observation())["actions"][0, 0] == 1


def test_a_reset_reaches_the_policy_alone_and_together_with_an_observation():
    with served(Counting) as server:
        client = server.client()
        client.infer(observation())
        assert client.infer({"taketwo": {"reset": {"index": 1, "seed": 7}}}) == {}
        assert client.infer(observation())["actions"].tolist() == [[1.0, 7.0]]
        assert client.infer(observation(taketwo={"reset": {"seed": 8}}))["actions"].tolist() == [[1.0, 8.0]]


def test_each_clients_own_policy_is_closed_when_it_leaves():
    made = []

    def make():
        made.append(Counting())
        return made[-1]

    with served(make) as server:
        clients = [server.client() for _ in range(2)]
        for client in clients:
            client.infer(observation())
        for client in clients:
            client._ws.close()
    assert len(made) == 2
    assert all(policy.closed for policy in made)


def test_a_silent_client_costs_no_policy():
    made = []

    def make():
        made.append(Counting())
        return made[-1]

    with served(make) as server:
        silent = [server.client() for _ in range(5)]
        server.client().infer(observation())
        assert len(made) == 1
        assert len(silent) == 5


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"prompt": "go"}, "state is missing: 2 numbers expected; the request has prompt"),
        (observation() | {"state": np.zeros(3)}, r"state must be 2 numbers, not of shape \(3,\)"),
        (observation(x=np.nan), "state has NaN"),
        (observation() | {"state": "none"}, "state must be numbers, not a value of type str"),
        (observation(), "images.top is missing: the policy looks at the camera 'top'"),
        (observation(images={"top": np.zeros((8, 8, 3))}), "images.top must be uint8 pixels, not float64: multiply"),
        (observation(images={"top": np.zeros((8, 8), np.uint8)}), "images.top must be one picture"),
        (observation(images=3), "images must be a map, not 3"),
        (observation(prompt=7, images={"top": np.zeros((8, 8, 3), np.uint8)}), "prompt must be text, not 7"),
        (GOOD | {"taketwo": {"time_s": -1.0}}, "taketwo.time_s must be a number of seconds"),
        (GOOD | {"taketwo": {"reset": {"seed": -1}}}, "taketwo.reset.seed must be a whole number"),
        ([1, 2], "a request is a map, not a value of type list"),
    ],
)
def test_a_bad_request_is_answered_by_an_error_that_names_the_field_and_the_connection_lives_on(request_, named):
    with served(Looking) as server:
        client, other = server.client(), server.client()
        client.infer(GOOD)
        with pytest.raises(RuntimeError, match=named) as failure:
            client.infer(request_)
        assert "Traceback" not in str(failure.value)
        assert client.infer(GOOD)["actions"].tolist() == [[6.0, 9.0]]
        assert other.infer(GOOD)["actions"].tolist() == [[6.0, 9.0]]


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (b"\xc1", "not MessagePack"),
        (b"", "not MessagePack"),
        ("a text", "a request is a binary message"),
        (b"\x81\xa1a", "not MessagePack"),
    ],
)
def test_what_is_no_request_at_all_is_told_so_and_the_connection_lives_on(message, named):
    with served(Counting) as server, connect(f"ws://127.0.0.1:{server.port}") as socket:
        socket.recv()
        socket.send(message)
        assert named in socket.recv()
        socket.send(msgpack_numpy.packb(observation()))
        assert msgpack_numpy.unpackb(socket.recv())["actions"][0, 0] == 1


def test_a_message_that_is_too_large_is_told_so_and_the_connection_lives_on():
    with served(Counting, max_request_bytes=1_000_000) as server:
        client, other = server.client(), server.client()
        with pytest.raises(RuntimeError, match=r"a request of 3 MB is too large: 1 MB are allowed"):
            client.infer(observation(images={"top": np.zeros((1000, 1000, 3), np.uint8)}))
        assert client.infer(observation())["actions"][0, 0] == 1
        assert other.infer(observation())["actions"][0, 0] == 1


def test_a_message_far_beyond_that_ends_its_connection_and_no_other():
    with served(Counting, max_request_bytes=1_000_000) as server:
        client, other = server.client(), server.client()
        with pytest.raises(ConnectionClosed) as closed:
            client.infer(observation(images={"top": np.zeros((2000, 1000, 3), np.uint8)}))
        assert closed.value.rcvd.code == 1009
        assert other.infer(observation())["actions"][0, 0] == 1


class Failing(Counting):
    def infer(self, observation):
        if observation.state[0] > 0:
            raise ZeroDivisionError("no way")
        return super().infer(observation)


class OfWrongShape(Counting):
    def infer(self, observation):
        return ActionChunk(np.zeros((3, 5)))


def test_a_policy_that_fails_on_one_request_answers_the_next():
    with served(Failing) as server:
        client = server.client()
        with pytest.raises(RuntimeError, match="the policy failed: ZeroDivisionError: no way"):
            client.infer(observation(x=1.0))
        assert client.infer(observation())["actions"][0, 0] == 1


def test_actions_of_a_wrong_shape_are_not_passed_on():
    with served(OfWrongShape) as server, pytest.raises(RuntimeError, match=r"action chunk is \(3, 5\); the env"):
        server.client().infer(observation())


class Overflows(Counting):
    def infer(self, observation):
        return ActionChunk(np.array([[0.0, np.inf]]))


def test_an_action_that_is_no_number_is_named():
    with served(Overflows) as server, pytest.raises(RuntimeError, match="NaN or infinite values in dy; they must be"):
        server.client().infer(observation())


def test_others_connect_and_are_answered_health_while_a_model_compiles():
    policy = Waiting()
    with served(lambda: policy) as server, connect(f"ws://127.0.0.1:{server.port}") as socket:
        socket.recv()
        socket.send(msgpack_numpy.packb(observation()))
        assert policy.asked.wait(10)
        assert get(f"{server.url}/healthz")[1] == "OK\n"
        assert server.client().get_server_metadata()["action_dim"] == 2
        assert socket.ping().wait(10)  # a keep-alive ping is answered meanwhile
        policy.may_answer.set()
        assert msgpack_numpy.unpackb(socket.recv())["actions"][0, 0] == 1


def test_metrics_count_requests_errors_and_clients():
    with served(Counting) as server:
        client = server.client()
        for _ in range(3):
            client.infer(observation())
        with pytest.raises(RuntimeError):
            client.infer({})
        kind, text = get(f"{server.url}/metrics")
        assert kind.startswith("text/plain; version=")
        assert 'taketwo_requests_total{outcome="answered"} 3.0' in text
        assert 'taketwo_requests_total{outcome="request_error"} 1.0' in text
        assert "taketwo_clients 1.0" in text
        assert 'taketwo_request_seconds_bucket{le="+Inf"} 3.0' in text
        assert "taketwo_batch_size_sum 3.0" in text


def test_an_api_key_is_asked_for_and_compared():
    with served(Counting, api_key="secret") as server:
        assert server.client(api_key="secret").infer(observation())["actions"][0, 0] == 1
        for key in (None, "wrong", "secre", "secret2"):
            with pytest.raises(InvalidStatus) as refused:
                server.client(api_key=key)
            assert refused.value.response.status_code == 401
        assert get(f"{server.url}/healthz")[1] == "OK\n"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            get(f"{server.url}/metrics")
        assert "taketwo_clients" in get(f"{server.url}/metrics", Authorization="Api-Key secret")[1]


def test_a_client_too_many_is_refused_until_another_has_gone():
    with served(Counting, max_clients=2) as server:
        clients = [server.client() for _ in range(2)]
        with pytest.raises(InvalidStatus) as refused:
            server.client()
        assert refused.value.response.status_code == 503
        clients[0]._ws.close()
        for _ in range(100):
            try:
                server.client().infer(observation())
                break
            except InvalidStatus:
                continue
        else:
            raise AssertionError("the place that became free is not given away")


def test_two_hundred_connections_that_say_nothing_leave_the_server_as_it_is():
    with served(Counting) as server:
        silent = [silent_connection(server.port) for _ in range(200)]
        assert server.client().infer(observation())["actions"][0, 0] == 1
        for socket in silent:
            socket.close()
        assert server.client().infer(observation())["actions"][0, 0] == 1


def test_two_hundred_clients_that_say_nothing_leave_the_server_as_it_is():
    with served(Counting) as server:
        silent = [connect(f"ws://127.0.0.1:{server.port}") for _ in range(200)]
        assert server.client().infer(observation())["actions"][0, 0] == 1
        for socket in silent:
            socket.close()
        assert get(f"{server.url}/healthz")[1] == "OK\n"


def test_garbage_on_the_port_is_no_trouble_for_others():
    with served(Counting) as server:
        socket = silent_connection(server.port)
        socket.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        socket.close()
        assert server.client().infer(observation())["actions"][0, 0] == 1


def test_an_occupied_port_is_told_before_anything_is_loaded():
    with served(Counting) as server, pytest.raises(ConfigError, match=f"port {server.port} on 127.0.0.1 cannot be"):
        bound_socket("127.0.0.1", server.port)


def test_a_foreign_address_is_told():
    with pytest.raises(ConfigError, match=r"cannot be used|no address of this machine"):
        bound_socket("192.0.2.1", 0)


def test_what_the_policy_raises_while_it_is_made_comes_through():
    def make():
        raise PolicyError("no such checkpoint")

    with pytest.raises(PolicyError, match="no such checkpoint"), served(make):
        pass


def test_metadata_is_plain_enough_for_json():
    with served(Looking) as server:
        told = server.client().get_server_metadata()["taketwo"]
        assert told["cameras"] == ["top"]
        assert told["layout"]["mapping"] == {"state": "state[0:2]", "prompt": "prompt", "images.top": "images.top"}
        json.dumps(told["layout"])


def test_a_client_without_a_clock_is_taken_to_execute_its_chunks_whole():
    times = []

    class Timed(Counting):
        def infer(self, observation):
            times.append(observation.time_s)
            return ActionChunk(np.zeros((5, 2)))

    with served(Timed) as server:
        client = server.client()
        for _ in range(3):
            client.infer(observation())
        client.infer(observation(taketwo={"time_s": 9.0}))
        client.infer({"taketwo": {"reset": {"seed": 1}}})
        client.infer(observation())
    assert times == [0.0, 0.5, 1.0, 9.0, 0.0]


class Giving(Counting):
    """Answers whatever it is told to."""

    def __init__(self, answer):
        super().__init__()
        self._answer = answer

    def infer(self, observation):
        return self._answer() if observation.state[0] else super().infer(observation)


class Nameless(Exception):
    def __str__(self):
        raise RuntimeError("I do not know")


def raising(error):
    def answer():
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        lambda: None,
        lambda: ActionChunk(np.array([["a", "b"]])),
        lambda: ActionChunk(np.array([[None, {}]], object)),
        lambda: ActionChunk([[1.0], [1.0, 2.0]]),
        lambda: ActionChunk(np.zeros((1, 2)), embedding=np.array([object()])),
        lambda: ActionChunk(np.zeros((1, 2)), timings_ms={"a": object()}),
        raising(StopIteration()),
        raising(SystemExit(3)),
        raising(Nameless()),
        raising(MemoryError()),
    ],
)
def test_whatever_a_policy_does_its_client_is_told_in_one_line_and_answered_the_next_time(answer):
    with served(lambda: Giving(answer)) as server:
        client = server.client()
        with pytest.raises(RuntimeError, match="the policy failed: ") as failure:
            client.infer(observation(x=1.0))
        assert len(str(failure.value).splitlines()) == 2  # openpi's own words, and ours
        assert client.infer(observation())["actions"].shape == (1, 2)


def test_what_a_client_asked_before_it_went_does_not_reach_the_policy_of_the_next():
    policy = Waiting()
    begun = []
    policy.reset = lambda episode: begun.append(episode.seed)
    with served(lambda: policy) as server:
        with connect(f"ws://127.0.0.1:{server.port}") as first:
            first.recv()
            first.send(msgpack_numpy.packb(observation()))
            assert policy.asked.wait(10)
            first.send(msgpack_numpy.packb({"taketwo": {"reset": {"seed": 77}}}))
            first.send(msgpack_numpy.packb(observation()))
        second = server.client()
        policy.may_answer.set()
        second.infer(observation(taketwo={"reset": {"seed": 5}}))
        second.infer(observation())
        text = get(f"{server.url}/metrics")[1]
    assert begun == [0, 5]
    assert "taketwo_requests_in_progress 0.0" in text
    assert 'taketwo_requests_total{outcome="policy_error"} 0.0' in text


def test_a_client_that_goes_while_its_policy_is_made_leaves_none_behind():
    made, go_on = [], threading.Event()

    def make():
        if made:
            assert go_on.wait(10)
        made.append(Counting())
        return made[-1]

    with served(make) as server:
        server.client().infer(observation())
        with connect(f"ws://127.0.0.1:{server.port}") as second:
            second.recv()
            second.send(msgpack_numpy.packb(observation()))
            assert second.ping().wait(10)
        go_on.set()
        deadline = time.monotonic() + 10
        while (len(made) < 2 or not made[1].closed) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert made[1].closed


def test_control_characters_of_a_client_do_not_reach_the_log(caplog):
    with served(Looking) as server, pytest.raises(RuntimeError):
        server.client().infer(observation(images={"top": "\x1b[2J"}, taketwo={"extras": "\x1b]0;x\x07"}))
    assert "\x1b" not in caplog.text
    failing = Giving(raising(ValueError("\x1b[2J")))
    with served(lambda: failing) as server, pytest.raises(RuntimeError, match=r"x1b\[2J"):
        server.client().infer(observation(x=1.0))
    assert "\x1b" not in caplog.text


def test_a_server_ends_within_seconds_whatever_its_clients_and_its_policy_do():
    policy = Waiting()
    began = time.monotonic()
    with served(lambda: policy) as server:
        silent = silent_connection(server.port)
        with connect(f"ws://127.0.0.1:{server.port}") as quiet, connect(f"ws://127.0.0.1:{server.port}") as asking:
            quiet.recv()
            asking.recv()
            asking.send(msgpack_numpy.packb(observation()))
            assert policy.asked.wait(10)
            server.server.stop()
            server.thread.join(15)
            assert not server.thread.is_alive()
    policy.may_answer.set()
    silent.close()
    assert time.monotonic() - began < 20


def test_who_has_got_an_answer_finds_it_counted(monkeypatch):
    answer = ServedConnection.answer

    def slowly(connection, data):
        answer(connection, data)
        time.sleep(0.2)  # the client has the answer, and the thread that sent it has not gone on

    monkeypatch.setattr(ServedConnection, "answer", slowly)
    with served(Counting) as server:
        server.client().infer(observation())
        text = get(f"{server.url}/metrics")[1]
    assert "taketwo_requests_in_progress 0.0" in text
    assert 'taketwo_requests_total{outcome="answered"} 1.0' in text
