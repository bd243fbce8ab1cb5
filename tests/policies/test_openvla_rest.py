"""A client of OpenVLA's REST server: what it sends, what it makes of the answers, and what it says of a bad server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from taketwo.control.checking import CheckedPolicy
from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.base import ReadsPrompt, ReportsOutages
from taketwo.policies.openvla_rest import OpenVLARestConfig, OpenVLARestPolicy
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import CameraSpec, EnvironmentSpec, Image, Observation
from tests.policies.openvla_support.rest_server import Die, Raw, RestServer, Status, ThenHangUp, in_turn, serving

ACTION = np.array([0.1, -0.2, 0.3, 0.01, -0.02, 0.03, 0.996])
QUICK: dict[str, Any] = {"connect_timeout_s": 5.0, "reconnect_timeout_s": 5.0}


def spec() -> EnvironmentSpec:
    return EnvironmentSpec(
        name="bench",
        action_names=("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
        action_units=("m",) * 3 + ("rad",) * 3 + ("normalized",),
        action_low=np.full(7, -1.0),
        action_high=np.full(7, 1.0),
        state_names=("x",),
        control_hz=5.0,
        cameras={"agentview": CameraSpec(96, 128), "wrist": CameraSpec(96, 128)},
    )


def observation(prompt: str | None = "Pick up the Cube") -> Observation:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return Observation(state=np.zeros(1), images={"agentview": Image.of(pixels)}, prompt=prompt)


def client(server: RestServer, **options: Any) -> OpenVLARestPolicy:
    return OpenVLARestConfig(port=server.port, **(QUICK | options)).make(spec())


def error_of(answer: Any, **options: Any) -> str:
    """The one line that an answer leads to, with the server's address as SERVER."""
    with serving(in_turn(answer)) as server:
        policy = client(server, **options)
        try:
            with pytest.raises(PolicyError) as caught:
                policy.infer(observation())
        finally:
            policy.close()
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"http://127.0.0.1:{server.port}/act", "SERVER")


@pytest.mark.parametrize("double_encode", [False, True])
def test_picture_and_instruction_go_out_and_an_action_comes_back(double_encode: bool) -> None:
    with serving(in_turn(ACTION)) as server:
        policy = client(server, double_encode=double_encode, unnorm_key="bridge_orig")
        chunk = policy.infer(observation())
        policy.close()
        (request,) = server.requests
    assert request.keys() == {"image", "instruction", "unnorm_key"}
    assert (request["instruction"], request["unnorm_key"]) == ("Pick up the Cube", "bridge_orig")
    assert request["image"].dtype == np.uint8
    np.testing.assert_array_equal(request["image"], policy._conventions.picture(observation()))
    assert request["image"].shape == (224, 224, 3)
    np.testing.assert_array_equal(chunk.actions, ACTION[None])
    assert chunk.actions.dtype == np.float64 and chunk.actions.flags.writeable
    assert chunk.timings_ms["round_trip_ms"] > 0


def test_without_a_key_none_is_sent() -> None:
    with serving(in_turn(ACTION)) as server:
        policy = client(server)
        policy.infer(observation())
        policy.close()
        assert server.requests[0].keys() == {"image", "instruction"}


def test_the_gripper_follows_the_convention() -> None:
    with serving(in_turn(ACTION.astype(np.float32))) as server:
        policy = client(server, gripper="libero")
        chunk = policy.infer(observation())
        policy.close()
    np.testing.assert_allclose(chunk.actions[0, :6], ACTION[:6], rtol=1e-6)
    assert chunk.actions[0, 6] == -1.0


def test_one_connection_serves_many_requests() -> None:
    with serving(in_turn(ACTION)) as server:
        policy = client(server)
        for _ in range(5):
            policy.infer(observation())
        policy.close()
        assert (len(server.requests), server.connections) == (5, 1)


def test_a_connection_that_the_server_closed_while_idle_is_replaced_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(in_turn(ThenHangUp(ACTION), ACTION)) as server:
        policy = client(server, reconnect_timeout_s=0.0)
        policy.infer(observation())
        policy.infer(observation())
        policy.close()
        assert server.connections == 2
    assert not caplog.records


def test_it_reads_prompts_and_has_none_of_its_own() -> None:
    with serving(in_turn(ACTION)) as server:
        policy = client(server)
        assert isinstance(policy, ReadsPrompt)
        assert policy.own_prompt is None
        for prompt in (None, "", " "):
            with pytest.raises(PolicyError, match="give --prompt"):
                policy.infer(observation(prompt))
        policy.close()
        assert server.requests == []


def test_it_keeps_the_policy_contract() -> None:
    environment = PointEnvironment()
    dim = environment.spec.action_dim

    def steer(request: dict[str, Any]) -> Any:
        return np.full(dim, request["image"].mean() / 255 - 0.5)

    with serving(steer) as server:
        config = OpenVLARestConfig(port=server.port, camera=next(iter(environment.spec.cameras)))
        policy = config.make(environment.spec)

        class Told:  # the tiny environment has no prompt
            cameras = policy.cameras
            reset, close = policy.reset, policy.close

            def infer(self, seen: Observation) -> Any:
                return policy.infer(Observation(seen.state, seen.images, "go", seen.extras, seen.time_s))

        check_policy(Told(), environment)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "error",
            "the policy server at SERVER failed, and says why in its own log alone: often --policy.unnorm_key is "
            "missing or not one that its checkpoint knows",
        ),
        (
            Status(500, b"Internal Server Error"),
            "the policy server at SERVER answered 500 Internal Server Error; it says: Internal Server Error",
        ),
        (
            Status(422, b'{"detail": "x"}'),
            "the policy server at SERVER answered 422 Unprocessable Entity (is it OpenVLA's deploy.py?); "
            'it says: {"detail": "x"}',
        ),
        (Raw(b"{}"), "the policy server at SERVER sent a dict, not an array of numbers"),
        (Raw(b"null"), "the policy server at SERVER sent a NoneType, not an array of numbers"),
        (np.zeros((1, 2, 7)), "the policy server at SERVER sent an array of float64, shape (1, 2, 7), not an action"),
        (np.zeros(0), "the policy server at SERVER sent an array of float64, shape (0,), not an action"),
        (np.zeros(7, bool), "the policy server at SERVER sent an array of bool, shape (7,), not an action"),
        (
            Raw(b'{"__numpy__": "gASVAA==", "dtype": "|O8", "shape": [1]}'),
            "the policy server at SERVER sent an unreadable answer: an array of dtype '|O8': only bool, integers and "
            "floats are allowed",
        ),
    ],
)
def test_answers_that_are_no_action_are_told_in_a_line(answer: Any, message: str) -> None:
    assert error_of(answer) == message


def test_an_answer_that_is_not_json_is_told() -> None:
    assert error_of(Raw(b"<html>")).startswith("the policy server at SERVER sent an unreadable answer: ")


def test_an_error_of_a_doubly_encoded_request_is_told_too() -> None:
    assert "--policy.unnorm_key" in error_of("error", double_encode=True)


def test_an_answer_without_end_is_cut_off() -> None:
    assert error_of(Raw(b" " * (17 * 2**20))) == "the policy server at SERVER sent more than 16 MiB"


def test_an_action_of_another_size_is_refused_as_that_of_any_policy() -> None:
    with serving(in_turn(np.zeros(8))) as server:
        policy = CheckedPolicy(client(server), spec())
        with pytest.raises(PolicyError, match=r"action chunk is \(1, 8\); the environment 'bench' takes 7 values"):
            policy.infer(observation())
        policy.close()


def test_a_path_that_the_server_does_not_know_is_told() -> None:
    with serving(in_turn(ACTION)) as server:
        config = OpenVLARestConfig(host=f"http://127.0.0.1:{server.port}/elsewhere", **QUICK)
        policy = config.make(spec())
        with pytest.raises(PolicyError, match=r"/elsewhere/act answered 404 Not Found \(is it OpenVLA's deploy.py\?"):
            policy.infer(observation())
        policy.close()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_dead_server_is_told_when_the_policy_is_made() -> None:
    config = OpenVLARestConfig(port=unused_port(), connect_timeout_s=0.3)
    with pytest.raises(PolicyError, match=r"no policy server answers at http://127.0.0.1:.*connection refused; start"):
        config.make(spec())


def test_a_server_that_starts_late_is_waited_for() -> None:
    port = unused_port()
    server: list[RestServer] = []

    def start() -> None:
        server.append(RestServer(in_turn(ACTION), port))
        server[0].start()

    timer = threading.Timer(0.3, start)
    timer.start()
    policy = OpenVLARestConfig(port=port, connect_timeout_s=20.0).make(spec())
    np.testing.assert_array_equal(policy.infer(observation()).actions, ACTION[None])
    policy.close()
    server[0].stop()


def silent(server: list[RestServer]) -> Callable[[dict[str, Any]], Any]:
    def wait(request: dict[str, Any]) -> Any:
        server[0].released.wait(60)
        return ACTION

    return wait


@pytest.mark.parametrize("warm", [False, True])
def test_a_silent_server_is_given_up_with_the_option_that_counts(warm: bool) -> None:
    held: list[RestServer] = []
    answers: list[Any] = [lambda request: ACTION] if warm else []

    def answer(request: dict[str, Any]) -> Any:
        return answers.pop()(request) if answers else silent(held)(request)

    with serving(answer) as server:
        held.append(server)
        limits = {"first_infer_timeout_s": 20.0, "infer_timeout_s": 0.2}
        policy = client(server, **(limits if warm else {"first_infer_timeout_s": 0.2}))
        if warm:
            policy.infer(observation())
        option = "infer_timeout_s" if warm else "first_infer_timeout_s"
        with pytest.raises(PolicyError, match=rf"gave no answer within 0.2 s; raise --policy\.{option} if"):
            policy.infer(observation())
        policy.close()


def test_after_a_late_answer_the_next_request_gets_its_own() -> None:
    held: list[RestServer] = []
    late = threading.Event()

    def answer(request: dict[str, Any]) -> Any:
        if not late.is_set():
            late.set()
            held[0].released.wait(0.6)
            return ACTION * 0
        return ACTION

    with serving(answer) as server:
        held.append(server)
        policy = client(server, first_infer_timeout_s=0.3)
        with pytest.raises(PolicyError, match="no answer within"):
            policy.infer(observation())
        np.testing.assert_array_equal(policy.infer(observation()).actions, ACTION[None])
        policy.close()


def test_closing_ends_an_inference_that_waits() -> None:
    held: list[RestServer] = []
    asked = threading.Event()
    caught: list[BaseException] = []

    def answer(request: dict[str, Any]) -> Any:
        asked.set()
        return silent(held)(request)

    with serving(answer) as server:
        held.append(server)
        policy = client(server)

        def infer() -> None:
            try:
                policy.infer(observation())
            except BaseException as error:  # noqa: BLE001 - looked at below
                caught.append(error)

        thread = threading.Thread(target=infer)
        thread.start()
        assert asked.wait(10)
        policy.close()
        thread.join(10)
        assert not thread.is_alive()
        with pytest.raises(PolicyError, match="was closed"):
            policy.infer(observation())
        policy.close()
    assert isinstance(caught[0], PolicyError)
    assert "was closed" in str(caught[0])


def test_closing_ends_the_waiting_for_a_server_that_is_gone() -> None:
    with serving(in_turn(ACTION)) as server:
        policy = client(server, reconnect_timeout_s=60.0)
        policy.infer(observation())
    waiting = threading.Timer(0.3, policy.close)
    waiting.start()
    with pytest.raises(PolicyError, match="was closed"):
        policy.infer(observation())


def test_a_server_that_was_started_again_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    with serving(in_turn(ACTION)) as server:
        policy = client(server, reconnect_timeout_s=20.0)
        policy.infer(observation())
    second: list[RestServer] = []

    def start() -> None:
        second.append(RestServer(in_turn(ACTION * 2), server.port))
        second[0].start()

    timer = threading.Timer(0.3, start)
    timer.start()
    np.testing.assert_array_equal(policy.infer(observation()).actions, ACTION[None] * 2)
    policy.close()
    second[0].stop()
    assert isinstance(policy, ReportsOutages)
    assert len(policy.outages_s) == 1 and policy.outages_s[0] > 0
    assert "connecting again" in caplog.text
    assert "connected to http://127.0.0.1" in caplog.text


def test_a_request_that_breaks_the_server_each_time_is_not_sent_for_ever() -> None:
    with serving(in_turn(Die())) as server:
        policy = client(server)
        with pytest.raises(PolicyError, match="was lost 3 times"):
            policy.infer(observation())
        policy.close()
        assert len(server.requests) == 3


def test_without_time_to_reconnect_a_lost_server_is_the_end() -> None:
    with serving(in_turn(ACTION)) as server:
        policy = client(server, reconnect_timeout_s=0.0)
        policy.infer(observation())
    with pytest.raises(PolicyError, match=r"was lost: connection (refused|reset by peer)"):
        policy.infer(observation())
    policy.close()


def test_a_server_that_does_not_speak_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"220 mail\r\n\r\n")
                connection.recv(2**22)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        policy = OpenVLARestConfig(port=listener.getsockname()[1], **QUICK).make(spec())
        with pytest.raises(PolicyError, match="does not speak HTTP: 220 mail"):
            policy.infer(observation())
        policy.close()


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("robot", None, "http://robot:8000/act"),
        ("robot:9000", None, "http://robot:9000/act"),
        ("::1", 9000, "http://[::1]:9000/act"),
        ("http://robot", None, "http://robot:80/act"),
        ("https://x.example/vla/", None, "https://x.example:443/vla/act"),
        ("https://x.example/act", 8443, "https://x.example:8443/act"),
    ],
)
def test_addresses_are_read_as_people_write_them(host: str, port: int | None, expected: str) -> None:
    assert str(OpenVLARestConfig(host=host, port=port).endpoint) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "ftp://robot"}, "host must be a name"),
        ({"host": "http://me:secret@robot"}, "host must not hold a user or a password"),
        ({"host": "a b"}, "host "),
        ({"host": "robot:9000", "port": 8000}, "contradict"),
        ({"host": "http://robot/höhle"}, "has letters in its path that a URL cannot have: write them as %XX"),
        ({"port": 0}, "port must be from 1 to 65535, not 0"),
        ({"infer_timeout_s": 0.0}, "infer_timeout_s must be"),
        ({"reconnect_timeout_s": -1.0}, "reconnect_timeout_s must be"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenVLARestConfig(**options)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
