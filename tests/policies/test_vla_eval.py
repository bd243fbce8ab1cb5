"""The model servers of vla-eval as policies, against the real ones, each in a process of its own."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection, serve

from taketwo.errors import ConfigError, PolicyError
from taketwo.images import resize_with_pad
from taketwo.policies.base import ReadsPrompt, ReportsOutages
from taketwo.policies.vla_eval import VlaEvalConfig, VlaEvalPolicy
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import EpisodeInfo
from taketwo.wire.vla_eval import Message, decode, encode
from tests.policies.test_layouts import observation, spec
from tests.policies.vla_eval_support import ModelServerProcess, model_server, needs_vla_eval
from tests.support_server import free_port, serving

DELTA = {
    "position": {"dims": 3, "format": "delta_xyz", "range": [-1, 1]},
    "rotation": {"dims": 3, "format": "axis_angle"},
    "gripper": {"dims": 1, "format": "binary_close_positive"},
}
PICTURE = {"dims": 0, "format": "rgb_hwc_uint8"}
LANGUAGE = {"dims": 0, "format": "language"}

ARM = spec(state=8, actions=7, cameras=("top", "wrist"))
OURS = {"position": "delta_xyz[3]", "rotation": "axis_angle[3]", "gripper": "binary_close_positive[1]"}


def made(server: ModelServerProcess, of: Any = None, **options: Any) -> VlaEvalPolicy:
    quick = {"connect_timeout_s": 30.0, "reconnect_timeout_s": 30.0}
    return VlaEvalConfig(port=server.port, **(quick | options)).make(of or spec())


def error_of_making(server: ModelServerProcess, **options: Any) -> str:
    with pytest.raises(PolicyError) as caught:
        made(server, ARM, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_vla_eval
def test_a_model_server_is_told_of_the_episode_and_sent_what_benchmarks_send(tmp_path: Path) -> None:
    bench = spec(cameras=("top", "wrist"))
    with model_server(tmp_path) as server:
        policy = made(server, bench, task={"suite": "libero_10"}, image_height=64, image_width=64)
        assert policy.cameras == ("top", "wrist")
        policy.reset(EpisodeInfo(3, 42))
        chunk = policy.infer(observation(bench))
        policy.close()
        (start,), (asked,) = server.notes("episode_start"), server.notes("predict")
        server.wait_for("episode_end")
    assert start["task"] == {"name": "bench", "suite": "libero_10", "episode_idx": 3}
    assert asked["keys"] == ["images", "state", "states", "task_description"]
    assert asked["states"] == list(range(14))
    assert asked["task"] == "do it"
    for camera, (shape, dtype, checksum) in asked["images"].items():
        pixels = resize_with_pad(observation(bench).images[camera].pixels, 64, 64)
        assert (shape, dtype, checksum) == ([64, 64, 3], "uint8", zlib.crc32(pixels.tobytes()))
    assert list(asked["images"]) == ["top", "wrist"]
    assert chunk.actions.shape == (1, 14)
    assert chunk.actions.dtype == np.float64
    assert chunk.timings_ms["round_trip_ms"] > 0


@needs_vla_eval
def test_the_servers_chunk_comes_action_by_action_and_is_forgotten_with_the_episode(tmp_path: Path) -> None:
    with model_server(tmp_path, chunk_size=3) as server:
        policy = made(server)

        def episode(steps: int) -> list[float]:
            policy.reset(EpisodeInfo(0, 0))
            return [round(float(policy.infer(observation(spec())).actions[0, 0]), 3) for _ in range(steps)]

        assert episode(5) == [0.0, 0.1, 0.2, 3.0, 3.1]
        assert episode(2) == [0.0, 0.1]
        policy.close()
        assert [note["step"] for note in server.notes("predict")] == [0, 3, 0]
        assert len(server.wait_for("episode_end", 2)) == 2  # the first when the second began


@needs_vla_eval
def test_it_keeps_the_policy_contract(tmp_path: Path) -> None:
    environment = PointEnvironment()
    with model_server(tmp_path, action_dim=environment.spec.action_dim) as server:
        check_policy(made(server, environment.spec), environment)


@needs_vla_eval
def test_the_mapping_names_and_orders_pictures_and_state(tmp_path: Path) -> None:
    mapping = {"images.main": "images.wrist", "images.wrist": "images.top", "states": "state[0:7]", "state": "none"}
    bench = spec(cameras=("top", "wrist"))
    with model_server(tmp_path) as server:
        policy = made(server, bench, mapping=mapping)
        policy.infer(observation(bench, None))
        policy.close()
        (asked,) = server.notes("predict")
    assert list(asked["images"]) == ["main", "wrist"]
    assert asked["keys"] == ["images", "states"]
    assert len(asked["states"]) == 7


@needs_vla_eval
@pytest.mark.parametrize(
    ("declared", "mapping", "reads"),
    [
        ({}, {}, True),
        ({"image": PICTURE, "language": LANGUAGE}, {}, True),
        ({"image": PICTURE}, {}, False),
        ({"image": PICTURE, "language": LANGUAGE}, {"task_description": "none"}, False),
    ],
)
def test_whether_it_reads_prompts_is_what_the_server_declares(
    tmp_path: Path, declared: dict[str, Any], mapping: dict[str, str], reads: bool
) -> None:
    with model_server(tmp_path, observation_spec=declared) as server:
        policy = made(server, mapping=mapping)
        assert isinstance(policy, ReadsPrompt) is reads
        policy.close()


@needs_vla_eval
def test_a_server_that_fits_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = {
        "image": PICTURE,
        "wrist_image": PICTURE,
        "state": {"dims": 8, "format": "eef_pos3_axisangle3_gripper2"},
        "language": LANGUAGE,
    }
    params = {"send_wrist_image": True, "send_state": True, "absolute_action": True}
    with (
        model_server(
            tmp_path, action_dim=7, action_spec=DELTA, observation_spec=wanted, observation_params=params
        ) as server,
        caplog.at_level(logging.WARNING),
    ):
        policy = made(server, ARM, action_spec=OURS, state_convention="eef_pos3_axisangle3_gripper2")
        assert policy.infer(observation(ARM)).actions.shape == (1, 7)
        policy.close()
    assert "expects what cannot be compared: absolute_action=True" in caplog.text


@needs_vla_eval
@pytest.mark.parametrize(
    ("server_options", "options", "message"),
    [
        ({"action_spec": {"joints": {"dims": 14, "format": "joint_positions"}}}, {}, "actions of 14 numbers, the"),
        (
            {"action_spec": {**DELTA, "rotation": {"dims": 3, "format": "euler_xyz"}}},
            {"action_spec": OURS},
            "its actions have rotation as euler_xyz instead of axis_angle",
        ),
        (
            {"action_spec": {"actions": {"dims": 0, "format": "raw"}}},
            {"action_spec": OURS},
            "it does not declare 'position' of action_spec, but actions",
        ),
        (
            {"observation_spec": {"image": PICTURE, "left": PICTURE, "right": PICTURE}},
            {},
            "it looks at 3 pictures and gets 2, see mapping",
        ),
        (
            {"observation_spec": {"state": {"dims": 20, "format": "rot6d"}}},
            {},
            "it reads a state of 20 numbers and gets 8, see mapping",
        ),
        (
            {"observation_spec": {"state": {"dims": 8, "format": "eef_pos3_quat4_gripper1"}}},
            {"state_convention": "eef_pos3_axisangle3_gripper2"},
            "it is given the state as eef_pos3_axisangle3_gripper2 instead of eef_pos3_quat4_gripper1",
        ),
        (
            {"observation_params": {"send_wrist_image": True}},
            {"mapping": {"images.agentview": "images.top"}},
            "it looks at a second picture, from the wrist, and gets one at most, see mapping",
        ),
        (
            {"observation_params": {"send_state": True}},
            {"mapping": {"state": "none", "states": "none"}},
            "it reads the state and gets none, see mapping",
        ),
    ],
)
def test_a_server_that_does_not_fit_is_refused_before_anything_moves(
    tmp_path: Path, server_options: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with model_server(tmp_path, action_dim=7, **server_options) as server:
        told = error_of_making(server, **options)
        assert message in told
        assert "does not fit environment 'bench'" in told
        assert not server.notes("episode_start")


@needs_vla_eval
def test_failures_of_the_model_are_told_in_one_line_and_the_next_episode_goes_on(tmp_path: Path) -> None:
    with model_server(tmp_path, fail_at=1) as server:
        policy = made(server)
        for _ in range(2):
            policy.reset(EpisodeInfo(0, 0))
            policy.infer(observation(spec()))
            with pytest.raises(PolicyError, match=r"failed: observation_failed: RuntimeError: out of memory$"):
                policy.infer(observation(spec()))
        policy.close()


@needs_vla_eval
def test_an_episode_that_the_server_refuses_is_told(tmp_path: Path) -> None:
    with model_server(tmp_path, refuse=True) as server:
        policy = made(server)
        policy.reset(EpisodeInfo(0, 0))
        with pytest.raises(PolicyError, match=r"failed: episode_start_failed: RuntimeError: no such task$"):
            policy.infer(observation(spec()))
        policy.close()


@needs_vla_eval
def test_an_answer_without_actions_is_told(tmp_path: Path) -> None:
    with model_server(tmp_path, silent=True) as server:
        policy = made(server)
        with pytest.raises(PolicyError, match="gave unusable actions: expected a key 'actions', got text"):
            policy.infer(observation(spec()))
        policy.close()


@needs_vla_eval
def test_a_server_lost_in_mid_episode_ends_the_episode_and_is_found_again_for_the_next(tmp_path: Path) -> None:
    with model_server(tmp_path) as server:
        policy = made(server)
        policy.reset(EpisodeInfo(0, 0))
        policy.infer(observation(spec()))
        server.kill()
        with pytest.raises(PolicyError, match=r"was lost: .*; it kept the episode's state, so the episode is over"):
            policy.infer(observation(spec()))
        server.start()
        policy.reset(EpisodeInfo(1, 0))
        assert policy.infer(observation(spec())).actions[0, 0] == 0.0
        policy.close()
        assert isinstance(policy, ReportsOutages)
        assert len(policy.outages_s) == 1 and policy.outages_s[0] > 0
        assert [start["task"]["episode_idx"] for start in server.notes("episode_start")] == [0, 1]


@needs_vla_eval
def test_a_server_lost_before_the_first_observation_costs_nothing(tmp_path: Path) -> None:
    with model_server(tmp_path) as server:
        policy = made(server)
        policy.reset(EpisodeInfo(0, 0))
        server.wait_for("episode_start")
        server.kill()
        server.start()
        assert policy.infer(observation(spec())).actions.shape == (1, 14)
        policy.close()
        assert len(server.notes("episode_start")) == 2


@needs_vla_eval
def test_a_late_answer_is_given_up_and_never_taken_for_another(tmp_path: Path) -> None:
    with model_server(tmp_path, slow_s=1.0) as server:
        policy = made(server, first_infer_timeout_s=0.3)
        policy.reset(EpisodeInfo(0, 0))
        with pytest.raises(PolicyError, match=r"no answer within 0.3 s; .* raise --policy.first_infer_timeout_s"):
            policy.infer(observation(spec()))
        policy.close()


@needs_vla_eval
def test_close_ends_an_inference_under_way_in_another_thread(tmp_path: Path) -> None:
    with model_server(tmp_path, slow_s=30.0) as server:
        policy = made(server)
        policy.reset(EpisodeInfo(0, 0))
        failures: list[BaseException] = []

        def infer() -> None:
            try:
                policy.infer(observation(spec()))
            except PolicyError as error:
                failures.append(error)

        thread = threading.Thread(target=infer)
        thread.start()
        server.wait_for("predict")
        policy.close()
        thread.join(10)
        assert not thread.is_alive()
        policy.close()
    assert "was closed" in str(failures[0])
    with pytest.raises(PolicyError, match="was closed"):
        policy.infer(observation(spec()))
    with pytest.raises(PolicyError, match="was closed"):
        policy.reset(EpisodeInfo(1, 0))


@contextmanager
def fake_server(answer: Callable[[Message], Message | bytes | str]) -> Iterator[int]:
    """The port of a server that answers as no real one does."""

    def handle(connection: ServerConnection) -> None:
        for data in connection:
            message = decode(data)
            if message.kind in ("hello", "observation"):
                reply = answer(message)
                connection.send(encode(reply) if isinstance(reply, Message) else reply)

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield int(server.socket.getsockname()[1])
        server.shutdown()


def hello(message: Message, **changed: Any) -> Message:
    return Message("hello", {"protocol_version": 1, **changed}, message.seq)


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        (
            lambda message: hello(message, protocol_version=2),
            "speaks version 2 of vla-eval's protocol, this is version 1",
        ),
        (lambda message: hello(message, protocol_version=None), "speaks version None of vla-eval's protocol"),
        (lambda message: Message("action", {}, message.seq), "answers out of turn: action to message 1"),
        (lambda message: Message("error", {"error": "go\naway"}, message.seq), "failed: go away"),
        (lambda message: "hello", "is not a model server of vla-eval: it sends text"),
        (lambda message: hello(message, action_spec={"position": 3}), "sent an unusable greeting: a specification is"),
    ],
)
def test_a_greeting_that_cannot_be_used_is_told(greeting: Callable[[Message], Any], told: str) -> None:
    with fake_server(greeting) as port, pytest.raises(PolicyError) as caught:
        VlaEvalConfig(port=port, connect_timeout_s=5.0).make(spec())
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_answer_to_another_observation_is_never_taken() -> None:
    def answer(message: Message) -> Message:
        if message.kind == "hello":
            return hello(message)
        return Message("action", {"actions": np.zeros(14)}, message.seq - 1)

    with fake_server(answer) as port:
        policy = VlaEvalConfig(port=port, connect_timeout_s=5.0).make(spec())
        policy.reset(EpisodeInfo(0, 0))
        with pytest.raises(PolicyError, match="answers out of turn: action to message 2, where action to message 3"):
            policy.infer(observation(spec()))
        policy.close()


def test_a_missing_server_is_told_before_anything_moves() -> None:
    with pytest.raises(PolicyError, match=r"no model server of vla-eval answers at .*: connection refused; start one"):
        VlaEvalConfig(port=free_port(), connect_timeout_s=0.3).make(spec())


def test_a_server_of_openpis_protocol_is_told_from_one_of_vla_eval() -> None:
    with (
        serving(lambda request: {}, metadata={"name": "openpi"}) as server,
        pytest.raises(PolicyError, match=r"not a message of vla-eval.*use --policy.type=remote"),
    ):
        VlaEvalConfig(port=server.port, connect_timeout_s=5.0).make(spec())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "http://there"}, "host must be a name, an address, or a ws:// or wss:// URL"),
        ({"image_width": 0}, "image_width must be from 1 to 4096"),
        ({"infer_timeout_s": 0.0}, "infer_timeout_s must be a finite number of seconds above 0"),
        ({"action_spec": {"position": "delta xyz"}}, "action_spec: 'delta xyz' is not written as a convention"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VlaEvalConfig(**options)
    assert str(caught.value).startswith(message)


def test_options_that_do_not_fit_the_environment_are_told_before_a_connection_is_made() -> None:
    with pytest.raises(ConfigError, match="action_spec has 7 numbers, the actions of environment 'bench' have 14"):
        VlaEvalConfig(port=free_port(), action_spec=OURS).make(spec())
    with pytest.raises(ConfigError, match="unknown camera 'side'"):
        VlaEvalConfig(port=free_port(), mapping={"images.main": "images.side"}).make(spec())


def test_the_configuration_imports_nothing_heavy() -> None:
    code = (
        "import sys; import taketwo.policies.vla_eval, taketwo.policies.openpi;"
        "print([name for name in ('websockets', 'PIL', 'vla_eval', 'openpi', 'jax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
