import numpy as np
import pytest

from taketwo.control.hold import MinimumHold
from taketwo.errors import ConfigError
from tests.control.support import observe


def run(hold, actions, initial=0.0):
    hold.reset(np.atleast_1d(np.array(initial, dtype=float)))
    return [hold(np.atleast_1d(np.array(a, dtype=float)), observe(0.0)).tolist() for a in actions]


def flat(rows):
    return [row[0] for row in rows]


def test_a_change_is_sent_at_once_and_held_for_its_steps():
    sent = flat(run(MinimumHold(3, 0.5), [0, 1, 0, 0, 0, 0, 0]))
    assert sent == [0, 1, 1, 1, 1, 0, 0]


def test_a_policy_that_toggles_every_step_is_slowed_down_but_never_stuck():
    sent = flat(run(MinimumHold(3, 0.5), [1, 0] * 10))
    changes = [k for k in range(1, 20) if sent[k] != sent[k - 1]]
    assert set(sent) == {0.0, 1.0}
    assert len(changes) >= 3
    assert min(np.diff(changes)) >= 4


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_gripper_that_opens_and_closes_slowly_is_followed_without_delay(steps):
    actions = ([1.0] * 10 + [0.0] * 10) * 3
    assert flat(run(MinimumHold(steps, 0.5), actions)) == actions


def test_a_constant_request_against_the_held_value_is_met_after_the_hold():
    sent = flat(run(MinimumHold(4, 0.1), [1.0] + [0.0] * 20))
    assert sent == [1.0] * 5 + [0.0] * 16


def test_small_changes_pass_unless_held():
    ramp = [0.1, 0.2, 0.3, 0.4]
    assert flat(run(MinimumHold(5, 0.15), ramp)) == ramp
    assert flat(run(MinimumHold(2, 0.5), [1.0, 0.9, 0.95, 0.9])) == [1.0, 1.0, 1.0, 0.9]


@pytest.mark.parametrize("sign", [1, -1])
def test_changes_in_both_directions_are_held(sign):
    sent = flat(run(MinimumHold(2, 0.5), [sign * 1.0, 0, 0, 0]))
    assert sent == [sign, sign, sign, 0]


def test_each_dimension_holds_for_itself_and_zero_steps_is_off():
    hold = MinimumHold(np.array([2, 0, 2]), np.array([0.5, 0.5, 5.0]))
    sent = run(hold, [[1, 1, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]], np.zeros(3))
    assert sent == [[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_a_reset_ends_the_hold():
    hold = MinimumHold(5, 0.5)
    run(hold, [1.0])
    assert flat(run(hold, [0.2, 0.3], initial=0.2)) == [0.2, 0.3]


@pytest.mark.parametrize("arguments", [(-1, 0.1), (np.array([1, -1]), 0.1), (3, -0.1), (3, np.nan)])
def test_a_setting_out_of_range_is_refused(arguments):
    with pytest.raises(ConfigError, match=r"^min_hold_(steps must be 0|threshold must be a finite number, 0)"):
        MinimumHold(*arguments)
