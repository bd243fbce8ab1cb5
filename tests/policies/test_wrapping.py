import numpy as np

from taketwo.policies.base import NeedsExtras, ReadsPrompt
from taketwo.policies.wrapping import PolicyWrapper
from taketwo.testing import PointEnvironment, check_policy
from tests.control.support import EPISODE, Says, observe


def test_a_wrapper_forwards_every_member():
    inner = Says(lambda k: np.full((1, 2), float(k)), cameras=["top"])
    policy = PolicyWrapper(inner)
    policy.reset(EPISODE)
    observation = observe(0.0)
    assert [policy.infer(observation).actions[0, 0] for _ in range(2)] == [0.0, 1.0]
    policy.close()
    assert (policy.cameras, inner.asked, inner.resets, inner.closed) == (("top",), [observation] * 2, [EPISODE], 1)


def test_a_wrapper_has_none_of_the_policys_capabilities():
    inner = Says(None)
    inner.own_prompt, inner.extras = "by heart", ("object_poses",)
    assert isinstance(inner, ReadsPrompt) and isinstance(inner, NeedsExtras)
    assert not isinstance(PolicyWrapper(inner), ReadsPrompt | NeedsExtras)


def test_a_wrapped_policy_keeps_the_contract():
    check_policy(PolicyWrapper(Says(lambda k: np.full((2, 2), 0.01 * k))), PointEnvironment())
