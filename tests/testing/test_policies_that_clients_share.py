"""`check_policy` looks at what a policy can do beyond the four members, and names what is wrong with it."""

import dataclasses

import numpy as np
import pytest

from taketwo.errors import PolicyError
from taketwo.testing import ContractError, PointEnvironment, check_policy
from taketwo.types import ActionChunk


class Steers:
    """Towards the target, which the state tells."""

    cameras = ()

    def reset(self, episode):
        pass

    def infer(self, observation):
        offset = observation.state[2:] - observation.state[:2]
        return ActionChunk(0.1 * offset * np.ones((3, 1)))

    def close(self):
        pass


class Batches(Steers):
    def infer_batch(self, observations):
        return [self.infer(observation) for observation in observations]


class MixesUpItsClients(Batches):
    def infer_batch(self, observations):
        return super().infer_batch(observations)[::-1]


class ForgetsTheLast(Batches):
    def infer_batch(self, observations):
        return super().infer_batch(observations)[:-1]


class AnswersInSingle(Batches):
    def infer_batch(self, observations):
        return [ActionChunk(chunk.actions.astype(np.float32)) for chunk in super().infer_batch(observations)]


class BatchesAlmostAlike(Batches):
    """As half precision does, where another number of rows takes another kernel."""

    def __init__(self, error):
        self.error = error

    def infer_batch(self, observations):
        return [ActionChunk(chunk.actions + self.error) for chunk in super().infer_batch(observations)]


class RemembersThoughAllShareIt(Batches):
    """Moves the less the longer the episode is, so that a server's clients would slow each other down."""

    def reset(self, episode):
        self.asked = 0

    def infer(self, observation):
        self.asked += 1
        return ActionChunk(super().infer(observation).actions / self.asked)


class DrawsNoise(Batches):
    def reset(self, episode):
        self.generator = np.random.default_rng(episode.seed)

    def infer(self, observation):
        return ActionChunk(super().infer(observation).actions + self.generator.normal(0, 0.01, (3, 2)))


class Weights:
    """What is loaded once."""

    gain = 0.1


class Remembers(Steers):
    """Moves the faster the longer the episode is; its weights are shared, the count is each one's own."""

    def __init__(self, weights=None):
        self.weights = weights or Weights()
        self.count = 0

    def reset(self, episode):
        self.count = 0

    def infer(self, observation):
        self.count += 1
        offset = observation.state[2:] - observation.state[:2]
        return ActionChunk(min(0.9, self.weights.gain * self.count) * offset[None])

    def for_client(self):
        return type(self)(self.weights)

    def close(self):
        self.weights = None


class GivesItself(Remembers):
    def for_client(self):
        return self


class SharesItsState(Remembers):
    class State:
        value = 0

    shared = State()

    @property
    def count(self):
        return self.shared.value

    @count.setter
    def count(self, value):
        self.shared.value = value


class TakesTheWeightsAlong(Remembers):
    """Closing a client's policy frees what all of them need."""

    def for_client(self):
        other = super().for_client()
        other.close = lambda: vars(self.weights).update(gain=None)
        return other


class TurnsWorseWhenOneLeaves(Remembers):
    def for_client(self):
        other = super().for_client()
        other.close = lambda: vars(self.weights).update(gain=0.2)
        return other


class LooksElsewhereForClients(Remembers):
    def for_client(self):
        other = super().for_client()
        other.cameras = ("top",)
        return other


class Follows(Steers):
    def __init__(self, own_prompt):
        self.own_prompt = own_prompt


class Scene(PointEnvironment):
    """Tells more than state and pictures."""

    def _observe(self):
        observation = super()._observe()
        return dataclasses.replace(observation, extras={"target": observation.state[2:].copy(), "contacts": ()})


class UsesExtras(Steers):
    extras = ("target",)

    def infer(self, observation):
        if "target" not in observation.extras:
            raise PolicyError("where is the target?")
        return ActionChunk(0.1 * (observation.extras["target"] - observation.state[:2])[None])


class UsesWhatItDoesNotName(UsesExtras):
    extras = ("contacts",)


class NamesNothing(UsesExtras):
    extras = ()


class NamesLetters(UsesExtras):
    extras = "target"


class UsesMoreWhereThereIsMore(UsesExtras):
    def infer(self, observation):
        _ = observation.extras.get("contacts", ())
        return super().infer(observation)


@pytest.mark.parametrize("policy", [Batches(), Remembers(), Follows(None), Follows("by heart")])
def test_sound_policies_pass(policy):
    check_policy(policy, PointEnvironment())


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (MixesUpItsClients(), r"infer_batch gives other actions for observation 5 of 5 than infer"),
        (ForgetsTheLast(), "infer_batch gives 4 chunks for 5 observations"),
        (AnswersInSingle(), "actions are not float64"),
        (RemembersThoughAllShareIt(), "infer_batch gives other actions for observation"),
        (DrawsNoise(), r"draws noise \(which batch_tolerance=None allows\)"),
        (GivesItself(), "other actions than its original while another client takes turns"),
        (SharesItsState(), "other actions than its original while another client takes turns"),
        (TakesTheWeightsAlong(), "fails when another client's policy has been closed: TypeError"),
        (TurnsWorseWhenOneLeaves(), "other actions than its original when another client's policy has been closed"),
        (LooksElsewhereForClients(), "for_client gives a policy with other cameras"),
        (Follows(5), "own_prompt is 5, neither text nor None"),
        (NamesLetters(), "extras is 'target', not a tuple of names"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_a_policy_breaks_is_named(broken, words):
    with pytest.raises(ContractError, match=words):
        check_policy(broken, PointEnvironment())


def test_a_batch_may_differ_by_the_tolerance_and_no_more():
    check_policy(BatchesAlmostAlike(0.9e-3), PointEnvironment())
    check_policy(BatchesAlmostAlike(0.9e-2), PointEnvironment(), batch_tolerance=1e-2)
    with pytest.raises(ContractError, match="infer_batch gives other actions"):
        check_policy(BatchesAlmostAlike(1.1e-3), PointEnvironment())


def test_a_policy_that_draws_noise_may_say_so():
    check_policy(DrawsNoise(), PointEnvironment(), batch_tolerance=None)
    with pytest.raises(ContractError, match="infer_batch gives 4 chunks"):
        check_policy(ForgetsTheLast(), PointEnvironment(), batch_tolerance=None)


def test_a_policy_that_is_not_deterministic_may_share_its_weights():
    class Random(Remembers):
        def infer(self, observation):
            return ActionChunk(np.random.default_rng().normal(0, 1e-3, (1, 2)))

    check_policy(Random(), PointEnvironment(), deterministic=False)


@pytest.mark.parametrize("policy", [UsesExtras(), UsesMoreWhereThereIsMore(), Steers()])
def test_extras_that_are_named_are_enough(policy):
    check_policy(policy, Scene())


def test_extras_that_are_needed_and_not_named_are_told():
    with pytest.raises(ContractError, match=r"does not get target, which its `extras` does not name: .*where is the"):
        check_policy(UsesWhatItDoesNotName(), Scene())
    with pytest.raises(ContractError, match="does not get contacts, target, which"):
        check_policy(NamesNothing(), Scene())
