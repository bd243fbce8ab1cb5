import math

import numpy as np
import pytest

from taketwo.control.smoothing import Deadband, ExponentialMovingAverage, RateLimit
from taketwo.errors import ConfigError
from tests.control.support import observe


def run(action_filter, actions, initial):
    action_filter.reset(np.atleast_1d(np.array(initial, dtype=float)))
    return np.array([action_filter(np.atleast_1d(np.array(a, dtype=float)), observe(0.0)) for a in actions])


@pytest.mark.parametrize("alpha", [0.05, 0.6, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_average_is_the_sum_of_all_actions_with_weights_that_fade(alpha, sign):
    actions = sign * np.random.default_rng(0).normal(size=30)
    initial = 0.4
    sent = run(ExponentialMovingAverage(alpha), actions, initial)[:, 0]
    for t in range(30):
        faded = sum(alpha * (1 - alpha) ** (t - k) * actions[k] for k in range(t + 1))
        assert sent[t] == pytest.approx(faded + (1 - alpha) ** (t + 1) * initial, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_rate_limit_holds_in_both_directions_from_the_measured_state_on(sign):
    sent = run(RateLimit(0.3), [sign * 1.0] * 5 + [0.0], initial=0.0)[:, 0]
    np.testing.assert_allclose(sent, sign * np.array([0.3, 0.6, 0.9, 1.0, 1.0, 0.7]))


def test_no_step_of_a_random_walk_is_larger_than_the_rate_limit_and_the_target_is_reached():
    actions = np.random.default_rng(1).normal(scale=2, size=(200, 3)).cumsum(axis=0)
    limit = np.array([0.1, 1.0, math.inf])
    sent = run(RateLimit(limit), [*actions, *[actions[-1]] * 1000], np.zeros(3))
    steps = np.diff(np.vstack([np.zeros(3), sent]), axis=0)
    assert (np.abs(steps) <= limit + 1e-12).all()
    assert np.abs(steps[:, :2]).max(axis=0) == pytest.approx(limit[:2])
    np.testing.assert_array_equal(sent[-1], actions[-1])
    np.testing.assert_array_equal(sent[:200, 2], actions[:, 2])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_deadband_leaves_out_jitter_and_lets_a_change_of_its_width_through(sign):
    actions = sign * np.array([0.05, -0.09, 0.1, 0.15, 0.01, 0.0, 0.02])
    sent = run(Deadband(0.1), actions, initial=0.0)[:, 0]
    np.testing.assert_array_equal(sent, sign * np.array([0, 0, 0.1, 0.1, 0.1, 0.0, 0.0]))


@pytest.mark.parametrize("sign", [1, -1])
def test_small_changes_add_up_so_that_a_deadband_follows_a_slow_drift(sign):
    drift = sign * 0.01 * np.arange(1, 301)
    sent = run(Deadband(0.1), drift, initial=0.0)[:, 0]
    assert (np.abs(sent - drift) < 0.1).all()
    assert len(set(sent)) > 20


@pytest.mark.parametrize(("make", "off"), [(ExponentialMovingAverage, 1.0), (RateLimit, math.inf), (Deadband, 0.0)])
def test_a_filter_that_is_off_changes_no_bit_and_hands_out_an_array_of_its_own(make, off):
    rng = np.random.default_rng(2)
    actions = rng.normal(size=(50, 4)) * 10.0 ** rng.integers(-12, 12, size=(50, 4))
    for setting in (off, np.full(4, off)):
        np.testing.assert_array_equal(run(make(setting), actions, rng.normal(size=4)), actions)
    action_filter = make(off)
    action_filter.reset(np.zeros(4))
    action = np.ones(4)
    given = action_filter(action, observe(0.0))
    given[:] = 7.0
    assert (action == 1.0).all()
    np.testing.assert_array_equal(action_filter(action, observe(0.0)), np.ones(4))


@pytest.mark.parametrize(
    ("make", "on", "off"), [(ExponentialMovingAverage, 0.5, 1.0), (RateLimit, 0.01, math.inf), (Deadband, 9.0, 0.0)]
)
def test_a_filter_can_be_off_in_one_dimension_and_on_in_another(make, on, off):
    sent = run(make(np.array([on, off])), [[0.5, 0.5]], np.zeros(2))[0]
    assert sent[0] != 0.5
    assert sent[1] == 0.5


@pytest.mark.parametrize("make", [lambda: ExponentialMovingAverage(0.3), lambda: RateLimit(0.1), lambda: Deadband(0.2)])
def test_a_reset_forgets_what_was_sent_before(make):
    action_filter = make()
    actions = np.random.default_rng(4).normal(size=20)
    first = run(action_filter, actions, 0.5)
    np.testing.assert_array_equal(run(action_filter, actions, 0.5), first)


@pytest.mark.parametrize(
    ("make", "value", "name"),
    [
        (ExponentialMovingAverage, 0.0, "ema_alpha"),
        (ExponentialMovingAverage, 1.1, "ema_alpha"),
        (ExponentialMovingAverage, math.nan, "ema_alpha"),
        (RateLimit, 0.0, "max_step_delta"),
        (RateLimit, -0.1, "max_step_delta"),
        (RateLimit, math.nan, "max_step_delta"),
        (Deadband, -0.1, "deadband"),
        (Deadband, math.inf, "deadband"),
        (Deadband, np.array([0.1, -1.0]), "deadband"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_name(make, value, name):
    with pytest.raises(ConfigError, match=f"^{name} must be"):
        make(value)
