import pytest

from taketwo.session.clock import MonotonicClock, Pacer


class FakeClock:
    """A clock that only moves when someone sleeps or works."""

    def __init__(self):
        self.time = 100.0

    def now(self):
        return self.time

    def sleep_until(self, instant):
        self.time = max(self.time, instant)

    def work(self, seconds):
        self.time += seconds


def paced_steps(pacer, clock, durations):
    pacer.start()
    for duration in durations:
        pacer.wait()
        clock.work(duration)
    pacer.wait()


def test_steps_take_their_period_in_the_mean_although_some_are_late():
    clock = FakeClock()
    pacer = Pacer(clock, 50)
    durations = [0.05 if step % 20 == 7 else 0.001 for step in range(200)]
    paced_steps(pacer, clock, durations)
    assert clock.now() - 100.0 == pytest.approx(200 / 50)
    # A step of 0.05 s overruns its own period and the next one, whose start is late too.
    assert pacer.overruns == 20


def test_a_delay_beyond_the_limit_is_given_up_and_counted():
    clock = FakeClock()
    pacer = Pacer(clock, 50)
    paced_steps(pacer, clock, [3.0] + [0.001] * 50)
    assert clock.now() - 100.0 == pytest.approx(3.0 + 50 / 50)
    assert pacer.lost_s == pytest.approx(3.0 - 1 / 50)


def test_a_new_start_forgets_the_old_schedule():
    clock = FakeClock()
    pacer = Pacer(clock, 10)
    paced_steps(pacer, clock, [0.5])
    clock.work(7.0)
    pacer.start()
    assert pacer.wait() == 0.0


def test_rate_zero_never_waits_and_is_never_late():
    clock = FakeClock()
    pacer = Pacer(clock, 0)
    paced_steps(pacer, clock, [0.5, 0.5])
    assert clock.now() == 101.0
    assert pacer.overruns == 0
    assert pacer.jitter_ms(99) is None


def test_jitter_is_how_late_steps_begin():
    clock = FakeClock()
    pacer = Pacer(clock, 100)
    paced_steps(pacer, clock, [0.013])
    assert pacer.jitter_ms(100) == pytest.approx(3.0, abs=1e-3)
    assert pacer.jitter_ms(0) == 0.0


def test_the_real_clock_reaches_the_instant_asked_for():
    clock = MonotonicClock()
    instant = clock.now() + 0.02
    clock.sleep_until(instant)
    assert clock.now() >= instant
    before = clock.now()
    clock.sleep_until(before - 5)
    assert clock.now() >= before
