"""Policies as model servers of vla-eval: its real connection and runner ask them, in a process of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pytest

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.noop import NoopConfig
from taketwo.policies.vla_eval import VlaEvalConfig
from taketwo.serving.client import ServedClient, Serving
from taketwo.serving.environments import LiberoConfig
from taketwo.serving.hosting import PolicyHost
from taketwo.serving.metrics import Metrics
from taketwo.serving.options import ServerOptions
from taketwo.serving.protocols import Reply
from taketwo.serving.vla_eval import VlaEvalProtocol
from taketwo.types import ActionChunk, EpisodeInfo, Observation
from taketwo.wire.vla_eval import Message, decode, encode
from tests.policies.test_layouts import observation, spec
from tests.policies.vla_eval_support import needs_vla_eval, run_harness
from tests.serving.support import served as served_by_us

SERVED = LiberoConfig()
ARM = SERVED.make().spec


class Asked:
    """A policy that answers chunks of three, the first number of each telling which; it keeps what it saw."""

    cameras = tuple(ARM.cameras)
    own_prompt = None

    def __init__(self, answer: Callable[[int], Any] | None = None, begin: Callable[[], None] = lambda: None) -> None:
        self.observations: list[Observation] = []
        self.episodes: list[EpisodeInfo] = []
        self._answer = answer or (lambda number: np.full((3, 7), number) + np.arange(3)[:, None] / 10)
        self._begin = begin

    def reset(self, episode: EpisodeInfo) -> None:
        self.episodes.append(episode)
        self._begin()

    def infer(self, seen: Observation) -> ActionChunk:
        self.observations.append(seen)
        return ActionChunk(self._answer(len(self.observations)))

    def close(self) -> None: ...


@contextmanager
def served(policy: Asked, options: VlaEvalProtocol | None = None) -> Iterator[str]:
    """The address of a server of this policy."""
    with served_by_us(lambda: policy, SERVED, protocol=options or VlaEvalProtocol()) as server:
        yield f"ws://127.0.0.1:{server.port}"


def firsts(episode: dict[str, Any]) -> list[float]:
    return [round(answer["actions"][0], 3) for answer in episode["answers"]]


@needs_vla_eval
@pytest.mark.parametrize("image_format", ["png", "raw"])
def test_the_harness_runs_an_episode_and_the_policy_sees_what_the_benchmark_shows(image_format: str) -> None:
    policy = Asked()
    with served(policy) as url:
        result = run_harness(url=url, image_format=image_format)
    (episode,) = result["episodes"]
    assert episode["metrics"]["success"] is True
    assert firsts(episode) == [1.0, 1.1, 1.2, 2.0, 2.1, 2.2]
    first, second = policy.observations
    for seen, step in [(first, 0), (second, 3)]:
        np.testing.assert_array_equal(seen.images["agentview"].pixels, np.full((32, 48, 3), step))
        np.testing.assert_array_equal(seen.images["robot0_eye_in_hand"].pixels, np.full((16, 48, 3), step + 100))
        np.testing.assert_allclose(seen.state, np.arange(8) + step / 100)
        assert seen.prompt == "stack them"
        assert seen.time_s == pytest.approx(step / ARM.control_hz)
    assert episode["answers"][0]["taketwo"] == {
        "prompt_used": "stack them",
        "prompt_source": "observation",
        "prompt_read": True,
    }


@needs_vla_eval
def test_jpeg_pictures_are_read() -> None:
    policy = Asked()
    with served(policy) as url:
        run_harness(url=url, image_format="jpeg")
    assert np.abs(policy.observations[1].images["agentview"].pixels.astype(int) - 3).max() <= 2  # it loses a little


@needs_vla_eval
def test_the_state_may_be_called_state() -> None:
    policy = Asked()
    with served(policy) as url:
        run_harness(url=url, state_key="state", max_steps=1)
    np.testing.assert_allclose(policy.observations[0].state, np.arange(8))


@needs_vla_eval
def test_the_harness_finds_what_is_declared_to_fit_its_libero() -> None:
    with served(Asked()) as url:
        result = run_harness(url=url, max_steps=1)
    assert result["mismatches"] == []
    hello = result["hello"]
    assert hello["observation_params"] == {"send_state": True, "send_wrist_image": True}
    assert list(hello["action_spec"]) == ["position", "rotation", "gripper"]
    assert hello["harness_version"].startswith("taketwo ")


@needs_vla_eval
def test_the_harness_warns_of_a_policy_for_something_else() -> None:
    other = VlaEvalProtocol(
        images={"robot0_eye_in_hand": "robot0_eye_in_hand"},
        action_spec={"joints": "joint_pos_abs[7]"},
        state_convention="joint_positions",
    )
    with served(Asked(), other) as url:
        warned = " ".join(run_harness(url=url, max_steps=0)["mismatches"])
    assert "no overlapping keys" in warned
    assert "robot0_eye_in_hand" in warned
    assert "eef_pos3_axisangle3_gripper2 vs joint_positions" in warned


@needs_vla_eval
def test_each_episode_is_begun_with_a_seed_of_its_task_and_a_new_chunk() -> None:
    policy = Asked()
    with served(policy) as url:
        result = run_harness(url=url, episodes=2, max_steps=2)
        run_harness(url=url, first=1, max_steps=1)
    assert [firsts(episode) for episode in result["episodes"]] == [[1.0, 1.1], [2.0, 2.1]]
    first, second, *again = policy.episodes
    assert (first.index, second.index) == (0, 1)
    assert first.seed != second.seed
    assert again == [second]  # also where another process of the harness, a shard, begins with it


@needs_vla_eval
def test_a_part_of_each_chunk_may_be_handed_out() -> None:
    with served(Asked(), VlaEvalProtocol(action_horizon=2)) as url:
        (episode,) = run_harness(url=url, max_steps=5)["episodes"]
    assert firsts(episode) == [1.0, 1.1, 2.0, 2.1, 3.0]


@needs_vla_eval
def test_the_live_runner_is_served_too() -> None:
    policy = Asked()
    with served(policy) as url:
        (episode,) = run_harness(url=url, mode="live", max_steps=10)["episodes"]
    assert episode["metrics"]["success"] is True
    assert firsts(episode)[:3] == [1.0, 1.1, 1.2]


@needs_vla_eval
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": ["states"]}, "state is missing: 8 numbers expected"),
        ({"leave_out": ["images"]}, "images.agentview is missing: the policy looks at the camera 'agentview'"),
        ({"pictures": "float32"}, "images.agentview must be uint8 pixels, not float32"),
    ],
)
def test_a_bad_observation_is_told_by_its_field_and_the_connection_lives(options: dict[str, Any], message: str) -> None:
    with served(Asked()) as url:
        episodes = run_harness(url=url, episodes=2, **options)["episodes"]
    assert len(episodes) == 2
    assert all(message in episode["error"] for episode in episodes)


@needs_vla_eval
def test_a_policy_that_fails_is_told_and_the_next_episode_goes_on() -> None:
    def answer(number: int) -> Any:
        if number == 1:
            raise PolicyError("out of\nmemory")
        return np.full((1, 7), number)

    with served(Asked(answer)) as url:
        first, second = run_harness(url=url, episodes=2, max_steps=2)["episodes"]
    assert "out of memory" in first["error"]
    assert firsts(second) == [2.0, 3.0]


@needs_vla_eval
def test_an_episode_that_cannot_begin_is_told_once_and_no_later_answer_is_out_of_step() -> None:
    refusals = [True]

    def begin() -> None:
        if refusals:
            refusals.clear()
            raise PolicyError("no such pose")

    with served(Asked(begin=begin)) as url:
        first, second = run_harness(url=url, episodes=2, max_steps=3)["episodes"]
    assert "the episode could not begin: no such pose" in first["error"]
    assert firsts(second) == [1.0, 1.1, 1.2]


@needs_vla_eval
@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 6)), "action chunk is (3, 6); the environment 'libero' takes 7 values"),
        (np.zeros((0, 7)), "action chunk is (0, 7); it must hold at least one action"),
        (np.full((1, 7), np.nan), "NaN or infinite values in x, "),
    ],
)
def test_unusable_actions_never_reach_the_benchmark(actions: Any, message: str) -> None:
    with served(Asked(lambda number: actions)) as url:
        (episode,) = run_harness(url=url)["episodes"]
    assert message in episode["error"]
    assert episode["answers"] == []


def test_our_own_policy_for_the_harness_and_our_server_for_it_go_together() -> None:
    policy = Asked()
    with served(policy) as url:
        mine = VlaEvalConfig(host=url, mapping={"images.agentview": "images.agentview", "images.wrist": "images.wrist"})
        arm = spec(state=8, actions=7, cameras=("agentview", "wrist"))
        client = mine.make(arm)
        client.reset(EpisodeInfo(0, 0))
        rows = [client.infer(observation(arm)).actions for _ in range(4)]
        client.close()
    np.testing.assert_allclose(np.concatenate(rows)[:, 0], [1.0, 1.1, 1.2, 2.0])
    np.testing.assert_allclose(policy.observations[0].state, np.arange(8))


def conversed(messages: Sequence[bytes | str], policy: Asked) -> list[bytes | str | None]:
    """What one connection is answered."""
    host = PolicyHost(lambda: policy, max_batch_size=1, max_wait_s=None)
    serving = Serving(SERVED.make(), host, Metrics(), ServerOptions(), None)

    async def converse() -> list[bytes | str | None]:
        one = VlaEvalProtocol().make(serving)(ServedClient(1, serving))
        replies: list[bytes | str | None] = []
        for message in messages:
            answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            one.answer(message, answered.set_result)
            replies.append((await answered).data)
        return replies

    try:
        return asyncio.run(converse())
    finally:
        host.close()


def answered(data: bytes | str, policy: Asked | None = None) -> Message:
    (reply,) = conversed([data], policy or Asked())
    assert isinstance(reply, bytes)
    return decode(reply)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("hello", "a message of vla-eval is binary"),
        (b"\xc1", "1 bytes that are not MessagePack"),
        (encode(Message("hello", {"protocol_version": 2}, 7)), "version 1 of vla-eval's protocol, not 2"),
        (encode(Message("observation", {"images": 3}, 7)), "images must be a map, not 3"),
    ],
    ids=["text", "no MessagePack", "another version", "images that are none"],  # messages tell the time
)
def test_what_cannot_be_answered_gets_an_error_of_one_line(data: bytes | str, message: str) -> None:
    reply = answered(data)
    assert reply.kind == "error"
    assert message in reply.payload["error"]
    assert "\n" not in reply.payload["error"]
    assert reply.seq in (0, 7)


def test_an_unforeseen_failure_is_told_by_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    def answer(number: int) -> Any:
        raise KeyError("weights")

    payload = {
        "images": {"agentview": np.zeros((8, 8, 3), np.uint8), "wrist": np.zeros((8, 8, 3), np.uint8)},
        "states": np.zeros(8),
    }
    with caplog.at_level(logging.WARNING):
        reply = answered(encode(Message("observation", payload, 5)), Asked(answer))
    assert (reply.kind, reply.seq) == ("error", 5)
    assert reply.payload["error"] == "KeyError: 'weights'"
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_horizon": 0}, "action_horizon must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"action_spec": {"a": "[3]"}}, "action_spec: '[3]' is not written as a convention"),
        ({"images": {"side": "wrist"}}, "images names 'side', there are agentview, robot0_eye_in_hand"),
        ({"action_spec": {"a": "delta_xyz[3]"}}, "action_spec has 3 numbers, the policy's actions have 7"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VlaEvalProtocol(**options).fit(ARM, Asked())
    assert str(caught.value).startswith(message)


def test_a_policy_that_needs_more_than_benchmarks_send_is_refused() -> None:
    policy = Asked()
    policy.extras = ("object_poses", "touched_by")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="the policy needs object_poses, touched_by, which benchmarks"):
        VlaEvalProtocol().fit(ARM, policy)


def test_a_policy_that_reads_no_prompt_does_not_ask_for_one() -> None:
    assert "language" in VlaEvalProtocol().fit(ARM, Asked()).hello()["observation_spec"]
    assert "language" not in VlaEvalProtocol().fit(ARM, NoopConfig().make(ARM)).hello()["observation_spec"]


def test_an_observation_after_the_end_begins_another_episode() -> None:
    policy = Asked()
    payload = {
        "images": {"agentview": np.zeros((8, 8, 3), np.uint8), "wrist": np.zeros((8, 8, 3), np.uint8)},
        "state": np.zeros(8),
    }

    kinds: tuple[Literal["observation", "episode_end"], ...] = ("observation", "episode_end", "observation")
    messages = [encode(Message(kind, payload, seq)) for seq, kind in enumerate(kinds)]
    first, none, second = conversed(messages, policy)
    assert none is None
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    assert [decode(reply).payload["actions"][0] for reply in (first, second)] == [1.0, 2.0]
    assert len(policy.episodes) == 2
