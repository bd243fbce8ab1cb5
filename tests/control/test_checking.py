import numpy as np
import pytest

from taketwo.control.checking import CheckedPolicy
from taketwo.errors import ConfigError, PolicyError
from taketwo.testing import PointEnvironment, check_policy
from taketwo.types import ActionChunk
from tests.control.support import EPISODE, Says, make_spec, observe


def test_a_chunk_that_does_not_fit_is_refused():
    policy = CheckedPolicy(Says(lambda k: np.full((1, 3 if k else 2), 1.0)), make_spec())
    policy.infer(observe(0.0))
    with pytest.raises(PolicyError, match=r"action chunk is \(1, 3\); the environment 'bench' takes 2 values: a, b"):
        policy.infer(observe(0.0))


def test_actions_are_memory_of_their_own_and_the_rest_of_the_chunk_stays():
    buffer = np.array([[0.5, 0.25]], dtype=np.float32)
    chunk = ActionChunk(buffer, prompt_used="go", timings_ms={"infer_ms": 3.0})
    answer = CheckedPolicy(Says(lambda k: chunk), make_spec()).infer(observe(0.0))
    buffer[:] = 9.0
    assert answer.actions.dtype == np.float64
    np.testing.assert_array_equal(answer.actions, [[0.5, 0.25]])
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
