import math
from typing import get_args

import numpy as np
import pytest

from taketwo.control.config import FILTER_PRESETS, ControlConfig, PresetName, per_dimension
from taketwo.errors import ConfigError
from tests.control.support import EPISODE, Says, aloha_spec, make_spec, numbered, observe
from tests.control.test_controller import at_home

GRIPPERS = [6, 13]
JOINTS = [i for i in range(14) if i not in GRIPPERS]


def sent(config, actions, spec=None, initial=None):
    """What is sent for actions that a policy gives in one chunk, with nothing lifted or touched."""
    actions = np.asarray(actions, dtype=float)
    spec = spec or make_spec(["left_joint", "left_gripper"])
    controller = config.make(Says(lambda _: actions), spec)
    controller.reset(EPISODE, observe(*(np.zeros(spec.action_dim) if initial is None else initial)))
    return np.array([controller.decide(observe(0.0)).sent for _ in actions])


def test_the_defaults_change_nothing():
    actions = np.random.default_rng(0).normal(size=(30, 2)) * 100
    np.testing.assert_array_equal(sent(ControlConfig(), actions), actions)


def test_one_number_is_for_all_dimensions_and_a_mapping_for_those_it_names():
    np.testing.assert_allclose(sent(ControlConfig(max_step_delta=0.1), [[1, 1]]), [[0.1, 0.1]])
    np.testing.assert_allclose(sent(ControlConfig(max_step_delta={"*gripper": 0.1}), [[1, 1]]), [[1, 0.1]])


def test_of_several_patterns_the_last_that_fits_counts():
    config = ControlConfig(ema_alpha={"*": 0.5, "*gripper": 1.0})
    np.testing.assert_array_equal(sent(config, [[1, 1]]), [[0.5, 1]])
    config = ControlConfig(ema_alpha={"*gripper": 1.0, "*": 0.5})
    np.testing.assert_array_equal(sent(config, [[1, 1]]), [[0.5, 0.5]])


@pytest.mark.parametrize("option", ["ema_alpha", "max_step_delta", "deadband"])
def test_a_pattern_that_fits_nothing_names_the_nearest_and_all_dimensions(option):
    config = ControlConfig(**{option: {"left_griper": 0.5}})
    with pytest.raises(ConfigError) as caught:
        sent(config, [[1, 1]])
    assert str(caught.value) == (
        f"unknown action name in {option} 'left_griper'. Did you mean 'left_gripper'? Known: left_gripper, left_joint."
    )


def test_a_hold_needs_dimensions_that_exist():
    with pytest.raises(ConfigError, match=r"unknown action name in min_hold_dims '\*gripper\*'.* Known: x, y"):
        ControlConfig(min_hold_steps=3).make(Says(numbered(1, 2)), make_spec(["x", "y"]))


def test_the_hold_is_for_the_dimensions_named():
    toggling = [[1, 1], [0, 0], [1, 1], [0, 0]]
    config = ControlConfig(min_hold_steps=2)
    np.testing.assert_array_equal(sent(config, toggling), [[1, 1], [0, 1], [1, 1], [0, 0]])
    config = ControlConfig(min_hold_steps=2, min_hold_dims=("left_joint",))
    np.testing.assert_array_equal(sent(config, toggling), [[1, 1], [1, 0], [1, 1], [0, 0]])


def test_the_average_behind_the_deadband_arrives_where_the_policy_wants_to_be():
    config = ControlConfig(ema_alpha=0.1, deadband=0.05, max_step_delta=0.2)
    assert sent(config, np.ones((300, 2)))[-1] == pytest.approx(np.ones(2), abs=1e-9)


def test_the_rate_limit_bounds_what_is_sent_whatever_stands_before_it():
    config = ControlConfig(ema_alpha=0.7, deadband=0.05, max_step_delta=0.2, min_hold_steps=3)
    actions = np.random.default_rng(1).normal(scale=3, size=(200, 2))
    steps = np.diff(np.vstack([np.zeros(2), sent(config, actions)]), axis=0)
    assert np.abs(steps).max() <= 0.2 + 1e-12


def test_the_aloha_preset_smooths_joints_and_holds_grippers():
    filtered = sent(ControlConfig(preset="aloha", guard=False), [np.ones(14), *[np.zeros(14)] * 6], aloha_spec())
    assert (filtered[:6, GRIPPERS] == 1).all() and (filtered[6, GRIPPERS] == 0).all()
    assert (filtered[0, JOINTS] == 0.06).all()


def test_a_given_value_replaces_the_presets_and_the_others_stay():
    config = ControlConfig(preset="aloha", guard=False, max_step_delta=math.inf)
    first = sent(config, [np.ones(14)], aloha_spec())[0]
    assert first[JOINTS] == pytest.approx(0.6) and (first[GRIPPERS] == 1).all()
    off = ControlConfig(
        preset="aloha", guard=False, max_step_delta=math.inf, ema_alpha=1.0, deadband=0.0, min_hold_steps=0
    )
    actions = np.random.default_rng(0).normal(size=(30, 14))
    np.testing.assert_array_equal(sent(off, actions, aloha_spec()), actions)


@pytest.mark.parametrize(
    ("options", "name", "guarded"),
    [
        ({"preset": "aloha"}, "transfer_cube", True),
        ({"preset": "aloha"}, "insertion", False),
        ({"preset": "aloha", "guard": False}, "transfer_cube", False),
        ({"guard": True}, "transfer_cube", True),
        ({}, "transfer_cube", False),
    ],
)
def test_who_is_guarded(options, name, guarded):
    controller = ControlConfig(**options).make(Says(lambda _: np.ones((1, 14))), aloha_spec(name))
    controller.reset(EPISODE, at_home(0.02, touched=False))
    assert controller.decide(at_home(0.02, touched=False)).guarded == guarded


def test_a_guard_that_was_asked_for_and_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="'insertion' has no arm that receives"):
        ControlConfig(guard=True).make(Says(numbered(1, 14)), aloha_spec("insertion"))


def test_executors_get_their_options():
    spec, observation = make_spec(["a"]), observe(0.0)

    def run(steps, **options):
        controller = ControlConfig(**options).make(Says(numbered(6)), spec)
        controller.reset(EPISODE, observation)
        actions = [float(controller.decide(observation).asked[0]) for _ in range(steps)]
        controller.close()
        return actions

    assert run(3, action_horizon=2) == [0, 1, 100]
    assert run(2, executor="temporal_ensemble", ensemble_m=0.0) == [0, 50.5]
    assert run(2, executor="asynchronous", action_horizon=4, prefetch=1, blend_steps=0) == [0, 1]
    with pytest.raises(ConfigError, match="prefetch is 5, but only 5 actions"):
        run(1, executor="asynchronous", action_horizon=5, prefetch=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "alhoa"}, "unknown preset 'alhoa'. Did you mean 'aloha'"),
        ({"executor": "openloop"}, "unknown executor 'openloop'. Did you mean 'open_loop'"),
        ({"action_horizon": 0}, "action_horizon must be 1 or more"),
        ({"ema_alpha": 0.0}, "ema_alpha must be more than 0 and at most 1"),
        ({"ema_alpha": {"*": 0.5, "x": 2.0}}, "ema_alpha must be more than 0 and at most 1"),
        ({"max_step_delta": -0.1}, "max_step_delta must be more than 0"),
        ({"deadband": -0.1}, "deadband must be a finite number, 0 (off) or more, not -0.1"),
        ({"deadband": {"*": math.inf}}, "deadband must be a finite number, 0 (off) or more, not inf"),
        ({"min_hold_steps": -1}, "min_hold_steps must be 0"),
        ({"min_hold_threshold": math.inf}, "min_hold_threshold must be a finite number, 0 or more, not inf"),
        (
            {"executor": "temporal_ensemble", "ensemble_m": math.inf},
            "ensemble_m must be a finite number, 0 or more, not inf",
        ),
        ({"executor": "asynchronous", "prefetch": 0}, "prefetch must be 1 or more"),
        ({"executor": "asynchronous", "blend_steps": -1}, "blend_steps must be 0 or more"),
        ({"executor": "temporal_ensemble", "action_horizon": 5}, "action_horizon is for executor open_loop or asyn"),
        ({"ensemble_m": 0.5}, "ensemble_m is for executor temporal_ensemble, and this one is open_loop"),
        ({"prefetch": 3}, "prefetch is for executor asynchronous, and this one is open_loop"),
        ({"blend_steps": 3}, "blend_steps is for executor asynchronous, and this one is open_loop"),
    ],
)
def test_options_that_cannot_be_are_refused_when_they_are_read(options, message):
    with pytest.raises(ConfigError) as caught:
        ControlConfig(**options)
    assert message in str(caught.value)


def test_every_preset_that_can_be_chosen_exists():
    assert set(get_args(PresetName)) == set(FILTER_PRESETS)


@pytest.mark.parametrize("preset", FILTER_PRESETS)
def test_every_preset_fits_the_robot_that_it_is_for(preset):
    ControlConfig(preset=preset).make(Says(numbered(1, 14)), aloha_spec())


def test_numbers_per_dimension_are_off_where_nothing_fits():
    numbers = per_dimension("deadband", {"a*": 0.5}, ("a1", "b", "a2"), off=0.0)
    assert numbers.tolist() == [0.5, 0.0, 0.5]
