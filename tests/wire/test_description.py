"""What does not fit between a server and an environment is found before anything moves, by name."""

from dataclasses import replace

import numpy as np
import pytest

from taketwo.types import EnvironmentSpec
from taketwo.wire.description import PROTOCOL, describe_spec, mismatch, told_by

ARM = EnvironmentSpec(
    name="arm",
    action_names=("shoulder", "gripper"),
    action_units=("rad", "normalized"),
    action_low=np.array([-np.inf, 0.0]),
    action_high=np.array([np.inf, 1.0]),
    state_names=("shoulder", "elbow", "gripper"),
    control_hz=50.0,
)


def told(spec=ARM, **more):
    return {"protocol": PROTOCOL, **describe_spec(spec, named=True), **more}


def test_an_environment_fits_its_own_description():
    assert mismatch(told(), ARM) is None


def test_a_server_that_tells_nothing_fits_every_environment():
    assert mismatch({}, ARM) is None
    assert told_by({"reset_pose": [0.0]}) == {}
    assert told_by({"taketwo": "yes"}) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_units": ("deg", "normalized")}, "other action units: number 0 is 'deg' there and 'rad' in 'arm'"),
        ({"action_names": ("gripper", "shoulder")}, "other action names: number 0 is 'gripper' there and 'shoulder'"),
        ({"state_names": ("a", "elbow", "gripper")}, "other state names: number 0 is 'a' there and 'shoulder'"),
        ({"state_names": ("shoulder",)}, "is for states of 1 numbers, environment 'arm' has 3"),
        ({"action_high": np.array([np.inf, 100.0])}, "another highest value of action 'gripper': 100 there and 1"),
        ({"action_low": np.array([np.inf, -1.0])}, "another lowest value of action 'gripper': -1 there and 0"),
    ],
)
def test_a_difference_is_named(change, message):
    assert message in mismatch(told(replace(ARM, **change)), ARM)


def test_a_limit_that_only_one_side_knows_is_no_difference():
    unbounded = replace(ARM, action_low=np.full(2, -np.inf), action_high=np.full(2, np.inf))
    assert mismatch(told(unbounded), ARM) is None
    assert mismatch(told(), unbounded) is None


def test_names_that_mean_nothing_are_not_compared_and_sizes_are():
    nameless = replace(ARM, action_names=("a0", "a1"), action_units=("", ""), state_names=("s0", "s1", "s2"))
    assert mismatch({"protocol": PROTOCOL, **describe_spec(nameless, named=False)}, ARM) is None
    short = replace(nameless, action_names=("a0",), action_units=("",), action_low=np.zeros(1), action_high=np.ones(1))
    assert "actions of 1 numbers" in mismatch({"protocol": PROTOCOL, **describe_spec(short, named=False)}, ARM)


def test_another_rate_is_no_mismatch():
    assert mismatch(told(replace(ARM, control_hz=10.0)), ARM) is None


def test_another_version_of_the_protocol_is_refused_by_both_numbers():
    assert "speaks version 2 of taketwo's extensions, not 1" in mismatch(told(protocol=2), ARM)


@pytest.mark.parametrize(
    "odd",
    [
        {"action": 3, "state": "x"},
        {"action": {"names": "abc", "low": "many", "dim": "2"}},
        {"action": {"low": [[1, 2]], "high": None}},
    ],
)
def test_a_description_that_is_none_is_not_compared(odd):
    assert mismatch({"protocol": PROTOCOL, **odd}, ARM) is None
