import pytest

from taketwo.live.throttle import Throttle


def passed(hz, times):
    throttle = Throttle(hz)
    return [time for time in times if throttle(time)]


def test_every_second_step_of_a_steady_loop_goes_through_although_none_is_exactly_on_time():
    noise = [0.0, 0.0004, -0.0003, 0.0001, -0.0006]
    times = [index * 0.02 + noise[index % 5] for index in range(100)]
    assert passed(25, times) == times[::2]


@pytest.mark.parametrize("hz", [30, 50, 60, 1000])
def test_no_more_goes_through_than_it_says_and_not_much_less(hz):
    assert 0.75 * 25 * 20 <= len(passed(25, [index / hz for index in range(20 * hz)])) <= 25 * 20 + 1


def test_a_slow_source_goes_through_whole():
    times = [index / 10 for index in range(50)]
    assert passed(25, times) == times


def test_after_silence_there_is_no_burst():
    times = [0.0, *(10 + index / 1000 for index in range(100))]
    assert len(passed(25, times)) <= 5


def test_another_clock_may_follow_a_reset():
    throttle = Throttle(25)
    assert throttle(1000.0)
    assert not throttle(0.0)
    throttle.reset()
    assert throttle(0.0)
