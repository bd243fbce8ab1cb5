import numpy as np
import pytest

from taketwo.control.chunking import OpenLoop, TemporalEnsemble
from taketwo.errors import ConfigError
from taketwo.types import ActionChunk
from tests.control.support import EPISODE, Says, numbered, observe


def run(executor, steps):
    return [float(executor.next_action(observe(0.0)).action[0]) for _ in range(steps)]


@pytest.mark.parametrize(
    ("horizon", "expected"),
    [
        (1, [0, 100, 200, 300, 400, 500, 600]),
        (3, [0, 1, 2, 100, 101, 102, 200]),
        (None, [0, 1, 2, 3, 100, 101, 102]),
    ],
)
def test_open_loop_executes_the_horizon_and_then_asks_again(horizon, expected):
    assert run(OpenLoop(Says(numbered(4)), horizon), 7) == expected


def test_open_loop_asks_with_the_observation_of_the_very_step():
    policy = Says(numbered(2))
    executor = OpenLoop(policy)
    observations = [observe(float(k)) for k in range(4)]
    for observation in observations:
        executor.next_action(observation)
    assert policy.asked == [observations[0], observations[2]]


def test_a_horizon_beyond_the_chunk_tells_both_numbers():
    executor = OpenLoop(Says(numbered(4)), 5)
    with pytest.raises(ConfigError, match="action_horizon is 5, but the policy's chunk holds 4"):
        executor.next_action(observe(0.0))


@pytest.mark.parametrize("horizon", [0, -1])
def test_a_horizon_below_one_is_refused(horizon):
    with pytest.raises(ConfigError, match=f"action_horizon must be 1 or more.*not {horizon}"):
        OpenLoop(Says(numbered(4)), horizon)


@pytest.mark.parametrize("make", [OpenLoop, TemporalEnsemble])
def test_a_reset_forgets_the_chunk_and_resets_the_policy(make):
    policy = Says(numbered(4))
    executor = make(policy)
    executor.reset(EPISODE)
    begun = run(executor, 6)
    executor.reset(EPISODE)
    assert run(executor, 6) == begun
    assert policy.resets == [EPISODE, EPISODE]


@pytest.mark.parametrize("make", [OpenLoop, TemporalEnsemble])
def test_closing_closes_the_policy_and_nothing_ever_stalls(make):
    policy = Says(numbered(4))
    executor = make(policy)
    run(executor, 5)
    executor.close()
    assert (policy.closed, executor.stalls) == (1, 0)


def test_the_prompt_is_that_of_the_chunk_behind_the_action():
    def answer(k):
        return ActionChunk(np.zeros((2, 1)), prompt_used=f"prompt {k}")

    for make, expected in ((OpenLoop, [0, 0, 1, 1]), (TemporalEnsemble, [0, 1, 2, 3])):
        executor = make(Says(answer))
        prompts = [executor.next_action(observe(0.0)).prompt_used for _ in range(4)]
        assert prompts == [f"prompt {k}" for k in expected]


def ensemble_by_definition(chunks, m):
    """Step t: every prediction for it, the oldest first, weighted by exp(-m * i), summed in plain loops."""
    actions = []
    for t in range(len(chunks)):
        predictions = [chunk[t - made] for made, chunk in enumerate(chunks[: t + 1]) if t - made < len(chunk)]
        weights = [np.exp(-m * i) for i in range(len(predictions))]
        total = sum(weight * prediction for weight, prediction in zip(weights, predictions, strict=True))
        actions.append(total / sum(weights))
    return np.array(actions)


@pytest.mark.parametrize("m", [0.0, 0.01, 0.7, 50.0])
@pytest.mark.parametrize("lengths", [[8], [1], [3, 9, 5, 1, 12, 2]], ids=["same", "one", "varying"])
def test_the_temporal_ensemble_is_the_weighted_mean_of_its_definition(m, lengths):
    rng = np.random.default_rng(3)
    chunks = [rng.normal(size=(lengths[k % len(lengths)], 5)) for k in range(40)]
    executor = TemporalEnsemble(Says(lambda k: chunks[k]), m)
    actions = [executor.next_action(observe(0.0)).action for _ in chunks]
    np.testing.assert_allclose(actions, ensemble_by_definition(chunks, m), rtol=1e-12, atol=1e-13)


def test_in_the_temporal_ensemble_the_oldest_prediction_weighs_most():
    executor = TemporalEnsemble(Says(lambda k: np.full((2, 1), float(k))), m=1.0)
    _, second = run(executor, 2)
    assert second == pytest.approx(1 / (1 + np.e))  # prediction 0 weighs 1, prediction 1 weighs 1/e


def test_the_temporal_ensemble_keeps_no_more_than_a_chunk():
    executor = TemporalEnsemble(Says(numbered(10, width=3)))
    run(executor, 200)
    owned = [array.base if array.base is not None else array for array in (executor._sums, executor._weights)]
    assert [len(array) for array in owned] == [10, 10]


@pytest.mark.parametrize("m", [-0.1, np.nan, np.inf])
def test_an_ensemble_weight_must_not_grow_without_bounds(m):
    with pytest.raises(ConfigError, match=f"ensemble_m must be a finite number, 0 or more, not {m}"):
        TemporalEnsemble(Says(numbered(4)), m)
