import threading

import numpy as np
import pytest

from taketwo.errors import ConfigError, PolicyError
from taketwo.serving.inference import InferenceThread
from taketwo.types import ActionChunk, EpisodeInfo, Observation

PATIENCE_S = 20


class Alone:
    """Answers each observation with its own state, when it is let; notices when two threads are in it."""

    cameras = ()

    def __init__(self, gated=False):
        self.begun = threading.Semaphore(0)
        self._gate = threading.Semaphore(0) if gated else None
        self._in_use = threading.Lock()
        self.passes = []
        self.threads = set()
        self.resets = []

    def let(self, passes=1):
        self._gate.release(passes)

    def wait_begun(self):
        assert self.begun.acquire(timeout=PATIENCE_S), "no pass has begun"

    def reset(self, episode):
        self.resets.append((episode, len(self.passes)))

    def infer(self, observation):
        return self._pass([observation])[0]

    def close(self):
        pass

    def _pass(self, observations):
        assert self._in_use.acquire(blocking=False), "used from two threads at once"
        try:
            self.threads.add(threading.get_ident())
            self.passes.append([value(observation) for observation in observations])
            self.begun.release()
            if self._gate is not None:
                assert self._gate.acquire(timeout=PATIENCE_S), "nobody let it pass"
            return self._answer(observations)
        finally:
            self._in_use.release()

    def _answer(self, observations):
        for observation in observations:
            if value(observation) < 0:
                raise ValueError(f"cannot look at {value(observation)}")
        return [ActionChunk(observation.state[np.newaxis].copy()) for observation in observations]


class Together(Alone):
    def infer_batch(self, observations):
        return self._pass(observations)


class Miscounts(Together):
    def _answer(self, observations):
        return [*super()._answer(observations), ActionChunk(np.zeros((1, 1)))]


class Told:
    """What came of requests and calls, in order, and on which thread."""

    def __init__(self):
        self.all = []
        self.threads = set()
        self._came = threading.Semaphore(0)

    def done(self, name):
        return lambda result: self._note(name, result)

    def wait(self, number):
        for _ in range(number):
            assert self._came.acquire(timeout=PATIENCE_S), f"only {len(self.all)} were told"
        return dict(self.all)

    @property
    def order(self):
        return [name for name, _ in self.all]

    def _note(self, name, result):
        self.all.append((name, result))
        self.threads.add(threading.get_ident())
        self._came.release()


def value(observation):
    return float(observation.state[0])


def see(number):
    return Observation(state=np.array([float(number)]))


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def start():
    threads = []

    def make(**options):
        threads.append(InferenceThread("inference", **options))
        return threads[-1]

    yield make
    for thread in threads:
        thread.close()


def ask(thread, told, policy, client, number):
    thread.infer(policy, client, see(number), told.done(number), told.done(number))


def call(thread, told, name, function):
    thread.call(function, told.done(name), told.done(name))


def test_requests_that_come_during_a_pass_go_into_the_next_one_together(start, told):
    thread, policy = start(), Together(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    for client, number in [("b", 2), ("c", 3), ("d", 4)]:
        ask(thread, told, policy, client, number)
    policy.let(2)
    answers = told.wait(4)
    assert policy.passes == [[1], [2, 3, 4]]
    assert [answers[n].batch_size for n in (1, 2, 3, 4)] == [1, 3, 3, 3]


def test_each_request_gets_the_chunk_for_its_own_observation(start, told):
    thread, policy = start(), Together(gated=True)
    for number in range(1, 6):
        ask(thread, told, policy, number, number)
    policy.let(5)
    assert {n: float(a.chunk.actions[0, 0]) for n, a in told.wait(5).items()} == {n: n for n in range(1, 6)}


def test_a_batch_is_never_larger_than_allowed(start, told):
    thread, policy = start(max_batch_size=2), Together(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    for number in range(2, 7):
        ask(thread, told, policy, number, number)
    policy.let(6)
    told.wait(6)
    assert policy.passes == [[1], [2, 3], [4, 5], [6]]


def test_a_policy_without_infer_batch_is_asked_one_by_one(start, told):
    thread, policy = start(), Alone(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    for client, number in [("b", 2), ("c", 3)]:
        ask(thread, told, policy, client, number)
    policy.let(3)
    answers = told.wait(3)
    assert policy.passes == [[1], [2], [3]]
    assert {answer.batch_size for answer in answers.values()} == {1}


def test_policies_are_not_mixed_in_a_batch(start, told):
    thread, one, other = start(), Together(gated=True), Together()
    ask(thread, told, one, "a", 1)
    one.wait_begun()
    for policy, client, number in [(one, "b", 2), (other, "c", 3), (one, "d", 4), (other, "e", 5)]:
        ask(thread, told, policy, client, number)
    one.let(2)
    told.wait(5)
    assert one.passes == [[1], [2, 4]]
    assert other.passes == [[3, 5]]


def test_everything_runs_on_one_thread_that_is_not_the_callers(start, told):
    thread, policies = start(), [Alone(), Together()]
    for policy in policies:
        ask(thread, told, policy, "a", id(policy))
    call(thread, told, "call", lambda: policies[0].threads.add(threading.get_ident()))
    told.wait(3)
    assert policies[0].threads == policies[1].threads == told.threads != {threading.get_ident()}
    assert len(told.threads) == 1


def test_a_client_that_asks_ahead_gets_its_answers_in_order_and_keeps_nobody_waiting(start, told):
    thread, policy = start(max_batch_size=3), Together(gated=True)
    ask(thread, told, policy, "greedy", 0)
    policy.wait_begun()
    for number in range(1, 6):
        ask(thread, told, policy, "greedy", number)
    ask(thread, told, policy, "b", 11)
    ask(thread, told, policy, "c", 12)
    policy.let(4)
    told.wait(8)
    assert policy.passes == [[0], [11, 12, 1], [2, 3, 4], [5]]
    assert [number for number in told.order if number < 10] == [0, 1, 2, 3, 4, 5]


def test_a_client_that_asks_two_policies_is_answered_in_its_order(start, told):
    thread, one, other = start(), Together(gated=True), Together()
    ask(thread, told, one, "a", 0)
    one.wait_begun()
    ask(thread, told, one, "b", 1)
    ask(thread, told, other, "c", 2)
    ask(thread, told, one, "c", 3)
    one.let(3)
    told.wait(4)
    assert one.passes == [[0], [1], [3]]
    assert told.order == [0, 1, 2, 3]


def test_a_call_runs_after_what_was_asked_before_and_before_what_is_asked_later(start, told):
    thread, policy, episode = start(), Together(gated=True), EpisodeInfo(3, 4)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    ask(thread, told, policy, "b", 2)
    call(thread, told, "reset", lambda: policy.reset(episode))
    ask(thread, told, policy, "c", 3)
    policy.let(3)
    told.wait(4)
    assert told.order == [1, 2, "reset", 3]
    assert policy.resets == [(episode, 2)]
    assert policy.passes == [[1], [2], [3]]


def test_a_greedy_client_does_not_make_later_requests_pass_a_call(start, told):
    thread, policy = start(max_batch_size=1), Together(gated=True)
    for number in range(4):
        ask(thread, told, policy, "greedy", number)
    call(thread, told, "call", lambda: None)
    ask(thread, told, policy, "b", 10)
    policy.let(5)
    told.wait(6)
    assert told.order == [0, 1, 2, 3, "call", 10]


def test_a_call_hands_over_what_it_returned_or_raised(start, told):
    thread = start()
    call(thread, told, "made", lambda: "a policy")
    call(thread, told, "broken", lambda: [][0])
    results = told.wait(2)
    assert results["made"] == "a policy"
    assert isinstance(results["broken"], IndexError)


def test_only_the_culprit_of_a_batch_gets_the_error(start, told, caplog):
    thread, policy = start(), Together(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    for client, number in [("b", 2), ("c", -3), ("d", 4)]:
        ask(thread, told, policy, client, number)
    policy.let(5)
    results = told.wait(4)
    assert policy.passes == [[1], [2, -3, 4], [2], [-3], [4]]
    assert str(results[-3]) == "cannot look at -3.0"
    assert [float(results[n].chunk.actions[0, 0]) for n in (1, 2, 4)] == [1, 2, 4]
    assert [results[n].batch_size for n in (2, 4)] == [1, 1]
    assert "a batch of 3 failed" in caplog.text


def test_a_request_that_fails_alone_is_not_asked_again(start, told):
    thread, policy = start(), Together()
    ask(thread, told, policy, "a", -1)
    assert isinstance(told.wait(1)[-1], ValueError)
    assert policy.passes == [[-1]]


@pytest.mark.parametrize("policy", [Alone(), Together()], ids=["alone", "together"])
def test_the_thread_outlives_errors(start, told, policy):
    thread = start()
    ask(thread, told, policy, "a", -1)
    ask(thread, told, policy, "a", 1)
    results = told.wait(2)
    assert isinstance(results[-1], ValueError)
    assert results[1].batch_size == 1


def test_a_policy_that_wants_to_end_the_process_does_not(start, told):
    class Quits(Alone):
        def _answer(self, observations):
            raise SystemExit("out of tokens")

    thread = start()
    ask(thread, told, Quits(), "a", 1)
    error = told.wait(1)[1]
    assert isinstance(error, PolicyError)
    assert "SystemExit: out of tokens" in str(error)


def test_another_number_of_chunks_than_of_observations_is_a_policy_error(start, told):
    thread, policy = start(), Miscounts()
    ask(thread, told, policy, "a", 1)
    error = told.wait(1)[1]
    assert isinstance(error, PolicyError)
    assert str(error) == "the policy gave 2 chunks for 1 observations"


def test_a_callback_that_raises_harms_nobody_else(start, told, caplog):
    thread, policy = start(), Together(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()

    def broken(answer):
        raise RuntimeError("the event loop has ended")

    thread.infer(policy, "b", see(2), broken, broken)
    ask(thread, told, policy, "c", 3)
    policy.let(2)
    assert told.wait(2)[3].batch_size == 2
    assert "could not hand over" in caplog.text


def test_the_time_in_the_queue_and_that_of_the_pass_are_told_apart(start, told):
    thread, policy = start(), Together(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    ask(thread, told, policy, "b", 2)
    held = threading.Event()
    held.wait(0.05)
    policy.let(2)
    answers = told.wait(2)
    assert answers[1].infer_ms >= 50 and answers[2].queue_ms >= 50
    assert answers[1].queue_ms < answers[1].infer_ms
    assert answers[2].infer_ms < answers[2].queue_ms


def test_what_a_client_asked_before_it_left_fails_and_is_not_computed(start, told):
    thread, policy = start(), Together(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    ask(thread, told, policy, "gone", 2)
    ask(thread, told, policy, "b", 3)
    thread.leave("gone")
    policy.let(2)
    results = told.wait(3)
    assert policy.passes == [[1], [3]]
    assert isinstance(results[2], PolicyError)


def test_closing_ends_after_what_is_under_way_and_fails_what_is_queued(start, told):
    thread, policy = start(), Together(gated=True)
    ask(thread, told, policy, "a", 1)
    policy.wait_begun()
    ask(thread, told, policy, "b", 2)
    call(thread, told, "reset", lambda: policy.reset(EpisodeInfo(0, 0)))
    closing = [threading.Thread(target=thread.close) for _ in range(2)]
    for closer in closing:
        closer.start()
    policy.let()
    for closer in closing:
        closer.join(PATIENCE_S)
        assert not closer.is_alive()
    results = told.wait(3)
    assert results[1].batch_size == 1
    for name in (2, "reset"):
        assert isinstance(results[name], PolicyError)
        assert "closed" in str(results[name])
    assert policy.passes == [[1]] and policy.resets == []


def test_what_is_asked_after_closing_fails_at_once(start, told):
    thread = start()
    thread.close()
    thread.close()
    ask(thread, told, Together(), "a", 1)
    call(thread, told, "call", lambda: None)
    assert all(isinstance(result, PolicyError) for result in told.wait(2).values())


def test_it_can_be_closed_from_its_own_callback(start, told):
    thread = start()
    thread.call(lambda: None, lambda _: thread.close(), told.done("failed"))
    thread.close()
    ask(thread, told, Together(), "a", 1)
    assert isinstance(told.wait(1)[1], PolicyError)


def test_every_request_is_told_of_however_the_closing_falls():
    for _ in range(30):
        told, thread, policy = Told(), InferenceThread("inference"), Together()

        def ask_often(client, thread=thread, told=told, policy=policy):
            for number in range(20):
                ask(thread, told, policy, client, number)

        askers = [threading.Thread(target=ask_often, args=[client]) for client in range(3)]
        for asker in askers:
            asker.start()
        thread.close()
        for asker in askers:
            asker.join(PATIENCE_S)
        told.wait(60)
        assert len(told.all) == 60


@pytest.mark.parametrize("options", [{"max_batch_size": 0}, {"max_wait_s": -0.1}, {"max_wait_s": float("nan")}])
def test_limits_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        InferenceThread("inference", **options)
