import numpy as np
import pytest

from taketwo.control.checking import CheckedPolicy
from taketwo.errors import ConfigError, PolicyError
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import ActionChunk
from tests.control.support import EPISODE, Says, aloha_spec, make_spec, observe


def answer_of(actions, spec):
    return CheckedPolicy(Says(lambda k: actions), spec).infer(observe(0.0))


def test_a_chunk_of_the_wrong_width_names_what_the_environment_takes():
    with pytest.raises(PolicyError) as caught:
        answer_of(np.zeros((10, 7)), aloha_spec())
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
        answer_of(actions, aloha_spec())


@pytest.mark.parametrize("shape", ["(2,)", "(1, 2, 2)", "()"])
def test_a_chunk_with_another_number_of_axes_is_refused(shape):
    dimensions = tuple(int(n) for n in shape.strip("()").split(",") if n.strip())
    with pytest.raises(PolicyError) as caught:
        answer_of(np.zeros(dimensions), make_spec())
    assert str(caught.value).startswith(f"action chunk is {shape} and must be (horizon, 2); ")


def test_an_empty_chunk_is_refused():
    with pytest.raises(PolicyError, match=r"\(0, 2\); it must hold at least one action"):
        answer_of(np.zeros((0, 2)), make_spec())


@pytest.mark.parametrize("actions", [[["open", "shut"]], [[1.0, 2.0], [3.0]], [[None, 1.0, object()]]])
def test_a_chunk_of_something_else_than_numbers_is_refused(actions):
    with pytest.raises(PolicyError, match="no array of numbers"):
        answer_of(np.array(actions, dtype=object), make_spec())


def test_actions_become_float64_of_their_own_and_the_rest_of_the_chunk_stays():
    buffer = np.array([[0.1, 0.2]], dtype=np.float32)
    chunk = ActionChunk(buffer, prompt_used="go", timings_ms={"infer_ms": 3.0})
    answer = CheckedPolicy(Says(lambda k: chunk), make_spec()).infer(observe(0.0))
    expected = buffer.astype(np.float64)
    buffer[:] = 9.0
    assert answer.actions.dtype == np.float64
    np.testing.assert_array_equal(answer.actions, expected)
    assert (answer.prompt_used, answer.timings_ms) == ("go", {"infer_ms": 3.0})


def test_a_policy_that_looks_at_a_missing_camera_is_refused_before_anything_moves():
    with pytest.raises(ConfigError, match=r"unknown camera 'tpo'\. Did you mean 'top'"):
        CheckedPolicy(Says(lambda k: np.zeros((1, 2)), cameras=["tpo"]), make_spec(cameras=["top"]))


def test_it_forwards_every_member():
    inner = Says(lambda k: np.zeros((1, 2)), cameras=["top"])
    policy = CheckedPolicy(inner, make_spec(cameras=["top"]))
    policy.reset(EPISODE)
    policy.close()
    assert (policy.cameras, inner.resets, inner.closed) == (("top",), [EPISODE], 1)


def test_a_checked_policy_keeps_the_contract_of_policies():
    environment = PointEnvironment()
    check_policy(CheckedPolicy(Says(lambda k: np.full((2, 2), 0.01 * k)), environment.spec), environment)
