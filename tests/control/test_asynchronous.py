import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from taketwo.control.asynchronous import RECENT_DELAYS, Asynchronous, blended
from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.remote import RemoteConfig
from taketwo.types import RUNNING_CHUNK, ActionChunk, Image
from tests.control.support import EPISODE, Says, make_spec, numbered, observe
from tests.support_server import Hang, serving

PATIENCE_S = 20


class Gated(Says):
    """Answers only when allowed to, and notices when `reset` or `infer` is called while one of them runs."""

    def __init__(self, answer, cameras=()):
        super().__init__(answer, cameras)
        self._gate = threading.Semaphore(0)
        self._in_use = threading.Lock()
        self.threads = set()
        self.overlapped = False
        self.begun = 0

    def allow(self, answers=1):
        self._gate.release(answers)

    def reset(self, episode):
        with self._used_alone():
            super().reset(episode)

    def infer(self, observation):
        with self._used_alone():
            self.begun += 1
            assert self._gate.acquire(timeout=PATIENCE_S), "nobody allowed an answer"
            return super().infer(observation)

    def close(self):
        self.closed_by = threading.get_ident()
        super().close()

    @contextmanager
    def _used_alone(self):
        self.threads.add(threading.get_ident())
        if not self._in_use.acquire(blocking=False):
            self.overlapped = True
            raise AssertionError("the policy is used from two threads at once")
        try:
            yield
        finally:
            self._in_use.release()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.001)


@contextmanager
def in_background(call):
    """Run `call` on another thread within the block; its exception comes out at the end."""
    errors = []

    def run():
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed over below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@pytest.fixture
def begin():
    """Makes an executor whose first chunk has arrived, and closes it whatever happens."""
    made = []

    def make(policy, **options):
        executor = Asynchronous(policy, **options)
        made.append((executor, policy))
        executor.reset(EPISODE)
        policy.allow()
        return executor

    yield make
    for executor, policy in made:
        policy.allow(100)
        executor.close()
        assert not policy.overlapped


def run(executor, steps):
    return [float(executor.next_action(observe(0.0)).action[0]) for _ in range(steps)]


def inferring(executor):
    return executor._answer is not None and not executor._answer.done()


def answered(executor):
    wait_until(lambda: not inferring(executor))


def test_actions_whose_steps_have_passed_since_the_observation_are_skipped(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, prefetch=4, blend_steps=0)
    assert run(executor, 8) == [0, 1, 2, 3, 4, 5, 6, 7]  # asks at step 6, when 4 are left
    policy.allow()
    answered(executor)
    assert run(executor, 4) == [102, 103, 104, 105]
    assert executor.stalls == 0


def test_it_asks_when_prefetch_actions_are_left_with_the_observation_of_that_step(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, prefetch=4, blend_steps=0)
    observations = [observe(float(k), prompt=f"prompt {k}", extras={"contacts": k}) for k in range(8)]
    for observation in observations[:6]:
        executor.next_action(observation)
        assert not inferring(executor)
    executor.next_action(observations[6])
    assert inferring(executor)
    policy.allow()
    answered(executor)
    first, second = policy.asked
    assert first is observations[0]
    assert (second.state, second.prompt, second.extras["contacts"]) == (observations[6].state, "prompt 6", 6)


def test_old_and_new_chunk_are_blended_where_both_have_actions(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, prefetch=4, blend_steps=3)
    assert run(executor, 7) == [0, 1, 2, 3, 4, 5, 6]
    policy.allow()
    answered(executor)
    # Old 7, 8, 9 against new 101, 102, 103, then new alone.
    np.testing.assert_allclose(
        run(executor, 4), [0.75 * 7 + 0.25 * 101, 0.5 * 8 + 0.5 * 102, 0.25 * 9 + 0.75 * 103, 104], atol=1e-12
    )


@pytest.mark.parametrize(
    ("old", "new", "steps", "expected"),
    [
        (4, 4, 1, [0.5, 1, 1, 1]),
        (2, 4, 9, [1 / 3, 2 / 3, 1, 1]),
        (9, 2, 9, [1 / 3, 2 / 3]),
        (0, 3, 2, [1, 1, 1]),
        (3, 3, 0, [1, 1, 1]),
    ],
)
def test_the_blend_is_linear_over_the_overlap(old, new, steps, expected):
    mixed = blended(np.zeros((old, 2)), np.ones((new, 2)), steps)
    np.testing.assert_allclose(mixed, np.repeat(np.array(expected)[:, None], 2, axis=1))


def test_a_step_without_an_action_waits_and_counts_as_a_stall(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, prefetch=4, blend_steps=3)
    assert run(executor, 10) == list(range(10))
    taken = []
    with in_background(lambda: taken.extend(run(executor, 2))) as thread:
        wait_until(lambda: executor.stalls == 1)
        assert thread.is_alive() and not taken
        policy.allow()
    assert taken == [104, 105]  # asked at step 6, taken at step 10, nothing left to blend with
    assert executor.stalls == 1


def test_the_first_step_of_an_episode_is_no_stall(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, prefetch=2)
    run(executor, 1)
    executor.reset(EPISODE)
    policy.allow()
    run(executor, 1)
    assert executor.stalls == 0


def test_only_the_horizon_of_each_chunk_is_used(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, action_horizon=6, prefetch=2, blend_steps=0)
    assert run(executor, 4) == [0, 1, 2, 3]
    assert not inferring(executor)
    run(executor, 1)
    policy.allow()
    answered(executor)
    assert run(executor, 3) == [101, 102, 103]


@pytest.mark.parametrize("error", [PolicyError("the server hung up"), ValueError("broken")])
def test_an_error_in_the_background_is_raised_in_the_step_and_the_next_one_asks_anew(begin, error):
    def answer(k):
        if k == 1:
            raise error
        return numbered(10)(k)

    policy = Gated(answer)
    executor = begin(policy, prefetch=4, blend_steps=0)
    run(executor, 7)
    policy.allow()
    answered(executor)
    with pytest.raises(type(error)) as caught:
        executor.next_action(observe(0.0))
    assert caught.value is error
    policy.allow()
    run(executor, 1)
    answered(executor)
    assert run(executor, 1) == [201]


def test_a_reset_waits_for_an_inference_under_way_and_its_answer_never_gets_into_the_next_episode(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, prefetch=4, blend_steps=3)
    run(executor, 7)
    wait_until(lambda: policy.begun == 2)
    with in_background(lambda: executor.reset(EPISODE)) as thread:
        assert thread.is_alive() and len(policy.resets) == 1
        policy.allow()
    assert len(policy.resets) == 2
    policy.allow()
    assert run(executor, 6) == [0, 1, 2, 3, 4, 5]


def test_an_error_of_an_inference_that_a_reset_discards_is_told_and_does_not_reach_the_next_episode(begin, caplog):
    def answer(k):
        if k == 1:
            raise ValueError("too late")
        return numbered(10)(k)

    policy = Gated(answer)
    executor = begin(policy, prefetch=4)
    run(executor, 7)
    wait_until(lambda: policy.begun == 2)
    policy.allow()
    executor.reset(EPISODE)
    policy.allow()
    assert run(executor, 6) == [0, 1, 2, 3, 4, 5]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "too late" in caplog.text


def test_closing_closes_the_policy_at_once_and_waits_for_an_inference_that_goes_on_all_the_same():
    before = set(threading.enumerate())
    policy = Gated(numbered(10))
    executor = Asynchronous(policy, prefetch=4)
    executor.reset(EPISODE)
    policy.allow()
    run(executor, 7)
    wait_until(lambda: policy.begun == 2)
    assert set(threading.enumerate()) - before
    with in_background(executor.close) as thread:
        wait_until(lambda: policy.closed)
        assert thread.is_alive()
        policy.allow()
    executor.close()
    assert policy.closed == 1 and not policy.overlapped
    assert not set(threading.enumerate()) - before


def test_a_policy_at_rest_is_closed_by_the_thread_that_used_it():
    policy = Gated(numbered(10))
    policy.allow()
    executor = Asynchronous(policy, prefetch=4)
    executor.reset(EPISODE)
    run(executor, 1)
    executor.close()
    assert policy.threads == {policy.closed_by}


@pytest.mark.parametrize("hanging", ["infer", "reset"])
def test_after_ctrl_c_closing_does_not_wait_for_a_server_that_hangs(hanging):
    def hang(request):
        if ("reset" in request.get("taketwo", {})) != (hanging == "reset"):
            return {}
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return Hang()

    before = set(threading.enumerate())
    with serving(hang, metadata={"taketwo": {"reset": True}}) as server:
        config = RemoteConfig(
            port=server.port,
            layout="custom",
            mapping={"joints": "state"},
            first_infer_timeout_s=10 * PATIENCE_S,
            infer_timeout_s=10 * PATIENCE_S,
        )
        executor = Asynchronous(config.make(make_spec(["a"])), prefetch=4)
        with pytest.raises(KeyboardInterrupt):
            executor.reset(EPISODE)
            executor.next_action(observe(0.0))
        with in_background(executor.close):
            pass
        assert len(server.requests) == (1 if hanging == "reset" else 2)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert not set(threading.enumerate()) - before


def test_after_ctrl_c_in_the_moment_of_asking_closing_does_not_wait_for_the_policy(monkeypatch):
    class EndsWhenClosed(Says):
        begun, ended = threading.Event(), threading.Event()

        def infer(self, observation):
            self.begun.set()
            assert self.ended.wait(2 * PATIENCE_S), "nobody closed the policy"
            raise PolicyError("closed")

        def close(self):
            self.ended.set()

    policy = EndsWhenClosed(None)
    executor = Asynchronous(policy, prefetch=4)
    executor.reset(EPISODE)
    submit = executor._thread.submit

    def interrupted(call):
        submit(call)
        assert policy.begun.wait(PATIENCE_S)
        raise KeyboardInterrupt

    monkeypatch.setattr(executor._thread, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        executor.next_action(observe(0.0))
    monkeypatch.undo()
    with in_background(executor.close):
        pass
    assert policy.ended.is_set()


def test_closing_ends_the_thread_also_when_the_policy_cannot_close():
    class Stuck(Says):
        def close(self):
            raise ValueError("cannot close")

    before = set(threading.enumerate())
    executor = Asynchronous(Stuck(numbered(10)), prefetch=4)
    executor.reset(EPISODE)
    with pytest.raises(ValueError, match="cannot close"):
        executor.close()
    assert not set(threading.enumerate()) - before


def test_one_thread_alone_resets_and_asks_the_policy_and_it_is_not_the_loops():
    policy = Gated(numbered(4))
    policy.allow(1000)
    executor = Asynchronous(policy, prefetch=2)
    for _ in range(5):
        executor.reset(EPISODE)
        run(executor, 40)
    executor.close()
    assert len(policy.threads) == 1 and threading.get_ident() not in policy.threads
    assert not policy.overlapped


def test_the_pictures_that_the_policy_looks_at_are_made_on_the_loops_thread_and_no_others(begin):
    made = []

    def picture(camera):
        def render():
            made.append((camera, threading.get_ident()))
            return np.zeros((4, 6, 3), np.uint8)

        return Image(render, camera=camera, height=4, width=6)

    class Looks(Gated):
        def infer(self, observation):
            assert observation.images["top"].pixels.shape == (4, 6, 3)
            return super().infer(observation)

    executor = begin(Looks(numbered(10), cameras=["top"]), prefetch=4)
    executor.next_action(observe(0.0, images={"top": picture("top"), "wrist": picture("wrist")}))
    assert made == [("top", threading.get_ident())]
    for _ in range(5):
        executor.next_action(observe(0.0, images={"top": picture("top")}))
    assert len(made) == 1  # nothing is asked, so nothing is rendered
    with pytest.raises(PolicyError, match=r"no picture: unknown camera 'top'"):
        executor.next_action(observe(0.0, images={"wrist": picture("wrist")}))


def test_the_prompt_is_that_of_the_chunk_gone_over_to(begin):
    policy = Gated(lambda k: ActionChunk(np.zeros((10, 1)), prompt_used=f"prompt {k}"))
    executor = begin(policy, prefetch=4)
    prompts = [executor.next_action(observe(0.0)).prompt_used for _ in range(7)]
    policy.allow()
    answered(executor)
    prompts.append(executor.next_action(observe(0.0)).prompt_used)
    assert prompts == ["prompt 0"] * 7 + ["prompt 1"]


class Delayed:
    """Runs an executor whose policy answers as many steps after it was asked as is said."""

    def __init__(self, executor, policy):
        self.executor, self.policy = executor, policy

    def until_asked(self):
        """Take steps until the policy is asked; how many that were."""
        steps = 0
        while not inferring(self.executor):
            run(self.executor, 1)
            steps += 1
        wait_until(lambda: self.policy.begun == len(self.policy.asked) + 1)
        return steps

    def answer_after(self, steps):
        """Let the answer come this many steps after it was asked for; it is used in the step that follows."""
        run(self.executor, steps - 1)  # the asking step was the first of them
        self.policy.allow()
        answered(self.executor)

    def running(self):
        """What the policy was told of the chunk that ran when it was asked last."""
        return self.policy.asked[-1].extras[RUNNING_CHUNK]


def test_a_policy_asked_while_a_chunk_runs_is_told_what_is_left_of_it_from_its_observations_step_on(begin):
    policy = Gated(numbered(10, width=2))
    executor = begin(policy, prefetch=4, blend_steps=0)
    run(executor, 7)
    policy.allow()
    answered(executor)
    assert RUNNING_CHUNK not in policy.asked[0].extras
    running = policy.asked[1].extras[RUNNING_CHUNK]
    np.testing.assert_array_equal(running.actions, [[6, 6], [7, 7], [8, 8], [9, 9]])
    running.actions[:] = -1
    assert run(executor, 1) == [101]  # what a policy does to them is its own affair


def test_what_the_policy_planned_beyond_the_horizon_is_told_too(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, action_horizon=6, prefetch=2, blend_steps=0)
    run(executor, 5)
    policy.allow()
    answered(executor)
    running = policy.asked[1].extras[RUNNING_CHUNK]
    assert running.actions[:, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert running.delay_steps == 2  # of these, no more than two can be executed


def test_no_chunk_runs_at_the_first_step_of_any_episode(begin):
    policy = Gated(numbered(10))
    executor = begin(policy, prefetch=4)
    run(executor, 3)
    executor.reset(EPISODE)
    policy.allow()
    run(executor, 1)
    assert [dict(observation.extras) for observation in policy.asked] == [{}]


def test_the_delay_told_is_the_longest_of_the_last_few(begin):
    policy = Gated(numbered(40))
    executor = begin(policy, prefetch=20, blend_steps=0)
    delayed = Delayed(executor, policy)
    delays = [3, 7, 1, *[2] * RECENT_DELAYS]
    told = []
    for delay in delays:
        delayed.until_asked()
        delayed.answer_after(delay)
        told.append(delayed.running().delay_steps)
    # Nothing is known at first, so that all that is left may be executed.
    assert told[0] == 20
    assert told[1:] == [max(delays[max(0, k - RECENT_DELAYS) : k]) for k in range(1, len(delays))]
    assert told[-1] == 2
    assert executor.stalls == 0


def test_no_more_steps_are_told_than_there_are_actions_left(begin):
    policy = Gated(numbered(20))
    executor = begin(policy, prefetch=4, blend_steps=0)
    delayed = Delayed(executor, policy)
    delayed.until_asked()
    run(executor, 3)
    with in_background(lambda: run(executor, 1)):
        wait_until(lambda: executor.stalls == 1)
        policy.allow()
    delayed.until_asked()
    delayed.answer_after(1)
    assert delayed.running().delay_steps == 4


class Continues(Gated):
    """Goes on where the running chunk will be, by one more each step; alone, from what the state says."""

    def infer(self, observation):
        self._answer = lambda _: self._continued(observation)
        return super().infer(observation)

    def _continued(self, observation):
        running = observation.extras.get(RUNNING_CHUNK)
        given = np.empty((0, 1)) if running is None else running.actions
        start = observation.state[0] if running is None else given[-1, 0] + 1
        return np.concatenate([given, np.arange(start, start + 10 - len(given))[:, None]])


@pytest.mark.parametrize("blend_steps", [0, 3, 5])
def test_blending_changes_nothing_for_a_policy_that_continues_the_running_chunk(begin, blend_steps):
    policy = Continues(None)
    executor = begin(policy, prefetch=5, blend_steps=blend_steps)
    executed = []
    for delay in (1, 2, 4, 3):
        while not inferring(executor):
            executed += run(executor, 1)
        executed += run(executor, delay - 1)
        policy.allow()
        answered(executor)
    np.testing.assert_allclose(executed, np.arange(len(executed)), atol=1e-12)
    assert len(executed) > 20


def test_without_a_prefetch_it_asks_at_half_a_chunk_until_a_delay_is_known_and_then_as_late_as_it_can(begin):
    policy = Gated(numbered(40))
    executor = begin(policy, blend_steps=4)
    delayed = Delayed(executor, policy)
    assert delayed.until_asked() == 21  # the step that asks, when 20 are left, included
    delayed.answer_after(6)
    # Of the 40 actions, 6 have elapsed; asked is at 6 + 4 left.
    assert delayed.until_asked() == 40 - 6 - 10 + 1
    delayed.answer_after(3)
    assert delayed.until_asked() == 40 - 3 - 10 + 1
    assert executor.stalls == 0


def test_without_a_prefetch_a_stall_makes_it_ask_earlier_but_never_before_half_a_chunk(begin):
    policy = Gated(numbered(40))
    executor = begin(policy, blend_steps=0)
    delayed = Delayed(executor, policy)

    def stall(left):
        run(executor, left - 1)
        stalls = executor.stalls
        with in_background(lambda: run(executor, 1)):
            wait_until(lambda: executor.stalls == stalls + 1)
            policy.allow()

    delayed.until_asked()
    delayed.answer_after(2)
    assert delayed.until_asked() == 40 - 2 - (2 + 2) + 1  # two more than the delay are left
    stall(left=4)
    assert delayed.until_asked() + 1 == 40 - 4 - (2 * 4 + 2) + 1  # the step that stalled took one
    stall(left=10)
    assert delayed.until_asked() + 1 == 40 - 10 - 20 + 1
    delayed.answer_after(1)


def test_chunks_of_one_action_cannot_be_asked_for_early(begin):
    executor = begin(Gated(numbered(1)))
    with pytest.raises(ConfigError, match=r"only 1 action of a chunk is used.*: give executor open_loop"):
        executor.next_action(observe(0.0))


@pytest.mark.parametrize("prefetch", [25, None])
def test_a_server_ten_steps_away_serves_without_a_stall(prefetch):
    """As one 200 ms away at 50 Hz; steps are counted instead of time, so that a busy machine changes nothing."""
    may_answer = threading.Semaphore(1)  # the first answer, which a step waits for

    def answer(request):
        assert may_answer.acquire(timeout=PATIENCE_S), "nobody allowed an answer"
        return {"actions": np.zeros((50, 1))}

    with serving(answer) as server:
        config = RemoteConfig(port=server.port, layout="custom", mapping={"joints": "state"})
        executor = Asynchronous(config.make(make_spec(["a"])), prefetch=prefetch, blend_steps=10)
        executor.reset(EPISODE)
        steps_away = 0
        for _ in range(200):
            run(executor, 1)
            steps_away += inferring(executor)
            if steps_away == 10:
                may_answer.release()
                answered(executor)
                steps_away = 0
        may_answer.release(2)
        executor.close()
        asked = len(server.requests)
    assert executor.stalls == 0
    assert asked >= 200 // 40


def test_the_running_chunk_gets_to_a_server_that_asks_for_it():
    def answer(request):
        running = request["taketwo"].get("running_chunk")
        left = np.empty((0, 1)) if running is None else running["actions"]
        start = request["joints"][0] if running is None else left[-1, 0] + 1
        return {"actions": np.concatenate([left, np.arange(start, start + 20 - len(left))[:, None]])}

    with serving(answer, metadata={"taketwo": {"protocol": 1, "extras": ["running_chunk"]}}) as server:
        config = RemoteConfig(port=server.port, layout="custom", mapping={"joints": "state"})
        executor = Asynchronous(config.make(make_spec(["a"])), prefetch=8, blend_steps=3)
        executor.reset(EPISODE)
        executed = []
        for _ in range(60):
            executed += run(executor, 1)
            answered(executor)  # so that each answer takes one step
        executor.close()
        told = [request["taketwo"].get("running_chunk") for request in server.requests]
    assert told[0] is None and len(told) >= 4
    assert [(chunk["actions"].shape, chunk["delay_steps"]) for chunk in told[1:]] == [((8, 1), 8)] + [((8, 1), 1)] * (
        len(told) - 2
    )
    np.testing.assert_allclose(executed, np.arange(60), atol=1e-12)


def test_chunks_too_short_for_the_prefetch_are_refused(begin):
    executor = begin(Gated(numbered(4)), prefetch=4)
    with pytest.raises(ConfigError, match="prefetch is 4, but only 4 actions"):
        executor.next_action(observe(0.0))


def test_chunks_too_short_for_the_horizon_are_refused(begin):
    executor = begin(Gated(numbered(4)), action_horizon=8, prefetch=2)
    with pytest.raises(ConfigError, match="action_horizon is 8, but the policy's chunk holds 4"):
        executor.next_action(observe(0.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefetch": 0}, "prefetch must be 1 or more, not 0"),
        ({"prefetch": 5, "action_horizon": 5}, "prefetch is 5, but only 5 actions"),
        ({"blend_steps": -1}, "blend_steps must be 0 or more, not -1"),
        ({"action_horizon": 0}, "action_horizon must be 1 or more"),
        ({"action_horizon": 1}, "only 1 action of a chunk is used"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Asynchronous(Says(numbered(10)), **options)
