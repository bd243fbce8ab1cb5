"""The conformance checks pass on sound components and name what is wrong with broken ones."""

import dataclasses

import numpy as np
import pytest

from taketwo.session.events import EpisodeEnd
from taketwo.testing import ContractError, PointEnvironment, check_env, check_policy, check_sink
from taketwo.types import ActionChunk, Image, Observation
from tests.support import Keep


def changed(environment_class, **changes):
    """An environment whose observations are changed by functions of the observation."""

    class Changed(environment_class):
        def _observe(self):
            observation = super()._observe()
            return dataclasses.replace(observation, **{name: make(observation) for name, make in changes.items()})

    return Changed


class Unseeded(PointEnvironment):
    def reset(self, seed, options=None):
        return super().reset(np.random.randint(2**31))


class NoisySteps(PointEnvironment):
    def step(self, action):
        return super().step(action + np.random.normal(0, 1e-3, 2))


class ScalesTheCallersAction(PointEnvironment):
    def step(self, action):
        action *= 0.5
        return super().step(action)


class ReusesItsState(PointEnvironment):
    def _observe(self):
        observation = super()._observe()
        if not hasattr(self, "_buffer"):
            self._buffer = observation.state.copy()
        self._buffer[:] = observation.state
        return dataclasses.replace(observation, state=self._buffer)


class ReusesItsPixels(PointEnvironment):
    def __init__(self):
        super().__init__()
        self._pixels = np.zeros((48, 64, 3), np.uint8)

    def render(self, camera, height, width):
        pixels = super().render(camera, height, width)
        if pixels.shape != self._pixels.shape:
            return pixels
        self._pixels[:] = pixels
        return self._pixels


class ShowsAnotherInstant(PointEnvironment):
    """Its pictures do not expire, so that a late look shows the state of later."""

    def _observe(self):
        observation = super()._observe()
        image = Image(lambda: self.render("top", 48, 64), camera="top", height=48, width=64)
        return dataclasses.replace(observation, images={"top": image})


class TakesAnyAction(PointEnvironment):
    def step(self, action):
        return super().step(action[:2])


class TakesAnyCamera(PointEnvironment):
    def render(self, camera, height, width):
        return super().render("top", height, width)


class IntegerReward(PointEnvironment):
    def step(self, action):
        return dataclasses.replace(super().step(action), reward=1)


class NumpyFlags(PointEnvironment):
    def step(self, action):
        return dataclasses.replace(super().step(action), terminated=np.bool_(False))


class WrongSpec(PointEnvironment):
    def __init__(self):
        super().__init__()
        self.spec = dataclasses.replace(self.spec, action_units=("m",))


class ResetsItself(PointEnvironment):
    """Shows the next episode's first observation instead of the terminal one."""

    def step(self, action):
        result = super().step(action)
        if self._steps < 50:
            return result
        return dataclasses.replace(result, observation=self.reset(1), truncated=True)


class ResetsItselfAndCountsOn(PointEnvironment):
    """Shows the next episode's first observation with the time of the last one's end."""

    def step(self, action):
        result = super().step(action)
        if self._steps % 50:
            return result
        first = dataclasses.replace(self.reset(self.next_seed()), time_s=result.observation.time_s)
        return dataclasses.replace(result, observation=first, truncated=True)

    def next_seed(self):
        return 1


class ResetsItselfUnseeded(ResetsItselfAndCountsOn):
    def next_seed(self):
        return np.random.randint(2**31)


class NaNLate(PointEnvironment):
    """Its state is spoilt after a second, in the middle of an episode."""

    def _observe(self):
        observation = super()._observe()
        return dataclasses.replace(observation, state=observation.state * np.nan) if self._steps == 50 else observation


class GivesNothing(PointEnvironment):
    def reset(self, seed, options=None):
        return None


class ForgetsInSnapshots(PointEnvironment):
    def snapshot(self):
        return {"position": self._position.copy()}

    def restore(self, snapshot):
        self._position = snapshot["position"] + 0.01
        return self._observe()


def test_a_sound_environment_passes():
    check_env(PointEnvironment)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Unseeded, "another first observation"),
        (NoisySteps, "another episode"),
        (ScalesTheCallersAction, "changes the action"),
        (ReusesItsState, "changes the observation before it"),
        (ReusesItsPixels, "pixels change"),
        (ShowsAnotherInstant, "another instant"),
        (TakesAnyAction, "one value too long"),
        (TakesAnyCamera, "a camera that there is not"),
        (IntegerReward, "reward is 1"),
        (NumpyFlags, "terminated"),
        (WrongSpec, "2 action names and 1 units"),
        (ForgetsInSnapshots, "goes on differently"),
        (ResetsItself, "has reset itself"),
        (ResetsItselfAndCountsOn, "where episodes begin, so it has reset itself"),
        (ResetsItselfUnseeded, "to another last one, so it has reset itself"),
        (NaNLate, "state has NaN or infinite values"),
        (GivesNothing, "NoneType, not an Observation"),
        (changed(PointEnvironment, state=lambda o: o.state.astype(np.float32)), "float32"),
        (changed(PointEnvironment, state=lambda o: o.state[:3]), "state has shape"),
        (changed(PointEnvironment, images=lambda o: {}), "pictures of"),
        (changed(PointEnvironment, images=lambda o: {"top": Image.of(np.zeros((9, 9, 3), np.uint8))}), "gives shape"),
        (changed(PointEnvironment, time_s=lambda o: 3.0), "time_s"),
    ],
)
def test_a_broken_environment_is_found_out(broken, words):
    with pytest.raises(ContractError, match=words):
        check_env(broken)


class Steers:
    """A sound policy."""

    cameras = ()

    def reset(self, episode):
        self._generator = np.random.default_rng(episode.seed)

    def infer(self, observation: Observation):
        return ActionChunk(self._generator.uniform(-0.01, 0.01, (4, 2)))

    def close(self):
        pass


class NeverForgets(Steers):
    def __init__(self):
        self._generator = np.random.default_rng(0)

    def reset(self, episode):
        pass


class LooksWithoutSaying(Steers):
    def infer(self, observation):
        assert observation.images["top"].pixels.any()
        return super().infer(observation)


class WantsAnotherCamera(Steers):
    cameras = ("wrist",)


class Flat(Steers):
    def infer(self, observation):
        return ActionChunk(super().infer(observation).actions[0])


class Single(Steers):
    def infer(self, observation):
        return ActionChunk(super().infer(observation).actions.astype(np.float32))


class TooWide(Steers):
    def infer(self, observation):
        return ActionChunk(np.zeros((4, 3)))


class GivesNaN(Steers):
    def infer(self, observation):
        return ActionChunk(np.full((4, 2), np.nan))


class WritesIntoTheObservation(Steers):
    def infer(self, observation):
        observation.state[:] = 0
        return super().infer(observation)


def test_a_sound_policy_passes():
    check_policy(Steers(), PointEnvironment())


def test_a_policy_that_is_not_deterministic_may_say_so():
    check_policy(NeverForgets(), PointEnvironment(), deterministic=False)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (NeverForgets, "forget the last episode"),
        (LooksWithoutSaying, "does not name"),
        (WantsAnotherCamera, "wrist"),
        (Flat, "have shape"),
        (Single, "float64"),
        (TooWide, "have shape"),
        (GivesNaN, "NaN"),
        (WritesIntoTheObservation, "changes the observation"),
    ],
)
def test_a_broken_policy_is_found_out(broken, words):
    with pytest.raises(ContractError, match=words):
        check_policy(broken(), PointEnvironment())


class NeedsTerminal(Keep):
    """Believes that every episode has had a step."""

    def on(self, event):
        super().on(event)
        if isinstance(event, EpisodeEnd):
            assert event.episode.steps > 0


class LooksAtPictures(Keep):
    def on(self, event):
        super().on(event)
        if hasattr(event, "observation"):
            assert event.observation.images["top"].pixels.any()


def test_a_sound_sink_passes():
    check_sink(lambda: Keep(cameras=("top",)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NeedsTerminal(), "raises in an ordinary session"),
        (lambda: LooksAtPictures(), "not rendered on the loop's thread"),
        (lambda: Keep(name=""), "name is empty"),
        (lambda: Keep(cameras=("wrist",)), "wrist"),
    ],
)
def test_a_broken_sink_is_found_out(make, words):
    with pytest.raises(ContractError, match=words):
        check_sink(make)
