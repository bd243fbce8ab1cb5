"""The remote policy talks to openpi's servers, and says in one line what is wrong with a server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from taketwo.control.checking import CheckedPolicy
from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.base import POLICIES, Policy
from taketwo.policies.remote import RemoteConfig, RemotePolicy
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import ActionChunk, EpisodeInfo, Observation
from tests.policies.test_layouts import observation, spec
from tests.support_server import (
    CloseAtOnce,
    Die,
    Hang,
    LoopbackServer,
    Raw,
    actions_like,
    free_port,
    in_turn,
    reset_answers,
    serving,
)

# openpi-client 0.1.2 connects in a way that websockets 17 advises against.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")

ACTION = np.linspace(-1, 1, 14)
OK = actions_like(ACTION)
QUICK: dict[str, Any] = {"connect_timeout_s": 5.0, "reconnect_timeout_s": 5.0}


def remote(server: LoopbackServer, **options: Any) -> RemotePolicy:
    return RemoteConfig(port=server.port, **(QUICK | options)).make(spec())


def ask(policy: Policy) -> ActionChunk:
    return policy.infer(observation(spec()))


def error_of(infer: Any, **options: Any) -> str:
    """The one line that a server's first answer leads to, with its address as SERVER."""
    with serving(infer) as server:
        policy = remote(server, **options)
        try:
            with pytest.raises(PolicyError) as caught:
                ask(policy)
        finally:
            policy.close()
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"ws://127.0.0.1:{server.port}", "SERVER")


def error_of_making(server: LoopbackServer, **options: Any) -> str:
    with pytest.raises(PolicyError) as caught:
        remote(server, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"ws://127.0.0.1:{server.port}", "SERVER")


def test_openpis_own_client_is_served_by_the_test_server() -> None:
    with serving(OK, metadata={"reset_pose": [0.0]}) as server:
        client = WebsocketClientPolicy("127.0.0.1", server.port)
        response = client.infer({"state": np.ones(14)})
        assert client.get_server_metadata() == {"reset_pose": [0.0]}
        np.testing.assert_array_equal(response["actions"], np.tile(ACTION, (5, 1)))


def test_a_request_arrives_as_openpis_own_client_sends_it() -> None:
    shown = observation(spec())
    with serving(OK) as server:
        policy = remote(server)
        policy.infer(shown)
        policy.close()
        sent = policy._layout.request(shown)
        WebsocketClientPolicy("127.0.0.1", server.port).infer(sent)
        ours, theirs = server.requests
    assert ours.keys() == theirs.keys() == {"state", "images", "prompt"}
    np.testing.assert_array_equal(ours["state"], theirs["state"])
    np.testing.assert_array_equal(ours["images"]["cam_high"], theirs["images"]["cam_high"])
    assert ours["images"]["cam_high"].dtype == np.uint8


def test_the_answer_becomes_a_chunk() -> None:
    answer = {
        "actions": np.arange(28, dtype=np.float32).reshape(2, 14),
        "embedding": np.ones((3, 4), np.float16),
        "policy_timing": {"infer_ms": np.float32(12.5)},
        "taketwo": {"prompt_used": "Transfer cube", "prompt_source": "observation"},
    }
    with serving(in_turn(answer)) as server:
        policy = remote(server)
        chunk = ask(policy)
        policy.close()
    assert chunk.actions.dtype == np.float64
    np.testing.assert_array_equal(chunk.actions, np.arange(28.0).reshape(2, 14))
    assert chunk.embedding is not None
    assert chunk.embedding.shape == (3, 4)
    assert (chunk.prompt_used, chunk.prompt_source) == ("Transfer cube", "observation")
    assert chunk.timings_ms["model_ms"] == 12.5
    assert 0 <= chunk.timings_ms["infer_ms"] <= chunk.timings_ms["round_trip_ms"]


def test_a_plain_server_tells_neither_prompt_nor_embedding() -> None:
    with serving(OK) as server:
        policy = remote(server)
        chunk = ask(policy)
        policy.close()
    assert chunk.embedding is chunk.prompt_used is chunk.prompt_source is None


def test_actions_can_be_written_to() -> None:
    with serving(OK) as server:
        policy = remote(server)
        chunk = ask(policy)
        policy.close()
    chunk.actions[0] = 0
    assert not chunk.actions[0].any()


def test_a_single_action_is_a_chunk_of_one() -> None:
    with serving(in_turn({"actions": ACTION.tolist()})) as server:
        policy = remote(server)
        assert ask(policy).actions.shape == (1, 14)
        policy.close()


def test_it_keeps_the_policy_contract() -> None:
    def steer(request: dict[str, Any]) -> dict[str, Any]:
        return {"actions": np.clip(-request["where"], -1, 1)}

    environment = PointEnvironment()
    with serving(steer) as server:
        config = RemoteConfig(port=server.port, layout="custom", mapping={"where": "state[0:2]"})
        check_policy(config.make(environment.spec), environment)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"actions": np.array(["open"])}, "expected numbers, got dtype <U4"),
        ({"actions": np.ones((5, 14), bool)}, "expected numbers, got dtype bool"),
        ({"actions": None}, "expected numbers, got dtype object"),
        ({"actions": [[1.0], [1.0, 2.0]]}, "expected an array of numbers, got a list of unequal parts"),
        ({"action": ACTION}, "expected a key 'actions', got action, server_timing"),
    ],
)
def test_unusable_actions_are_refused(answer: dict[str, Any], message: str) -> None:
    assert error_of(in_turn(answer)) == f"the policy server at SERVER gave unusable actions: {message}"


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((5, 7)), "action chunk is (5, 7); the environment 'bench' takes 14 values: a0, "),
        (np.zeros(7), "action chunk is (1, 7); the environment 'bench' takes 14 values: a0, "),
        (np.zeros((0, 14)), "action chunk is (0, 14); it must hold at least one action"),
        (np.zeros((1, 5, 14)), "action chunk is (1, 5, 14) and must be (horizon, 14); "),
        (1.0, "action chunk is () and must be (horizon, 14); "),
        ([*[0.0] * 13, float("-inf")], "action chunk has NaN or infinite values in a13; they must be finite numbers"),
    ],
)
def test_actions_that_do_not_fit_the_environment_are_refused_as_those_of_any_policy(actions: Any, message: str) -> None:
    with serving(in_turn({"actions": actions})) as server:
        policy = CheckedPolicy(remote(server), spec())
        with pytest.raises(PolicyError) as caught:
            ask(policy)
        policy.close()
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_traceback_is_told_by_its_last_line_and_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="taketwo"):
        message = error_of(in_turn(KeyError("observation/image")))
    assert message == "the policy server at SERVER failed: KeyError: 'observation/image'"
    assert "Traceback (most recent call last)" in caplog.text


def test_after_a_traceback_the_next_request_is_answered_on_a_new_connection() -> None:
    with serving(in_turn(ValueError("once"), OK)) as server:
        policy = remote(server)
        with pytest.raises(PolicyError, match="failed: ValueError: once"):
            ask(policy)
        np.testing.assert_array_equal(ask(policy).actions[0], ACTION)
        policy.close()
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Raw(b"\xc1"), "sent an unreadable message: 1 bytes that are not MessagePack"),
        (Raw(b"\x93\x01\x02\x03"), "sent a list, not a map"),
        (Raw(""), "failed: it does not say why"),
    ],
)
def test_a_message_that_is_no_answer_is_told(answer: Raw, message: str) -> None:
    assert error_of(answer_with(answer)).startswith(f"the policy server at SERVER {message}")


def answer_with(answer: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda request: answer


def test_a_missing_server_is_told_before_anything_moves() -> None:
    port = free_port()
    with pytest.raises(PolicyError) as caught:
        RemoteConfig(port=port, connect_timeout_s=0.3).make(spec())
    assert str(caught.value) == (
        f"no policy server answers at ws://127.0.0.1:{port}: connection refused; "
        "start one or check --policy.host and --policy.port"
    )


def test_a_host_that_does_not_exist_is_told() -> None:
    with pytest.raises(PolicyError, match=r"no policy server answers at ws://nowhere\.invalid:8000: .*; start one"):
        RemoteConfig(host="nowhere.invalid", connect_timeout_s=0.3).make(spec())


def test_something_that_does_not_speak_websocket_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def talk() -> None:
            listener.settimeout(0.05)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            with pytest.raises(PolicyError, match="it does not speak websocket") as caught:
                RemoteConfig(port=listener.getsockname()[1], connect_timeout_s=0.3).make(spec())
            assert "\n" not in str(caught.value)
        finally:
            stop.set()
            thread.join()


def test_a_listener_that_says_nothing_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(PolicyError, match=r"nothing came within 0\.3 s"),
    ):
        RemoteConfig(port=listener.getsockname()[1], connect_timeout_s=0.3).make(spec())


def test_a_server_that_starts_late_is_waited_for() -> None:
    server = LoopbackServer(OK, port=free_port())
    timer = threading.Timer(0.5, server.start)
    timer.start()
    try:
        policy = remote(server, connect_timeout_s=20)
        np.testing.assert_array_equal(ask(policy).actions[0], ACTION)
        policy.close()
    finally:
        timer.join()
        server.stop()


def test_the_api_key_is_sent_as_openpi_sends_it() -> None:
    with serving(OK, api_key="s3cret") as server:
        policy = remote(server, api_key="s3cret")
        ask(policy)
        policy.close()
        WebsocketClientPolicy("127.0.0.1", server.port, api_key="s3cret")
        assert server.keys == ["Api-Key s3cret", "Api-Key s3cret"]


def test_a_wrong_api_key_is_told_without_the_key() -> None:
    with serving(OK, api_key="s3cret") as server:
        assert error_of_making(server) == (
            "the policy server at SERVER wants an API key: give one with --policy.api_key (HTTP 401)"
        )
        message = error_of_making(server, api_key="wr0ng")
    assert message == "the policy server at SERVER wants an API key: the given one is not accepted (HTTP 401)"
    assert len(server.keys) == 2  # told at once, not tried again until the time-out
    assert "wr0ng" not in repr(RemoteConfig(api_key="wr0ng"))


def test_a_web_server_that_is_no_policy_server_is_told_at_once() -> None:
    with serving(OK, status=404) as server:
        message = error_of_making(server)
        assert message == "SERVER is not a policy server: it answers HTTP 404 to a websocket handshake"
        assert len(server.keys) == 1


def test_a_gateway_whose_server_is_still_starting_is_waited_for() -> None:
    with serving(OK, status=503) as server:
        message = error_of_making(server, connect_timeout_s=0.5)
        assert message.startswith("no policy server answers at SERVER: HTTP 503; ")
        assert len(server.keys) > 1


def test_metadata_that_does_not_fit_is_told() -> None:
    with serving(OK, metadata={"action_dim": 7}) as server:
        assert error_of_making(server) == (
            "the policy server at SERVER gives actions of 7 numbers, environment 'bench' takes 14"
        )
    with serving(OK, metadata=Raw("Traceback:\nRuntimeError: no checkpoint")) as server:
        assert error_of_making(server) == "the policy server at SERVER failed: RuntimeError: no checkpoint"


def test_metadata_is_kept() -> None:
    with serving(OK, metadata={"reset_pose": [0.0, 1.0]}) as server:
        policy = remote(server)
        assert policy.metadata == {"reset_pose": [0.0, 1.0]}
        policy.close()


@pytest.mark.parametrize("fault", [Die(), CloseAtOnce()])
def test_a_connection_lost_in_mid_episode_is_made_again_and_the_question_asked_again(fault: Any) -> None:
    with serving(in_turn(OK, fault, OK)) as server:
        policy = remote(server)
        policy.reset(EpisodeInfo(0, 1))
        first = observation(spec(), prompt="first")
        policy.infer(first)
        chunk = policy.infer(observation(spec(), prompt="second"))
        policy.close()
        np.testing.assert_array_equal(chunk.actions[0], ACTION)
        assert [request["prompt"] for request in server.requests] == ["first", "second", "second"]
        assert server.connections == 2


def test_a_server_that_is_restarted_between_two_requests_is_found_again() -> None:
    with serving(OK) as server:
        policy = remote(server, reconnect_timeout_s=20)
        ask(policy)
        server.stop()
        timer = threading.Timer(0.5, server.start)
        timer.start()
        np.testing.assert_array_equal(ask(policy).actions[0], ACTION)
        timer.join()
        policy.close()


def test_a_server_that_does_not_come_back_is_given_up() -> None:
    with serving(OK) as server:
        policy = remote(server, reconnect_timeout_s=0.5)
        ask(policy)
        server.stop()
        with pytest.raises(PolicyError) as caught:
            ask(policy)
        policy.close()
    assert str(caught.value) == (
        f"the policy server at ws://127.0.0.1:{server.port} was lost (the connection broke) "
        "and did not come back within 0.5 s: connection refused"
    )


def test_a_request_that_breaks_its_server_is_not_asked_for_ever() -> None:
    with serving(answer_with(CloseAtOnce())) as server:
        policy = remote(server)
        with pytest.raises(PolicyError, match=r"was lost 3 times: it closed the connection \(code 1012: restarting\)"):
            ask(policy)
        policy.close()
        assert len(server.requests) == 3


def test_without_time_to_reconnect_a_loss_is_told_at_once() -> None:
    assert error_of(answer_with(Die()), reconnect_timeout_s=0) == (
        "the policy server at SERVER was lost: the connection broke"
    )


def test_a_server_that_hangs_is_given_up_and_its_late_answer_never_taken() -> None:
    release = threading.Event()

    def late(request: dict[str, Any]) -> dict[str, Any]:
        release.wait(10)
        return {"actions": np.zeros((1, 14))}

    with serving(in_turn(OK, late, OK)) as server:
        policy = remote(server, infer_timeout_s=0.3)
        ask(policy)
        with pytest.raises(PolicyError) as caught:
            ask(policy)
        release.set()
        np.testing.assert_array_equal(ask(policy).actions[0], ACTION)
        policy.close()
    assert str(caught.value) == (
        f"the policy server at ws://127.0.0.1:{server.port} gave no answer within 0.3 s; "
        "if it needs longer, raise --policy.infer_timeout_s"
    )


def test_the_first_answer_has_a_limit_of_its_own() -> None:
    def slow(request: dict[str, Any]) -> Any:
        time.sleep(0.5)
        return OK(request)

    with serving(in_turn(slow, answer_with(Hang()))) as server:
        policy = remote(server, infer_timeout_s=0.2, first_infer_timeout_s=20)
        ask(policy)
        with pytest.raises(PolicyError, match=r"within 0\.2 s"):
            ask(policy)
        policy.close()
    message = error_of(answer_with(Hang()), first_infer_timeout_s=0.2)
    assert message.endswith("within 0.2 s; if it needs longer, raise --policy.first_infer_timeout_s")


def test_a_server_that_came_back_has_time_to_compile_again() -> None:
    def slow(request: dict[str, Any]) -> Any:
        time.sleep(0.5)
        return OK(request)

    with serving(in_turn(OK, answer_with(Die()), slow)) as server:
        policy = remote(server, infer_timeout_s=0.2, first_infer_timeout_s=20)
        ask(policy)
        np.testing.assert_array_equal(ask(policy).actions[0], ACTION)
        policy.close()


def test_a_server_that_reads_nothing_does_not_block_the_sender_for_ever() -> None:
    release = threading.Event()

    awake = threading.Event()

    def block() -> None:
        release.wait(10)
        awake.set()

    def answer_and_block(request: dict[str, Any]) -> Any:
        asyncio.get_running_loop().call_later(0.2, block)
        return OK(request)

    with serving(answer_and_block) as server:
        # 48 MB, more than the sockets' buffers hold.
        policy = remote(server, infer_timeout_s=0.5, image_height=4000, image_width=4000)
        shown = observation(spec())
        policy.infer(shown)
        time.sleep(0.3)
        try:
            with pytest.raises(PolicyError, match=r"no answer within 0\.5 s"):
                policy.infer(shown)
            assert not awake.is_set()
        finally:
            release.set()
            policy.close()


@pytest.mark.parametrize("fault", ["hangs", "is gone"])
def test_close_ends_an_inference_under_way_in_another_thread(fault: str) -> None:
    told: list[BaseException] = []
    asked = threading.Event()

    def answer(request: dict[str, Any]) -> Any:
        asked.set()
        return Hang() if fault == "hangs" else Die()

    def run(policy: RemotePolicy, shown: Observation) -> None:
        try:
            policy.infer(shown)
        except PolicyError as error:
            told.append(error)

    with serving(answer) as server:
        policy = remote(server, first_infer_timeout_s=60, reconnect_timeout_s=60)
        thread = threading.Thread(target=run, args=(policy, observation(spec())))
        thread.start()
        assert asked.wait(10)
        if fault == "is gone":
            server.stop()
        policy.close()
        thread.join(10)
        assert not thread.is_alive()
        assert str(told[0]) == f"the policy's connection to ws://127.0.0.1:{server.port} was closed"


def test_close_ends_a_handshake_under_way_in_another_thread() -> None:
    told: list[str] = []
    with serving(in_turn(OK, Die())) as server, socket.create_server(("127.0.0.1", 0)) as silent:
        policy = remote(server, reconnect_timeout_s=60)
        ask(policy)
        # Where the server was, there is now something that takes connections and says nothing.
        silent_url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        policy._client._server = dataclasses.replace(policy._client._server, url=silent_url)

        def run() -> None:
            with pytest.raises(PolicyError) as caught:
                ask(policy)
            told.append(str(caught.value))

        thread = threading.Thread(target=run)
        thread.start()
        connection, _ = silent.accept()
        policy.close()
        thread.join(10)
        connection.close()
    assert told == [f"the policy's connection to ws://127.0.0.1:{server.port} was closed"]


def test_close_before_a_handshake_begins_keeps_it_from_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with serving(in_turn(OK, Die())) as server, socket.create_server(("127.0.0.1", 0)) as silent:
        policy = remote(server, reconnect_timeout_s=60)
        ask(policy)

        def connect_after_close(address: Any, *args: Any, **kwargs: Any) -> socket.socket:
            monkeypatch.undo()
            policy.close()
            return socket.create_connection(silent.getsockname())

        def run() -> None:
            with pytest.raises(PolicyError) as caught:
                ask(policy)
            told.append(str(caught.value))

        monkeypatch.setattr(socket, "create_connection", connect_after_close)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert told == [f"the policy's connection to ws://127.0.0.1:{server.port} was closed"]


def test_a_closed_policy_can_be_closed_again_but_not_asked() -> None:
    with serving(OK) as server:
        policy = remote(server)
        policy.close()
        policy.close()
        with pytest.raises(PolicyError, match="was closed"):
            ask(policy)
        assert server.requests == []


def test_ctrl_c_in_an_inference_leaves_no_answer_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(in_turn({"actions": np.zeros((1, 14))}, OK)) as server:
        policy = remote(server)
        connection = policy._client._connection._socket
        assert connection is not None

        def interrupted(*args: Any, **kwargs: Any) -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(connection, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ask(policy)
        np.testing.assert_array_equal(ask(policy).actions[0], ACTION)
        policy.close()


def test_a_plain_server_is_sent_no_reset() -> None:
    with serving(OK) as server:
        policy = remote(server)
        policy.reset(EpisodeInfo(0, 1))
        policy.reset(EpisodeInfo(1, 2))
        policy.close()
        assert server.requests == []


def test_a_server_that_understands_resets_gets_them_also_after_a_lost_connection() -> None:
    def infer(request: dict[str, Any]) -> Any:
        return Die() if len(server.requests) == 3 else OK(request)

    with serving(reset_answers(infer), metadata={"taketwo": {"reset": True}}) as server:
        policy = remote(server)
        policy.reset(EpisodeInfo(4, 99))
        ask(policy)
        ask(policy)
        policy.close()
        kinds = [request.get("taketwo", "observation") for request in server.requests]
    reset = {"reset": {"index": 4, "seed": 99}}
    assert kinds == [reset, "observation", "observation", reset, "observation"]


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "ws://127.0.0.1:8000"),
        ({"host": "gpu", "port": 9000}, "ws://gpu:9000"),
        ({"host": "gpu:9000"}, "ws://gpu:9000"),
        ({"host": "::1"}, "ws://[::1]:8000"),
        ({"host": "[::1]:9000"}, "ws://[::1]:9000"),
        ({"host": "wss://policy.example.com/pi0"}, "wss://policy.example.com/pi0"),
        ({"host": "wss://policy.example.com/pi0", "port": 8443}, "wss://policy.example.com:8443/pi0"),
        ({"host": "ws://gpu:9000", "port": 9000}, "ws://gpu:9000"),
    ],
)
def test_host_may_be_a_name_an_address_or_a_url(options: dict[str, Any], url: str) -> None:
    assert RemoteConfig(**options).url == url


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "http://gpu"}, "host must be a name, an address, or a ws:// or wss:// URL, not 'http://gpu'"),
        ({"host": ""}, "host must be a name, an address, or a ws:// or wss:// URL, not ''"),
        ({"host": "my gpu"}, "host must be a name, an address, or a ws:// or wss:// URL, not 'my gpu'"),
        ({"host": "gpu:9000", "port": 8000}, "host 'gpu:9000' and port 8000 contradict each other"),
        ({"host": "gpu:port"}, "host 'gpu:port' is no address"),
        ({"host": "a" * 70}, "is no address"),
        ({"port": 0}, "port must be from 1 to 65535, not 0"),
        ({"port": 70000}, "port must be from 1 to 65535, not 70000"),
        ({"infer_timeout_s": 0}, "infer_timeout_s must be a finite number of seconds above 0, not 0"),
        ({"connect_timeout_s": float("inf")}, "connect_timeout_s must be a finite number of seconds above 0, not inf"),
        ({"reconnect_timeout_s": -1}, "reconnect_timeout_s must be a finite number of seconds, 0 or more, not -1"),
        ({"image_height": 0}, "image_height must be from 1 to 4096 pixels, not 0"),
        ({"api_key": "two\nlines"}, "api_key must be printable ASCII characters, at least one"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteConfig(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "host", ["ws://bob:secret@box", "bob:secret@box", "ws://secret@box:port", "ws://:secret@box/x"]
)
def test_a_user_or_password_in_host_is_refused_without_showing_it(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteConfig(host=host)
    assert str(caught.value) == "host must not hold a user or a password; give the server's key as api_key"
    assert RemoteConfig(host="ws://box/models@v1").url == "ws://box/models@v1"


def test_a_layout_that_does_not_fit_is_told_before_a_connection_is_made() -> None:
    with serving(OK) as server:
        with pytest.raises(ConfigError, match="needs a state of 14 numbers"):
            RemoteConfig(port=server.port, layout="aloha").make(spec(state=2))
        assert server.connections == 0


def test_openpis_layout_for_aloha_is_taken_for_a_server_that_tells_none() -> None:
    with serving(OK) as server, pytest.raises(ConfigError, match="layout 'aloha' needs a state of 14 numbers"):
        RemoteConfig(port=server.port).make(spec(state=2))


def test_the_api_key_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKETWO_API_KEY", "from-there")
    with serving(OK, api_key="from-there") as server:
        remote(server).close()
    with serving(OK, api_key="given") as server:
        remote(server, api_key="given").close()


def test_the_configuration_is_registered_and_imports_nothing_heavy() -> None:
    assert POLICIES.config_class("remote") is RemoteConfig
    code = (
        "import sys, taketwo.policies.remote; print([m for m in ('websockets', 'msgpack', 'PIL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
