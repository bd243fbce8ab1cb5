"""Our client and our server together: what they tell each other beyond openpi's protocol."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pytest

from taketwo.errors import PolicyError
from taketwo.policies.remote import RemoteConfig
from taketwo.serving.environments import AlohaSimConfig, CustomConfig
from taketwo.types import RUNNING_CHUNK, ActionChunk, EpisodeInfo, Image, Observation, RunningChunk
from tests.serving.support import SMALL, Counting, Looking, Prompted, served
from tests.support_server import actions_like, free_port, serving

QUICK = {"connect_timeout_s": 5.0, "reconnect_timeout_s": 10.0}


def spec(config=SMALL):
    return config.make().spec


def remote(server, config=SMALL, **options):
    return RemoteConfig(port=server.port, **(QUICK | options)).make(spec(config))


def remote_at(port, config=SMALL):
    return RemoteConfig(port=port, **QUICK).make(spec(config))


def shown(**changes):
    pixels = np.full((48, 64, 3), 7, np.uint8)
    whole = {"state": np.zeros(2), "images": {"top": Image.of(pixels, "top")}, "prompt": "up", "time_s": 0.3}
    return Observation(**(whole | changes))


class Recalling(Counting):
    """Keeps what it is shown."""

    cameras = ()
    extras = ("object_poses", "touched_by", RUNNING_CHUNK)

    def __init__(self):
        super().__init__()
        self.seen = []

    def infer(self, observation):
        self.seen.append(observation)
        return super().infer(observation)


@dataclass
class Pictures:
    """Counts how often it is drawn."""

    drawn: int = 0

    def draw(self):
        self.drawn += 1
        return np.zeros((48, 64, 3), np.uint8)

    def image(self):
        return Image(self.draw, camera="top", height=48, width=64)


def test_the_layout_and_the_size_of_pictures_come_from_the_server():
    config = replace(SMALL, image_height=32, image_width=40)
    with served(Looking, config) as server:
        policy = remote(server)
        assert policy.cameras == ("top",)
        assert policy.infer(shown()).actions[0, 0] == 32
        policy.close()


def test_what_is_given_wins_over_what_the_server_tells():
    with served(Looking) as server:
        policy = remote(server, image_height=20, image_width=20)
        assert policy.infer(shown()).actions[0, 0] == 20
        policy.close()


def test_a_camera_that_the_served_policy_does_not_look_at_is_neither_drawn_nor_sent():
    pictures = Pictures()
    with served(Counting) as server:
        policy = remote(server)
        assert policy.cameras == ()
        policy.infer(shown(images={"top": pictures.image()}))
        policy.close()
    assert pictures.drawn == 0


def test_time_extras_and_running_chunk_arrive_where_the_policy_looks_at_them():
    policy = Recalling()
    extras = {
        "object_poses": {"cube": np.arange(7.0)},
        "touched_by": {"left": frozenset({"b", "a"})},
        "secret": "not asked for",
        RUNNING_CHUNK: RunningChunk(np.ones((4, 2)), 3),
    }
    with served(lambda: policy) as server:
        client = remote(server)
        client.infer(shown(extras=extras))
        client.close()
    (seen,) = policy.seen
    assert seen.time_s == 0.3
    assert seen.extras.keys() == {"object_poses", "touched_by", RUNNING_CHUNK}
    np.testing.assert_array_equal(seen.extras["object_poses"]["cube"], np.arange(7.0))
    assert seen.extras["touched_by"] == {"left": ["a", "b"]}
    np.testing.assert_array_equal(seen.extras[RUNNING_CHUNK].actions, np.ones((4, 2)))
    assert seen.extras[RUNNING_CHUNK].delay_steps == 3


def test_a_reset_reaches_the_served_policy():
    with served(Counting) as server:
        policy = remote(server)
        policy.reset(EpisodeInfo(0, 5))
        policy.infer(shown())
        policy.reset(EpisodeInfo(1, 6))
        assert policy.infer(shown()).actions.tolist() == [[1.0, 6.0]]
        policy.close()


def test_the_prompt_that_was_used_comes_back():
    with served(Prompted, default_prompt="by default") as server:
        policy = remote(server)
        mine, theirs = policy.infer(shown()), policy.infer(shown(prompt=None))
        policy.close()
    assert (mine.prompt_used, mine.prompt_source, mine.prompt_read) == ("up", "observation", True)
    assert (theirs.prompt_used, theirs.prompt_source) == ("by default", "default_prompt")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (CustomConfig(action_dim=3, state_dim=2), "is for actions of 2 numbers, environment 'custom' has 3"),
        (CustomConfig(action_dim=2, state_dim=4), "is for states of 2 numbers, environment 'custom' has 4"),
        (
            CustomConfig(action_names=("dy", "dx"), state_names=("x", "y")),
            "has other action names: number 0 is 'dx' there and 'dy' in 'custom'",
        ),
        (AlohaSimConfig(), "is for actions of 2 numbers, environment 'transfer_cube' has 14"),
    ],
)
def test_a_server_for_another_environment_is_refused_before_anything_moves(environment, message):
    with served(Counting) as server, pytest.raises(PolicyError, match=message):
        remote(server, environment)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_that_is_killed_and_started_again_is_found_again_and_the_gap_is_told(caplog):
    port = free_port()
    with served(Counting, port=port) as server:
        policy = remote(server)
        policy.reset(EpisodeInfo(2, 9))
        policy.infer(shown())
    answers = []
    asking = threading.Thread(target=lambda: answers.append(policy.infer(shown())))
    asking.start()
    wait_for(lambda: "was lost" in caplog.text)
    with served(Counting, port=port):
        asking.join(15)
        assert answers[0].actions.tolist() == [[1.0, 9.0]]  # the reset was sent again, first
        assert len(policy.outages_s) == 1
        assert policy.outages_s[0] > 0
        policy.close()


def in_progress(server):
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as response:
        (line,) = [line for line in response.read().decode().splitlines() if line.startswith("taketwo_requests_in_pr")]
    return float(line.split()[-1])


def test_a_server_that_comes_back_as_another_is_refused_before_anything_is_sent():
    port = free_port()
    swapped = replace(SMALL, action_names=("dy", "dx"))
    with served(Counting, port=port):
        policy = remote_at(port)
        policy.infer(shown())
    other = Recalling()
    refused = pytest.raises(PolicyError, match="has other action names: number 0 is 'dy' there and 'dx'")
    with served(lambda: other, swapped, port=port), refused:
        policy.infer(shown())
    policy.close()
    assert other.seen == []


def test_a_server_that_comes_back_wanting_other_requests_is_refused():
    port = free_port()
    with served(Counting, port=port):
        policy = remote_at(port)
        policy.infer(shown())
    refused = pytest.raises(PolicyError, match="came back wanting other requests than before")
    with served(Counting, replace(SMALL, mapping={"joints": "state"}), port=port), refused:
        policy.infer(shown())
    policy.close()


def test_an_episode_is_told_once_where_the_loss_is_noticed_while_it_is_told():
    port = free_port()
    begun = []

    class Begun(Counting):
        def reset(self, episode):
            begun.append(episode.index)
            super().reset(episode)

    with served(Begun, port=port):
        policy = remote_at(port)
        policy.reset(EpisodeInfo(0, 1))
    with served(Begun, port=port):
        policy.reset(EpisodeInfo(1, 2))
        policy.close()
    assert begun == [0, 1]


def test_what_a_relayed_policy_does_not_tell_is_not_made_up():
    plain = CustomConfig(state_dim=2, action_dim=2)
    with serving(actions_like([1.0, 2.0])) as silent:
        relay = RemoteConfig(port=silent.port, layout="custom", mapping={"state": "state", "prompt": "prompt"})
        with served(lambda: relay.make(spec(plain)), plain) as server:
            client = server.client()
            assert client.get_server_metadata()["taketwo"]["prompt"]["read"] is None
            told = client.infer({"state": np.zeros(2), "prompt": "up"})["taketwo"]
        assert silent.requests[0]["prompt"] == "up"
    assert told == {"prompt_used": None, "prompt_source": None, "prompt_read": None}


def test_what_a_policy_tells_its_clients_comes_first_hand():
    class Told(Counting):
        metadata = MappingProxyType({"reset_pose": [0.0, 1.0], "action_dim": 99})

    with served(Told) as server:
        metadata = server.client().get_server_metadata()
    assert metadata["reset_pose"] == [0.0, 1.0]
    assert metadata["action_dim"] == 2


class Sums:
    """Adds the numbers of each observation, of several at once."""

    cameras = ()

    def __init__(self):
        self.batches, self.entered, self.go_on = [], threading.Event(), threading.Event()

    def reset(self, episode):
        raise AssertionError("a policy that keeps no state has nothing to reset")

    def infer(self, observation):
        return self.infer_batch([observation])[0]

    def infer_batch(self, observations):
        self.batches.append(len(observations))
        self.entered.set()
        assert self.go_on.wait(10)
        return [ActionChunk(np.array([[seen.state.sum(), 0.0]])) for seen in observations]

    def close(self):
        pass


def test_requests_that_wait_for_a_pass_go_into_the_next_one_together_and_each_gets_its_own_answer():
    policy = Sums()
    with served(lambda: policy) as server:
        clients = [remote(server) for _ in range(5)]
        answers = {}

        def ask(number):
            clients[number].reset(EpisodeInfo(0, 0))
            answers[number] = clients[number].infer(shown(state=np.array([number, 10.0]))).actions[0, 0]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
        threads[0].start()
        assert policy.entered.wait(10)
        for thread in threads[1:]:
            thread.start()
        wait_for(lambda: in_progress(server) >= 5)
        policy.go_on.set()
        for thread in threads:
            thread.join(10)
        for client in clients:
            client.close()
    assert answers == {number: number + 10.0 for number in range(5)}
    assert policy.batches == [1, 4]
