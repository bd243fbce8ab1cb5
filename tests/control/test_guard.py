import dataclasses

import numpy as np
import pytest

from taketwo.control.guard import LOST_STEPS, HandoverGuard
from taketwo.errors import ConfigError, PolicyError
from tests.control.support import ALOHA_NAMES, ALOHA_UNITS, EPISODE, aloha_spec, make_spec, observe

LEFT, RIGHT = slice(0, 7), slice(7, 14)
HOME = np.linspace(-0.3, 0.3, 14)
REACH_RAD = 3.0 / 50


def seen(height_m=0.02, touched=False, other_arm=False):
    """What a simulator shows of the cube."""
    return observe(
        *HOME,
        extras={
            "object_poses": {"red_box": np.array([0.1, 0.5, height_m, 1, 0, 0, 0])},
            "touched_by": {
                "right": frozenset({"red_box"} if touched else {"table"}),
                "left": frozenset({"red_box"} if other_arm else ()),
            },
        },
    )


HELD_UP = seen(0.2, touched=True)


def begun(initial=HOME, first=None, spec=None):
    guard = HandoverGuard(spec or aloha_spec())
    guard.reset(initial, seen() if first is None else first)
    return guard


def wish(value):
    """An action that puts every dimension at one value."""
    return np.full(14, float(value))


def opened():
    """A guard that is open and whose arm has caught up with a wish of 1."""
    guard = begun()
    guard(wish(0.0), seen())
    for _ in range(50):
        _, held = guard(wish(1.0), HELD_UP)
    assert not held
    return guard


def test_the_receiving_arm_stays_where_it_was_until_the_object_is_held_up_and_the_giving_arm_is_free():
    guard = begun()
    for k in range(20):
        sent, held = guard(wish(k), seen())
        np.testing.assert_array_equal(sent[LEFT], HOME[LEFT])
        np.testing.assert_array_equal(sent[RIGHT], wish(k)[RIGHT])
        assert held


@pytest.mark.parametrize(
    "observation",
    [seen(0.2, touched=False), seen(0.02, touched=True), seen(0.045, touched=True), seen(0.2, other_arm=True)],
    ids=["in the air, untouched", "touched, on the table", "lifted too little", "held by the wrong arm"],
)
def test_grasp_and_lift_must_both_be_seen(observation):
    guard = begun()
    guard(wish(1), seen())
    for _ in range(10):
        sent, held = guard(wish(1), observation)
        assert held
        np.testing.assert_array_equal(sent[LEFT], HOME[LEFT])


def test_when_it_opens_joints_catch_up_without_a_jump_and_then_follow_exactly():
    guard = begun()
    guard(wish(1), seen())
    last = HOME[LEFT]
    for _ in range(100):
        sent, held = guard(wish(1), HELD_UP)
        assert (np.abs(sent[:6] - last[:6]) <= REACH_RAD + 1e-12).all()
        assert sent[6] == 1  # a gripper has no speed in radians
        last = sent[LEFT]
        if not held:
            break
    np.testing.assert_array_equal(sent, wish(1))
    sent, held = guard(wish(-5), HELD_UP)
    np.testing.assert_array_equal(sent, wish(-5))
    assert not held


@pytest.mark.parametrize("later", [seen(0.2, touched=True, other_arm=True), seen(0.2, other_arm=True), seen(0.2)])
def test_it_stays_open_through_the_hand_over(later):
    guard = opened()
    for k in range(30):
        sent, held = guard(wish(k), later)
        assert not held and (sent == k).all()


def test_it_closes_again_when_the_object_falls_and_holds_the_arm_where_it_is():
    guard = opened()
    guard(wish(2), HELD_UP)
    for k in range(LOST_STEPS - 1):
        sent, held = guard(wish(2 - k / 100), seen())
        assert not held and (sent == 2 - k / 100).all()
    guard(wish(2), HELD_UP)
    for _ in range(LOST_STEPS):
        guard(wish(2), seen())
    for k in range(3, 20):
        sent, held = guard(wish(k), seen())
        assert held and (sent[LEFT] == 2).all() and (sent[RIGHT] == k).all()
    for _ in range(600):
        sent, held = guard(wish(20), HELD_UP)
    assert not held and (sent == 20).all()


def test_an_object_that_is_down_for_a_moment_only_does_not_close_it():
    guard = opened()
    for k in range(40):
        observation = HELD_UP if k % LOST_STEPS == 0 else seen()
        sent, held = guard(wish(k), observation)
        assert not held and (sent == k).all()


def test_the_height_at_rest_is_the_lowest_seen_so_that_a_box_that_first_falls_on_the_table_counts_right():
    falling = seen(0.05)
    guard = begun(first=falling)
    for height_m in (0.05, 0.03, 0.02):
        guard(wish(1), seen(height_m))
    _, held = guard(wish(1), seen(0.0499, touched=True))
    assert held
    for _ in range(60):
        _, held = guard(wish(1), seen(0.0501, touched=True))
    assert not held


def test_it_tells_that_it_held_back_only_when_the_policy_wanted_something_else():
    guard = begun()
    action = wish(1)
    action[LEFT] = HOME[LEFT]
    sent, held = guard(action, seen())
    assert not held
    np.testing.assert_array_equal(sent, action)
    assert sent is not action


def test_where_the_measured_state_is_no_action_the_first_action_is_held():
    guard = begun(initial=None)
    sent, held = guard(wish(0.5), seen())
    assert not held and (sent == 0.5).all()
    sent, held = guard(wish(0.7), seen())
    assert held and (sent[LEFT] == 0.5).all()


def test_a_reset_closes_it_and_forgets_the_height_at_rest():
    guard = opened()
    guard.reset(HOME, seen(0.5))
    sent, held = guard(wish(1), seen(0.5, touched=True))
    assert held
    np.testing.assert_array_equal(sent[LEFT], HOME[LEFT])


def test_losing_sight_of_the_object_in_mid_episode_is_an_error_that_names_what_is_missing():
    guard = begun()
    with pytest.raises(PolicyError, match=r"lack object_poses\['red_box'\] or touched_by\['right'\]"):
        guard(wish(1), observe(*HOME))


@pytest.mark.parametrize("name", ["insertion", "point"])
def test_an_environment_without_a_receiving_arm_is_refused(name):
    with pytest.raises(ConfigError, match=f"'{name}' has no arm that receives; there is a guard for transfer_cube"):
        HandoverGuard(aloha_spec(name))


def test_an_environment_whose_arms_have_other_names_is_refused():
    with pytest.raises(ConfigError, match="no action name begins with 'left_': a, b"):
        HandoverGuard(make_spec(["a", "b"], name="transfer_cube"))


def test_where_neither_object_nor_gripper_can_be_seen_it_says_what_is_missing():
    spec = make_spec(ALOHA_NAMES, state_names=["x"], name="transfer_cube", units=ALOHA_UNITS)
    with pytest.raises(ConfigError) as caught:
        HandoverGuard(spec).reset(None, observe(0.0))
    message = str(caught.value)
    assert "object_poses['red_box']" in message and "the state has no values named right_*gripper" in message


def gripper_at(right, left=0.1):
    state = HOME.copy()
    state[13], state[6] = right, left
    return observe(*state)


def commanded(right, left=0.9):
    action = wish(0.2)
    action[13], action[6] = right, left
    return action


def steps(guard, action, observation, n):
    for _ in range(n):
        sent, held = guard(action, observation)
    return sent, held


def test_without_sight_of_the_object_a_gripper_that_stays_open_against_its_command_counts_as_a_grasp():
    guard = begun(first=gripper_at(0.9))
    _, held = steps(guard, commanded(0.0), gripper_at(0.6), 25)
    assert held
    _, held = steps(guard, commanded(0.0), gripper_at(0.6), 30)
    assert not held


@pytest.mark.parametrize(("command", "opening"), [(0.0, 0.1), (1.0, 0.97), (0.6, 0.6), (0.9, 0.2)])
def test_without_sight_of_the_object_a_gripper_that_follows_its_command_is_no_grasp(command, opening):
    guard = begun(first=gripper_at(0.9))
    _, held = steps(guard, commanded(command), gripper_at(opening), 200)
    assert held


def test_without_sight_of_the_object_a_gripper_on_its_way_shut_is_no_grasp():
    guard = begun(first=gripper_at(1.0))
    for opening in [*np.linspace(1.0, 0.1, 24), *[0.1] * 50]:
        _, held = guard(commanded(0.0), gripper_at(opening))
        assert held


@pytest.mark.parametrize(
    ("right", "openings", "closes"),
    [
        (0.0, {"right": 0.1, "left": 0.1}, True),
        (0.0, {"right": 0.1, "left": 0.6}, False),
        (1.0, {"right": 0.97, "left": 0.1}, False),
    ],
    ids=["dropped", "shut empty after the hand-over", "opened for the hand-over"],
)
def test_without_sight_of_the_object_only_two_empty_grippers_close_it_again(right, openings, closes):
    guard = begun(first=gripper_at(0.9))
    _, held = steps(guard, commanded(0.0, left=0.0), gripper_at(0.6), 100)
    assert not held
    steps(guard, commanded(right, left=0.0), gripper_at(**openings), 60)
    moved = commanded(right, left=0.0)
    moved[0] += 0.5
    _, held = guard(moved, gripper_at(**openings))
    assert held == closes


@pytest.fixture(scope="module")
def aloha():
    pytest.importorskip("gym_aloha")
    from taketwo.envs.aloha import AlohaConfig

    environment = AlohaConfig(cameras=()).make()
    yield environment
    environment.close()


def transfer(aloha, blind, **knobs):
    """One scripted episode with the guard between policy and environment.

    Returns whether it solved the task, whether the policy wanted the receiving arm to move, and whether it did.
    """
    pytest.importorskip("mink")
    from taketwo.policies.scripted import ScriptedConfig

    def shown(observation):
        return dataclasses.replace(observation, extras={}) if blind else observation

    policy, guard = ScriptedConfig(**knobs).make(aloha.spec), HandoverGuard(aloha.spec)
    observation = aloha.reset(seed=0)
    home = observation.state.copy()
    policy.reset(EPISODE)
    guard.reset(home, shown(observation))
    solved = wanted = moved = False
    for _ in range(300):
        asked = policy.infer(observation).actions[0]
        sent, _ = guard(asked, shown(observation))
        wanted |= bool(np.abs(asked[LEFT] - home[LEFT]).max() > 0.1)
        moved |= not np.array_equal(sent[LEFT], home[LEFT])
        result = aloha.step(sent)
        observation, solved = result.observation, bool(result.success)
        if solved:
            break
    return solved, wanted, moved


@pytest.mark.parametrize("blind", [False, True], ids=["sees the cube", "sees the grippers"])
def test_in_the_simulator_it_lets_a_good_hand_over_through(aloha, blind):
    assert transfer(aloha, blind) == (True, True, True)


@pytest.mark.parametrize("blind", [False, True], ids=["sees the cube", "sees the grippers"])
def test_in_the_simulator_it_holds_back_a_hand_over_with_an_empty_gripper(aloha, blind):
    assert transfer(aloha, blind, grasp_noise=0.1, skip_grasp_check=True) == (False, True, False)
