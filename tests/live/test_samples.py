import numpy as np

from taketwo.live.samples import KEPT_S, MOST_KEPT, Samples, columns
from taketwo.session.events import StepTaken
from taketwo.types import Decision, Observation, StepResult


def step(index, time_s):
    observation = Observation(state=np.array([index, 1 / 3]))
    decision = Decision(asked=np.zeros(1), sent=np.full(1, index))
    return StepTaken(index, index, observation, decision, StepResult(observation, 0.0, False, False), time_s, 0.0)


def filled(count, session_s):
    """Samples of steps that are a tenth of a second of wall time apart."""
    samples = Samples()
    for index in range(count):
        samples.add(step(index, index / 10), 0, index * session_s, None)
    return samples


def test_a_minute_of_the_sessions_time_is_kept():
    samples = filled(200, session_s=1.0)
    assert samples.count == 200
    kept = samples.between(0, samples.count)
    assert [sample.time for sample in kept] == [float(time) for time in range(199 - int(KEPT_S), 200)]


def test_where_the_sessions_time_stands_still_memory_is_bounded():
    samples = filled(2 * MOST_KEPT, session_s=0.0)
    assert len(samples.between(0, samples.count)) == MOST_KEPT


def test_who_has_some_gets_the_rest():
    samples = filled(30, session_s=1.0)
    assert [sample.time for sample in samples.between(10, 20)] == [float(time) for time in range(10, 20)]
    assert samples.between(30, 30) == []
    assert len(samples.between(25, 99)) == 5


def test_a_message_has_a_list_for_each_column():
    told = columns(filled(3, session_s=1.0).between(0, 2))
    assert told["type"] == "samples"
    assert told["time"] == (0.0, 1.0)
    assert told["state"] == ([0.0, 0.33333], [1.0, 0.33333])
    assert told["late_ms"] == (None, None)
    assert columns([])["time"] == ()
