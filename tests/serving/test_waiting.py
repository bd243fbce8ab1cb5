"""The rule by which a pass waits, on a clock of its own: rounds of clients are played through without a thread."""

import heapq
import itertools

import numpy as np
import pytest

from taketwo.serving.schedule import Request, Schedule
from taketwo.serving.waiting import PassTimes, Rhythm, WaitingRule

PASS_S = 0.020


class Shared:
    """Stands for a policy that infers batches; its passes are played, not run."""

    def infer_batch(self, observations):
        raise AssertionError("not run")


def play(gaps, passes, pass_s=lambda size: PASS_S, max_wait_s=None, starts=None, max_batch_size=16):
    """The sizes of the first passes, and how long each waited, where client c asks `gaps(c, n)` after its nth answer.

    A discrete-event simulation around a schedule: what the thread does, without the thread and its clock.
    """
    schedule, policy = Schedule(max_batch_size, max_wait_s), Shared()
    clients = range(len(starts))
    arrivals = [(starts[client], client) for client in clients]
    heapq.heapify(arrivals)
    answers = dict.fromkeys(clients, 0)
    now, sizes, waits = 0.0, [], []
    free_since = 0.0
    while len(sizes) < passes:
        while arrivals and arrivals[0][0] <= now:
            at, client = heapq.heappop(arrivals)
            schedule.ask(Request(policy, client, None, print, print, at))
        pause_s = schedule.pause_s(now)
        if pause_s == 0:
            batch = schedule.next()
            waits.append(now - max(free_since, min(request.asked_s for request in batch)))
            took_s = pass_s(len(batch))
            now = free_since = now + took_s
            schedule.answered(batch, now, took_s)
            sizes.append(len(batch))
            for request in batch:
                heapq.heappush(arrivals, (now + gaps(request.client, answers[request.client]), request.client))
                answers[request.client] += 1
            continue
        nexts = [at for at, _ in arrivals[:1]] + ([] if pause_s is None else [now + max(pause_s, 1e-6)])
        now = min(nexts)
    return sizes, waits


STAGGERED = [0.0] + [0.001] * 7
"""One client first, seven during its pass: without waiting they never meet."""


def test_clients_in_lock_step_come_into_one_batch():
    sizes, _ = play(lambda client, n: 0.002, passes=20, starts=STAGGERED)
    assert sizes[:2] == [1, 7]
    assert sizes[4:] == [8] * 16


def test_without_waiting_they_would_stay_apart():
    sizes, waits = play(lambda client, n: 0.002, passes=20, starts=STAGGERED, max_wait_s=0)
    assert sizes == [1, 7] * 10
    assert max(waits) == 0


def test_clients_that_come_back_raggedly_come_into_one_batch_nearly_always():
    generator = np.random.default_rng(1)
    sizes, _ = play(
        lambda client, n: 0.001 + 0.0005 * client + generator.exponential(0.0003), passes=500, starts=STAGGERED
    )
    assert np.mean(sizes[10:]) > 7.8


def test_groups_of_any_size_find_together():
    for first in range(1, 8):
        sizes, _ = play(lambda client, n: 0.003, passes=30, starts=[0.0] * first + [0.001] * (8 - first))
        assert sizes[10:] == [8] * 20, f"{first} and {8 - first}"


def test_a_client_that_is_alone_never_waits():
    _, waits = play(lambda client, n: 0.002, passes=50, starts=[0.0])
    assert max(waits) == 0


def test_nobody_waits_for_a_client_that_thinks_for_longer_than_a_pass():
    _, waits = play(lambda client, n: 0.002 if client else 0.5, passes=100, starts=[0.0, 0.001, 0.001])
    late = [wait for wait in waits[10:] if wait > 0.004]
    assert len(late) <= 8  # only where the slow one was about to come


def test_nothing_waits_where_a_larger_batch_takes_longer_in_proportion():
    _, waits = play(lambda client, n: 0.002, passes=50, starts=STAGGERED, pass_s=lambda size: PASS_S * size)
    assert max(waits[4:]) == 0


def test_a_client_that_stops_asking_is_waited_for_once_at_most():
    def gaps(client, n):
        return 1e9 if client == 7 and n == 20 else 0.002

    sizes, waits = play(gaps, passes=60, starts=STAGGERED)
    assert sizes[40:] == [7] * 20
    after_it_stopped = [wait for size, wait in zip(sizes, waits, strict=True) if size == 7][1:]
    assert max(waits) <= PASS_S
    assert sum(wait > 0.0025 for wait in after_it_stopped) <= 1


def test_the_end_of_an_episode_does_not_spoil_the_estimate():
    def gaps(client, n):
        return 3.0 if client == 0 and n == 30 else 0.002

    sizes, _ = play(gaps, passes=300, starts=STAGGERED)
    assert sizes[20:29] == [8] * 9
    back = len(sizes) - sizes[::-1].index(7)  # after the last pass that one was missing from
    assert 150 < back < 200  # it was away for 3 s, 7 answered meanwhile
    assert sizes[back + 2 :] == [8] * len(sizes[back + 2 :])


def test_no_pass_waits_longer_than_a_pass():
    generator = np.random.default_rng(2)
    for mean in (0.001, 0.005, 0.01, 0.02, 0.05):
        _, waits = play(lambda c, n, mean=mean: generator.exponential(mean), passes=400, starts=STAGGERED)
        assert max(waits) <= PASS_S + 1e-9


@pytest.mark.parametrize("mean", [0.0005, 0.002, 0.005, 0.01, 0.02, 0.05, 0.2])
def test_waiting_does_not_cost_throughput_even_where_nothing_can_be_foreseen(mean):
    def rate(max_wait_s):
        generator = np.random.default_rng(3)
        sizes, _ = play(lambda c, n: generator.exponential(mean), passes=2000, starts=STAGGERED, max_wait_s=max_wait_s)
        return np.mean(sizes)

    assert rate(None) >= 0.98 * rate(0)


def test_the_limit_caps_the_wait():
    _, waits = play(lambda client, n: 0.010, passes=50, starts=STAGGERED, max_wait_s=0.001)
    assert 0 < max(waits) <= 0.001 + 1e-9


def test_no_more_are_waited_for_than_fit():
    sizes, waits = play(lambda client, n: 0.002, passes=50, starts=STAGGERED, max_batch_size=4)
    assert set(sizes[10:]) == {4}
    assert max(waits[10:]) <= 0.002 + 1e-9


def test_a_client_that_left_is_not_waited_for():
    rule = WaitingRule()
    rule.took(1, PASS_S)
    for client in "ab":
        for now in (0.0, 0.1, 0.2):
            rule.answered(client, now)
            rule.asked(client, now + 0.001)
    rule.answered("b", 0.3)
    assert rule.wait_s(1, 15, 0.3, 0.3) > 0
    rule.left("b")
    assert rule.wait_s(1, 15, 0.3, 0.3) == 0
    assert rule.clients == 1


def test_a_rhythm_is_estimated_as_round_trips_are():
    rhythm = Rhythm(answered_s=1.0)
    rhythm.asked(1.008)
    assert (rhythm.mean_s, rhythm.deviation_s) == pytest.approx((0.008, 0.004))
    rhythm.answered_s = 2.0
    rhythm.asked(2.016)
    assert rhythm.deviation_s == pytest.approx(0.004 + (0.008 - 0.004) / 4)
    assert rhythm.mean_s == pytest.approx(0.008 + 0.008 / 8)
    rhythm.answered_s = 3.0
    assert rhythm.expected(3.0) == pytest.approx((0.009, 0.009 + 4 * 0.005))
    assert rhythm.expected(3.0291) is None


def test_a_client_that_asks_ahead_has_no_rhythm():
    rhythm = Rhythm(answered_s=1.0)
    rhythm.asked(0.9)
    assert rhythm.mean_s is None and rhythm.expected(1.0) is None


def test_the_first_pass_of_a_size_which_compiles_the_model_is_forgotten_at_once():
    times = PassTimes()
    times.took(8, 60.0)
    times.took(8, 0.02)
    assert times.seconds(8) == pytest.approx(0.02)
    times.took(8, 0.028)
    assert times.seconds(8) == pytest.approx(0.021)


def test_sizes_between_those_seen_are_interpolated_and_larger_ones_taken_to_last_as_long():
    times = PassTimes()
    for size, seconds in [(8, 0.04), (2, 0.01)]:
        times.took(size, seconds)
    assert [times.seconds(size) for size in (1, 2, 5, 8, 16)] == pytest.approx([0.01, 0.01, 0.025, 0.04, 0.04])


def test_times_are_those_of_the_policy_that_is_asked():
    """Two policies under one schedule: what one's passes take says nothing of the other's."""
    schedule, quick, slow = Schedule(16, None), Shared(), Shared()
    clock = itertools.count()

    def round_of(policy, clients, took_s):
        for client in clients:
            now = next(clock)
            schedule.ask(Request(policy, client, None, print, print, now + 0.001))
            schedule.pause_s(now + 0.001)  # whatever it says, the pass begins now
            batch = schedule.next()
            schedule.answered(batch, now + 0.5, took_s)

    for _ in range(5):
        round_of(quick, "ab", 0.0001)
        round_of(slow, "cd", 10.0)
    now = next(clock)
    schedule.ask(Request(quick, "a", None, print, print, now))
    assert schedule.pause_s(now) == 0
    schedule.next()
    schedule.ask(Request(slow, "c", None, print, print, now))
    assert schedule.pause_s(now) > 0
