import numpy as np
import pytest

from taketwo.errors import PolicyError
from taketwo.policies.checking import checked_actions
from taketwo.types import ActionChunk
from tests.control.support import aloha_spec, make_spec


def test_a_chunk_of_the_wrong_width_names_what_the_environment_takes():
    with pytest.raises(PolicyError) as caught:
        checked_actions(ActionChunk(np.zeros((10, 7))), aloha_spec())
    message = str(caught.value)
    assert message.startswith(
        "action chunk is (10, 7); the environment 'transfer_cube' takes 14 values: left_arm_waist, left_arm_shoulder"
    )
    assert message.endswith("right_arm_gripper") and "\n" not in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_chunk_that_is_not_finite_names_the_dimensions(bad):
    actions = np.zeros((3, 14))
    actions[2, 6] = bad
    with pytest.raises(
        PolicyError, match=r"^action chunk has NaN or infinite values in left_arm_gripper; they must be finite numbers$"
    ):
        checked_actions(ActionChunk(actions), aloha_spec())


@pytest.mark.parametrize("shape", ["(2,)", "(1, 2, 2)", "()"])
def test_a_chunk_with_another_number_of_axes_is_refused(shape):
    dimensions = tuple(int(n) for n in shape.strip("()").split(",") if n.strip())
    with pytest.raises(PolicyError) as caught:
        checked_actions(ActionChunk(np.zeros(dimensions)), make_spec())
    assert str(caught.value).startswith(f"action chunk is {shape} and must be (horizon, 2); ")


def test_an_empty_chunk_is_refused():
    with pytest.raises(PolicyError, match=r"\(0, 2\); it must hold at least one action"):
        checked_actions(ActionChunk(np.zeros((0, 2))), make_spec())


@pytest.mark.parametrize("actions", [[["open", "shut"]], [[1.0, 2.0], [3.0]], [[None, 1.0, object()]]])
def test_a_chunk_of_something_else_than_numbers_is_refused(actions):
    with pytest.raises(PolicyError, match="no array of numbers"):
        checked_actions(ActionChunk(np.array(actions, dtype=object)), make_spec())


def test_actions_become_float64_of_their_own():
    buffer = np.array([[0.1, 0.2]], dtype=np.float32)
    actions = checked_actions(ActionChunk(buffer), make_spec())
    expected = buffer.astype(np.float64)
    buffer[:] = 9.0
    assert actions.dtype == np.float64
    np.testing.assert_array_equal(actions, expected)
