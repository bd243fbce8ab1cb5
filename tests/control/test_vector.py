import threading
from dataclasses import replace

import numpy as np
import pytest

from taketwo.control.chunking import OpenLoop, TemporalEnsemble
from taketwo.control.controller import Controller
from taketwo.control.vector import Batched, Concurrent, Controllers, Seat, Table
from taketwo.errors import PolicyError, RenderingError
from taketwo.types import ActionChunk, EpisodeInfo, Image
from tests.control.support import make_spec, observe

WAIT_S = 20.0


class Batches:
    """Answers observation (e, k) with the actions 100 e + k, and notes what it was asked together."""

    cameras = ()

    def __init__(self, height=4):
        self.batches, self.resets, self.closed = [], [], 0
        self._height = height

    def infer_batch(self, observations):
        self.batches.append([tuple(map(int, seen.state)) for seen in observations])
        return [ActionChunk(np.full((self._height, 1), 100 * seen.state[0] + seen.state[1])) for seen in observations]

    def infer(self, observation):
        raise AssertionError("asked alone")

    def reset(self, episode):
        self.resets.append(episode)

    def close(self):
        self.closed += 1


def info(env, index=0):
    return EpisodeInfo(index, 1, env)


def begun(together, executors):
    """Controllers over seats, in episodes that have begun."""
    spec = make_spec(["a"], state_names=("env", "k"))
    table = Table(together)
    controllers = [Controller(make(Seat(table, env)), spec) for env, make in enumerate(executors)]
    several = Controllers(controllers, table)
    for env in range(len(controllers)):
        several.reset(info(env), observe(env, 0))
    return several


def horizon(steps):
    return lambda policy: OpenLoop(policy, steps)


def sent(several, k, envs):
    decisions = several.decide({env: observe(env, k) for env in envs})
    return {env: decision.sent[0] for env, decision in decisions.items()}


def test_a_policy_is_asked_once_a_step_with_those_whose_chunk_is_used_up():
    policy = Batches()
    several = begun(Batched(policy), [horizon(1), horizon(2), horizon(3)])
    actions = [sent(several, k, range(3)) for k in range(6)]
    assert policy.batches == [
        [(0, 0), (1, 0), (2, 0)],
        [(0, 1)],
        [(0, 2), (1, 2)],
        [(0, 3), (2, 3)],
        [(0, 4), (1, 4)],
        [(0, 5)],
    ]
    assert [[step[env] for step in actions] for env in range(3)] == [
        [0, 1, 2, 3, 4, 5],
        [100, 100, 102, 102, 104, 104],
        [200, 200, 200, 203, 203, 203],
    ]


def test_nobody_is_asked_where_all_have_actions_left_or_wait():
    policy = Batches()
    several = begun(Batched(policy), [horizon(3), horizon(3)])
    for k in range(3):
        sent(several, k, range(2))
    assert len(policy.batches) == 1
    assert several.decide({}) == {}
    assert len(policy.batches) == 1
    assert sent(several, 3, [1]) == {1: 103}
    assert policy.batches[1:] == [[(1, 3)]]


def test_a_temporal_ensemble_asks_for_every_environment_at_every_step():
    policy = Batches()
    several = begun(Batched(policy), [lambda seat: TemporalEnsemble(seat, m=0.0)] * 2)
    actions = [sent(several, k, range(2)) for k in range(3)]
    assert policy.batches == [[(0, k), (1, k)] for k in range(3)]
    assert actions == [{0: 0, 1: 100}, {0: 0.5, 1: 100.5}, {0: 1, 1: 101}]


def test_a_reset_environment_is_asked_for_anew_and_the_others_are_not():
    policy = Batches()
    several = begun(Batched(policy), [horizon(4), horizon(4)])
    sent(several, 0, range(2))
    several.reset(info(1, 1), observe(1, 9))
    assert policy.resets == []  # it keeps no state
    assert several.decide({0: observe(0, 1), 1: observe(1, 9)})[1].sent == [109]
    assert policy.batches[1:] == [[(1, 9)]]


def test_what_is_put_beside_an_observation_on_the_way_does_not_ask_twice():
    policy = Batches()
    table = Table(Batched(policy))
    seat, seen = Seat(table, 0), observe(0, 7)
    table.ask({0: seen, 1: observe(1, 7)})
    assert seat.infer(replace(seen, prompt="left")).actions[0, 0] == 7
    assert Seat(table, 1).infer(observe(1, 8)).actions[0, 0] == 108  # another one: asked for itself
    assert policy.batches == [[(0, 7), (1, 7)], [(1, 8)]]


@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_wrong_number_of_answers_is_one_clear_error(given):
    class Miscounts(Batches):
        def infer_batch(self, observations):
            return [ActionChunk(np.zeros((1, 1)))] * given

    several = begun(Batched(Miscounts()), [horizon(1)] * 2)
    with pytest.raises(PolicyError) as error:
        sent(several, 0, range(2))
    assert str(error.value) == f"the policy gave {given} action chunks for 2 observations"


def test_a_batched_policy_is_closed_once():
    policy = Batches()
    begun(Batched(policy), [horizon(1)] * 3).close()
    assert policy.closed == 1


class Server:
    """A policy that waits for somebody else's answer."""

    cameras = ("top",)

    def __init__(self, env, answer):
        self._env, self._answer = env, answer
        self.resets, self.closed = [], 0

    def reset(self, episode):
        self.resets.append(episode.env)

    def infer(self, observation):
        return self._answer(self, observation)

    def close(self):
        self.closed += 1


def seen_by(env, k=0):
    return observe(env, k, images={"top": Image.of(np.zeros((2, 2, 3), np.uint8), "top")})


def test_servers_are_asked_at_the_same_time_and_each_answer_goes_to_its_environment():
    """The barrier lets nobody through before all three are waiting for their answers."""
    barrier = threading.Barrier(3)

    def answer(server, observation):
        barrier.wait(WAIT_S)
        return ActionChunk(np.full((1, 1), 10 * server._env + observation.state[1]))

    servers = [Server(env, answer) for env in range(3)]
    several = begun(Concurrent(servers), [horizon(1)] * 3)
    assert [server.resets for server in servers] == [[0], [1], [2]]
    decisions = several.decide({env: seen_by(env, 5) for env in range(3)})
    assert [decisions[env].sent[0] for env in range(3)] == [5, 15, 25]
    several.close()
    assert [server.closed for server in servers] == [1, 1, 1]


def test_only_those_are_asked_whose_chunk_is_used_up():
    asked = []

    def answer(server, observation):
        asked.append((server._env, int(observation.state[1])))
        return ActionChunk(np.zeros((3, 1)))

    several = begun(Concurrent([Server(env, answer) for env in range(2)]), [horizon(1), horizon(2)])
    for k in range(3):
        several.decide({env: seen_by(env, k) for env in range(2)})
    assert sorted(asked) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]
    several.close()


def test_pictures_are_made_on_the_loops_thread_before_the_servers_are_asked():
    made = []

    def draw():
        made.append(threading.current_thread())
        return np.zeros((2, 2, 3), np.uint8)

    def answer(server, observation):
        return ActionChunk(np.full((1, 1), observation.images["top"].pixels.sum()))

    several = begun(Concurrent([Server(env, answer) for env in range(2)]), [horizon(1)] * 2)
    images = [{"top": Image(draw, camera="top", height=2, width=2)} for _ in range(2)]
    several.decide({env: observe(env, 0, images=images[env]) for env in range(2)})
    assert made == [threading.current_thread()] * 2
    several.close()


def test_one_server_that_fails_is_told_after_all_have_answered():
    answered, told = [], threading.Event()

    def answer(server, observation):
        if server._env == 0:
            raise PolicyError("the server of 0 went away")
        told.wait(0.2)  # which it is not before the others have answered
        answered.append(server._env)
        return ActionChunk(np.zeros((1, 1)))

    several = begun(Concurrent([Server(env, answer) for env in range(3)]), [horizon(1)] * 3)
    with pytest.raises(PolicyError, match="the server of 0 went away"):
        several.decide({env: seen_by(env) for env in range(3)})
    assert sorted(answered) == [1, 2]
    told.set()
    several.close()


def test_closing_ends_the_waits_for_answers():
    closing, waiting = threading.Event(), threading.Barrier(3)

    class Waits(Server):
        def close(self):
            super().close()
            closing.set()

    def answer(server, observation):
        waiting.wait(WAIT_S)
        if not closing.wait(WAIT_S):
            raise AssertionError("nobody closed it")
        raise PolicyError("the connection was closed")

    servers = [Waits(env, answer) for env in range(2)]
    several = begun(Concurrent(servers), [horizon(1)] * 2)
    errors = []

    def decide():
        try:
            several.decide({env: seen_by(env) for env in range(2)})
        except PolicyError as error:
            errors.append(str(error))

    loop = threading.Thread(target=decide, daemon=True)
    loop.start()
    waiting.wait(WAIT_S)  # both are being asked
    several.close()
    loop.join(WAIT_S)
    assert errors == ["the connection was closed"]
    assert [server.closed for server in servers] == [1, 1]


def test_all_are_closed_also_where_one_fails_to():
    class Stuck(Server):
        def close(self):
            super().close()
            raise RuntimeError("stuck")

    servers = [Server(0, None), Stuck(1, None), Server(2, None)]
    several = begun(Concurrent(servers), [horizon(1)] * 3)
    with pytest.raises(RuntimeError, match="stuck"):
        several.close()
    assert [server.closed for server in servers] == [1, 1, 1]


def test_an_error_of_drawing_is_that_of_drawing():
    def dark():
        raise RenderingError("no context")

    several = begun(Concurrent([Server(0, None)]), [horizon(1)])
    with pytest.raises(RenderingError, match="no context"):
        several.decide({0: observe(0, 0, images={"top": Image(dark, camera="top", height=2, width=2)})})
    several.close()


def test_stalls_are_those_of_all():
    class Stalls:
        stalls, asks = 2, True

        def reset(self, episode):
            pass

    spec = make_spec(["a"], state_names=("env", "k"))
    assert Controllers([Controller(Stalls(), spec) for _ in range(3)]).stalls == 6
