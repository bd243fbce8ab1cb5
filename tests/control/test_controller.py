import math

import numpy as np
import pytest

from taketwo.control.chunking import OpenLoop
from taketwo.control.config import ControlConfig
from taketwo.control.controller import Controller
from taketwo.control.guard import HandoverGuard
from taketwo.control.smoothing import Deadband, ExponentialMovingAverage, RateLimit
from taketwo.errors import EnvironmentFault, PolicyError
from taketwo.testing import PointEnvironment
from taketwo.types import ActionChunk, EpisodeInfo, Outcome
from tests.control.support import EPISODE, Says, aloha_spec, make_spec, numbered, observe
from tests.support import Keep, run_session


def controller_of(answer, spec=None, filters=(), guard=None, **options):
    return Controller(OpenLoop(Says(answer)), spec or make_spec(["a"]), filters, guard, **options)


def decisions(controller, steps, initial=(0.0,)):
    observation = observe(*initial)
    controller.reset(EPISODE, observation)
    return [controller.decide(observation) for _ in range(steps)]


def test_without_filters_what_is_sent_is_bit_for_bit_what_the_policy_asked():
    actions = np.random.default_rng(0).normal(size=(20, 3)) * 1e3
    spec = make_spec(["a", "b", "c"], low=-1.0, high=1.0)
    for k, decision in enumerate(decisions(controller_of(lambda _: actions, spec), 20, (0, 0, 0))):
        np.testing.assert_array_equal(decision.asked, actions[k])
        np.testing.assert_array_equal(decision.sent, actions[k])
        assert decision.asked is not decision.sent and not np.shares_memory(decision.asked, actions)
        assert not decision.guarded


def test_clipping_keeps_what_is_sent_within_the_limits_and_leaves_what_was_asked():
    spec = make_spec(["a", "b"], low=-1.0, high=2.0)
    (decision,) = decisions(controller_of(lambda _: [[-5.0, 5.0]], spec, clip=True), 1, (0, 0))
    assert (decision.asked.tolist(), decision.sent.tolist()) == ([-5, 5], [-1, 2])


def test_filters_act_on_single_executed_actions_across_chunks():
    limited = controller_of(numbered(3), filters=[RateLimit(2.0)])
    sent = [float(decision.sent[0]) for decision in decisions(limited, 6)]
    assert sent == [0, 1, 2, 4, 6, 8]  # asked: 0, 1, 2, then 100, 101, 102


def test_filters_are_applied_in_their_order():
    def both(*filters):
        return [float(d.sent[0]) for d in decisions(controller_of(lambda _: [[1.0]], filters=filters), 3)]

    assert both(RateLimit(0.4), ExponentialMovingAverage(0.5)) == pytest.approx([0.2, 0.5, 0.75])
    assert both(ExponentialMovingAverage(0.5), RateLimit(0.4)) == pytest.approx([0.4, 0.75, 0.875])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_action_is_limited_from_the_measured_state(sign):
    controller = controller_of(lambda _: [[sign * 10.0]], filters=[RateLimit(0.5)])
    first, second = decisions(controller, 2, initial=(sign * 3.0,))
    assert (first.sent, second.sent) == (sign * 3.5, sign * 4.0)


def test_where_the_state_is_something_else_filters_start_from_the_first_action():
    spec = make_spec(["a"], state_names=["x", "y"])
    controller = controller_of(numbered(3), spec, [RateLimit(0.5)])
    for _ in range(2):
        sent = [float(decision.sent[0]) for decision in decisions(controller, 3, (9.0, 9.0))]
        assert sent == [0.0, 0.5, 1.0]


def test_a_reset_reaches_policy_chunk_filters_and_guard():
    policy = Says(lambda k: np.full((4, 14), 0.5 + k))
    filters = [ExponentialMovingAverage(0.5), RateLimit(0.1), Deadband(0.01)]
    controller = Controller(OpenLoop(policy), aloha_spec(), filters, HandoverGuard(aloha_spec()))
    episodes = []
    for seed in (1, 2):
        home, held_up = at_home(0.02, touched=False), at_home(0.3, touched=True)
        controller.reset(EpisodeInfo(0, seed), home)
        episodes.append([controller.decide(home if k < 6 else held_up) for k in range(9)])
    assert [episode.seed for episode in policy.resets] == [1, 2]
    for first, second in zip(*episodes, strict=True):
        np.testing.assert_array_equal(first.asked, second.asked)
        np.testing.assert_array_equal(first.sent, second.sent)
        assert first.guarded == second.guarded


def at_home(height_m, touched):
    return observe(
        *np.zeros(14),
        extras={
            "object_poses": {"red_box": np.array([0, 0, height_m, 1, 0, 0, 0])},
            "touched_by": {"right": {"red_box"} if touched else set(), "left": set()},
        },
    )


def test_the_guard_comes_after_the_filters_and_is_told():
    controller = controller_of(
        lambda _: np.full((1, 14), 0.5), aloha_spec(), [RateLimit(0.1)], HandoverGuard(aloha_spec())
    )
    controller.reset(EPISODE, at_home(0.02, touched=False))
    decision = controller.decide(at_home(0.02, touched=False))
    assert decision.guarded
    np.testing.assert_array_equal(decision.sent, [0.0] * 7 + [0.1] * 7)


def test_a_measured_state_that_is_not_finite_is_a_fault_that_names_the_value():
    controller = controller_of(numbered(3, width=2), make_spec(["a", "b"]))
    with pytest.raises(EnvironmentFault, match=r"NaN or infinite values in b$"):
        controller.reset(EPISODE, observe(0.0, math.nan))


def test_the_prompt_behind_the_action_is_in_the_decision():
    controller = controller_of(lambda k: ActionChunk(np.zeros((2, 1)), prompt_used=f"prompt {k}", prompt_read=k == 0))
    made = decisions(controller, 3)
    assert [d.prompt_used for d in made] == ["prompt 0", "prompt 0", "prompt 1"]
    assert [d.prompt_read for d in made] == [True, True, False]


def test_closing_closes_the_policy():
    policy = Says(numbered(3))
    Controller(OpenLoop(policy), make_spec(["a"])).close()
    assert policy.closed == 1


class Steers(Says):
    """Steers the point onto its target, four steps at a time."""

    def __init__(self):
        super().__init__(None)

    def infer(self, observation):
        offset = (observation.state[2:] - observation.state[:2]) / 4
        return ActionChunk(np.tile(np.clip(offset, -0.1, 0.1), (4, 1)), prompt_used=observation.prompt)


@pytest.mark.parametrize(
    "options",
    [{}, {"action_horizon": 2}, {"executor": "temporal_ensemble"}, {"executor": "asynchronous", "prefetch": 2}],
    ids=lambda options: options.get("executor", "open_loop"),
)
def test_a_session_is_solved_with_every_executor(options):
    environment, keep = PointEnvironment(), Keep()
    controller = ControlConfig(**options).make(Steers(), environment.spec)
    result = run_session(environment, controller, [keep], num_episodes=5)
    controller.close()
    assert result.fault is None
    assert [episode.outcome for episode in result.episodes] == [Outcome.SUCCESS] * 5
    assert {step.decision.prompt_used for step in keep.steps} == {"Move the point onto the target"}


def test_an_unusable_chunk_ends_a_session_with_its_message():
    environment = PointEnvironment()
    controller = ControlConfig().make(Says(lambda _: np.zeros((1, 3))), environment.spec)
    result = run_session(environment, controller, num_episodes=1)
    assert isinstance(result.fault, PolicyError)
    assert result.reason == "action chunk is (1, 3); the environment 'point' takes 2 values: x, y"
