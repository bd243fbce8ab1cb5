"""`check_env` passes sound environments that step together, and names what is wrong with broken ones."""

import dataclasses

import numpy as np
import pytest

from taketwo.envs.push import PushConfig
from taketwo.envs.several import Several
from taketwo.errors import EnvironmentFault
from taketwo.testing import ContractError, PointEnvironment, check_env
from taketwo.types import Image, StepResult, VectorStep

NUM_ENVS = 3


class ShortPoint(PointEnvironment):
    """Ends after eight steps, or four where its seed is odd, so that environments end apart."""

    longer = 0

    def reset(self, seed, options=None):
        self.limit = (4 if seed % 2 else 8) + self.longer
        return super().reset(seed, options)

    def step(self, action):
        result = super().step(action)
        return dataclasses.replace(result, truncated=self._steps >= self.limit)


class Sound(Several):
    """Resets where it is told to."""

    def __init__(self):
        super().__init__([ShortPoint() for _ in range(NUM_ENVS)])


class Restarts:
    """Begins anew where an episode ends, in the same step; the next seeds follow from the first."""

    resets_itself = True

    def __init__(self):
        self.points = [ShortPoint() for _ in range(NUM_ENVS)]
        self.num_envs = NUM_ENVS
        self.spec = self.points[0].spec

    def reset(self, seeds, options=None):
        if set(seeds) != set(range(NUM_ENVS)):
            raise EnvironmentFault("all or none")
        self.generators = [np.random.default_rng(seeds[env]) for env in range(NUM_ENVS)]
        return {env: self.again(env) for env in range(NUM_ENVS)}

    def again(self, env):
        return self.points[env].reset(int(self.generators[env].integers(2**31)))

    def step(self, actions):
        results, begun = {}, {}
        for env, action in actions.items():
            results[env] = result = self.points[env].step(action)
            for image in result.observation.images.values():
                assert image.pixels.any()  # gone in a moment
            if result.terminated or result.truncated:
                begun[env] = self.again(env)
        return VectorStep(results, begun=begun)

    def close(self):
        pass


class DoesNotShowTheEnd(Restarts):
    """Sound: it says so."""

    def reset(self, seeds, options=None):
        self.last = dict(super().reset(seeds, options))
        return self.last

    def step(self, actions):
        step = super().step(actions)
        unseen = frozenset(step.begun)
        results = {
            env: dataclasses.replace(result, observation=self.last[env]) if env in unseen else result
            for env, result in step.results.items()
        }
        self.last = {**self.last, **{env: result.observation for env, result in results.items()}, **step.begun}
        return dataclasses.replace(step, results=results, unseen=unseen)


class BeginsAStepLater(Restarts):
    """Sound, as Gymnasium's environments in mode NEXT_STEP."""

    def reset(self, seeds, options=None):
        self.over = set()
        return super().reset(seeds, options)

    def step(self, actions):
        begun = {env: self.again(env) for env in self.over}
        results = {env: self.points[env].step(action) for env, action in actions.items()}
        self.over = {env for env, result in results.items() if result.terminated or result.truncated}
        return VectorStep(results, begun=begun)


class IgnoresTheLastAction(Sound):
    """Sound, though how an episode ends hangs on no last action: it ends where it stood."""

    def step(self, actions):
        ends = {env for env in actions if self.environments[env]._steps == self.environments[env].limit - 1}
        return super().step({env: action * (env not in ends) for env, action in actions.items()})


@pytest.mark.parametrize("sound", [Sound, IgnoresTheLastAction, Restarts, DoesNotShowTheEnd, BeginsAStepLater])
def test_sound_environments_pass(sound):
    check_env(sound)


def test_several_worlds_of_our_own_pass():
    check_env(lambda: Several.made_by(PushConfig(cameras=()).make, 2))


def test_a_single_one_among_them_passes():
    check_env(lambda: Several([PointEnvironment()]))


def results_changed(base, change):
    """A class whose results are changed by a function of environment and result."""

    class Changed(base):
        def step(self, actions):
            step = super().step(actions)
            return dataclasses.replace(step, results={env: change(env, result) for env, result in step.results.items()})

    return Changed


def observed(**changes):
    """A change of a result's observation."""
    return lambda env, result: dataclasses.replace(
        result, observation=dataclasses.replace(result.observation, **changes)
    )


class NoNumber(Sound):
    def __init__(self):
        super().__init__()
        self.num_envs = 3.0


class PerhapsResetsItself(Sound):
    resets_itself = None


class ResetsAll(Sound):
    def reset(self, seeds, options=None):
        return super().reset({**dict.fromkeys(range(NUM_ENVS), 0), **seeds}, options)


class ResetsOthersInSecret(Sound):
    def reset(self, seeds, options=None):
        for env in {1, 2} - seeds.keys():
            self.environments[env].reset(5)
        return super().reset(seeds, options)


class NudgesOthers(Sound):
    """Reset alone, the first environment moves the last one."""

    def reset(self, seeds, options=None):
        if 2 not in seeds:
            self.environments[2]._position = self.environments[2]._position * 0.99
        return super().reset(seeds, options)


class SharesItsWind(Sound):
    """The first environment's seed tells what wind blows in the last one."""

    wind = 0.0

    def reset(self, seeds, options=None):
        self.wind = 1e-5 * seeds[0] if 0 in seeds else self.wind
        return super().reset(seeds, options)

    def step(self, actions):
        return super().step({env: action + self.wind * (env == 2) for env, action in actions.items()})


class GivesTheSeedOfTheFirstToAll(Sound):
    def reset(self, seeds, options=None):
        first = next(iter(seeds.values()))
        return super().reset(dict.fromkeys(seeds, first), options)


class StepsTheOthersToo(Sound):
    def step(self, actions):
        return super().step({**{env: np.zeros(2) for env in range(NUM_ENVS)}, **actions})


class LosesAResult(Sound):
    def step(self, actions):
        step = super().step(actions)
        return dataclasses.replace(step, results=dict(list(step.results.items())[:1]))


class LeaksBackwards(Sound):
    """The second environment's seed tells what wind blows in the first one."""

    wind = 0.0

    def reset(self, seeds, options=None):
        self.wind = 1e-5 * seeds[1] if 1 in seeds else self.wind
        return super().reset(seeds, options)

    def step(self, actions):
        return super().step({env: action + self.wind * (env == 0) for env, action in actions.items()})


class LeaksIntoTheMiddle(Sound):
    """The last environment's action moves the second one, too."""

    def step(self, actions):
        if 1 in actions and 2 in actions:
            actions = {**actions, 1: actions[1] + 0.5 * actions[2]}
        return super().step(actions)


class GoesWrongLate(Sound):
    """NaN comes into the state at the sixth step, where nobody looks at pictures any more."""

    def step(self, actions):
        step = super().step(actions)
        late = {env: observed(state=np.full(4, np.nan))(env, r) for env, r in step.results.items() if self.late(env)}
        return dataclasses.replace(step, results={**step.results, **late})

    def late(self, env):
        return self.environments[env]._steps == 6


class ActsOnAll(Sound):
    """The first environment's action moves the last one, too."""

    def step(self, actions):
        if 0 in actions and 2 in actions:
            actions = {**actions, 2: actions[2] + 0.5 * actions[0]}
        return super().step(actions)


class MixesUpPictures(Sound):
    """The last environment's picture is of the first one's state."""

    def reset(self, seeds, options=None):
        return {env: self.mixed(env, observation) for env, observation in super().reset(seeds, options).items()}

    def mixed(self, env, observation):
        images = {"top": Image.of(self.environments[0].render("top", 48, 64), "top")}
        return dataclasses.replace(observation, images=images) if env == 2 else observation


class TakesAnyWidth(Sound):
    def step(self, actions):
        return super().step({env: action[:2] for env, action in actions.items()})


class TakesAnyNumber(Sound):
    def step(self, actions):
        return super().step({env % NUM_ENVS: action for env, action in actions.items()})


class ResetsAnyNumber(Sound):
    def reset(self, seeds, options=None):
        return super().reset({env: seed for env, seed in seeds.items() if env < NUM_ENVS}, options)


class ScalesTheCallersAction(Sound):
    def step(self, actions):
        for action in actions.values():
            action *= 0.5
        return super().step(actions)


class WritesIntoTheLastObservation(Sound):
    def reset(self, seeds, options=None):
        self.shown = super().reset(seeds, options)
        return self.shown

    def step(self, actions):
        for observation in self.shown.values():
            observation.state[:] = 0
        return super().step(actions)


class Unseeded(Sound):
    def reset(self, seeds, options=None):
        return super().reset({env: np.random.randint(2**31) for env in seeds}, options)


class NoisySteps(Sound):
    def step(self, actions):
        return super().step({env: action + np.random.normal(0, 1e-3, 2) for env, action in actions.items()})


class AlwaysTheSame(Sound):
    def reset(self, seeds, options=None):
        return super().reset(dict.fromkeys(seeds, 3), options)


class RestartsAlike(Restarts):
    """Its environments are copies of each other."""

    def reset(self, seeds, options=None):
        return super().reset(dict.fromkeys(seeds, seeds[0]), options)


class NeedsItsSeedsTogether(Sound):
    """A seed means something else where an environment is reset alone."""

    def reset(self, seeds, options=None):
        return super().reset({env: seed + len(seeds) for env, seed in seeds.items()}, options)


class Fails(Sound):
    def step(self, actions):
        step = super().step(actions)
        results = {env: result for env, result in step.results.items() if env != 1}
        return VectorStep(results, faults={env: EnvironmentFault("boiled over") for env in actions.keys() - results})


class ShowsAnotherInstant(Sound):
    """Its pictures do not expire."""

    def reset(self, seeds, options=None):
        begun = super().reset(seeds, options)
        return {env: dataclasses.replace(shown, images=self.images(env)) for env, shown in begun.items()}

    def images(self, env):
        draw = self.environments[env].render
        return {"top": Image(lambda: draw("top", 48, 64), camera="top", height=48, width=64)}


class PicturesMoveWithOthers(Sound):
    """Once the first environment is reset alone, the last one's picture that was looked at shows that."""

    def reset(self, seeds, options=None):
        begun = super().reset(seeds, options)
        if 2 in begun:
            self.pixels = begun[2].images["top"].pixels
        elif hasattr(self, "pixels"):
            self.pixels[:] = 9
        return begun

    def step(self, actions):
        step = super().step(actions)
        if 2 in step.results:
            self.pixels = step.results[2].observation.images["top"].pixels
        return step


class ForgetsItsSeedAfterAnEnd(Sound):
    """Right after an end, a seed is taken for another."""

    ended = False

    def reset(self, seeds, options=None):
        alone = self.ended and len(seeds) == 1
        self.ended = False
        return super().reset({env: seed + alone for env, seed in seeds.items()}, options)

    def step(self, actions):
        step = super().step(actions)
        self.ended = any(result.truncated for result in step.results.values())
        return step


class StartsTheClockAgain(Sound):
    """Resets an environment that has ended, and shows that."""

    def step(self, actions):
        step = super().step(actions)
        shown = {
            env: dataclasses.replace(result, observation=self.environments[env].reset(1))
            if result.truncated
            else result
            for env, result in step.results.items()
        }
        return dataclasses.replace(step, results=shown)


class HasBegunAgain(Sound):
    """Resets an environment that has ended, with the time of the episode before, as an adapter may that counts steps.

    What it is reset by is told by the class attribute, given how often that has happened.
    """

    seed = staticmethod(lambda count: 1)
    count = 0

    def step(self, actions):
        step = super().step(actions)
        return dataclasses.replace(step, results={env: self.shown(env, r) for env, r in step.results.items()})

    def shown(self, env, result):
        if not result.truncated:
            return result
        assert result.observation.images["top"].pixels.any()  # gone in a moment
        self.count += 1
        first = self.environments[env].reset(self.seed(self.count))
        return dataclasses.replace(result, observation=dataclasses.replace(first, time_s=result.observation.time_s))


class HasBegunAgainByOtherNumbers(HasBegunAgain):
    """It does not begin twice alike, and only after a while."""

    seed = staticmethod(lambda count: count)

    def __init__(self):
        super().__init__()
        for point in self.environments:
            point.longer = 10


class EndsInTheFirstObservation(Sound):
    """Goes back to the episode's beginning, and does not end there after another last action."""

    def reset(self, seeds, options=None):
        self.first = {**getattr(self, "first", {}), **super().reset(seeds, options)}
        self.sent = {env: [] for env in range(NUM_ENVS)}
        return {env: self.first[env] for env in seeds}

    def step(self, actions):
        step = super().step(actions)
        return dataclasses.replace(
            step, results={env: self.shown(env, actions[env], result) for env, result in step.results.items()}
        )

    def shown(self, env, action, result):
        if not result.truncated or np.abs(action).max() >= 0.1:
            return dataclasses.replace(result, truncated=False)
        observation = dataclasses.replace(result.observation, state=self.first[env].state)
        return dataclasses.replace(result, observation=observation)


class TellsOfBeginnings(Sound):
    """Begins by itself, though it says that it does not."""

    def step(self, actions):
        step = super().step(actions)
        over = [env for env, result in step.results.items() if result.truncated]
        assert all(step.results[env].observation.images["top"].pixels.any() for env in over)  # gone in a moment
        return dataclasses.replace(step, begun={env: self.environments[env].reset(1) for env in over})


class ShowsTheNextForTheLast(Restarts):
    """As simulators do that give the first observation of the next episode where one ends."""

    def step(self, actions):
        step = super().step(actions)
        results = dict(step.results)
        for env, first in step.begun.items():
            last = results[env].observation
            shown = dataclasses.replace(first, images=first.images, time_s=last.time_s)
            results[env] = dataclasses.replace(results[env], observation=shown)
        return dataclasses.replace(step, results=results)


class DrawsTheNextForTheLast(Restarts):
    """Shows the terminal state, and pictures of the next episode."""

    def step(self, actions):
        step = super().step(actions)
        drawn = {env: observed(images=first.images)(env, step.results[env]) for env, first in step.begun.items()}
        return dataclasses.replace(step, results={**step.results, **drawn})


class NeverBegins(Restarts):
    def step(self, actions):
        return dataclasses.replace(super().step(actions), begun={})


class BeginsTwice(Restarts):
    def reset(self, seeds, options=None):
        self.told = {}
        return super().reset(seeds, options)

    def step(self, actions):
        step, before = super().step(actions), self.told
        self.told = dict(step.begun)
        return dataclasses.replace(step, begun={**before, **step.begun})


class BeginsLate(Restarts):
    def step(self, actions):
        step = super().step(actions)
        late = {env: dataclasses.replace(shown, time_s=0.02) for env, shown in step.begun.items()}
        return dataclasses.replace(step, begun=late)


class UnseenInBetween(Sound):
    def step(self, actions):
        return dataclasses.replace(super().step(actions), unseen=frozenset(actions))


class UnseenAndShown(Restarts):
    def step(self, actions):
        step = super().step(actions)
        return dataclasses.replace(step, unseen=frozenset(step.begun))


class CannotBeClosedTwice(Sound):
    closed = False

    def close(self):
        assert not self.closed, "closed twice"
        self.closed = True


class CannotBeLookedAt(Sound):
    def reset(self, seeds, options=None):
        begun = super().reset(seeds, options)
        self.environments[0]._images.close()
        return begun


class GivesAList(Sound):
    def step(self, actions):
        return list(super().step(actions).results.values())


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (NoNumber, "num_envs is 3.0"),
        (PerhapsResetsItself, "resets_itself is None"),
        (ResetsAll, r"reset of environments \[0\] gives those of \[0, 1, 2\]"),
        (ResetsOthersInSecret, "environment 1: time_s is 0.02 after 0.06"),
        (NudgesOthers, r"environment 2 has another episode where environments \[1\] are reset"),
        (SharesItsWind, r"environment 2 has another episode where environments \[0, 1\] have other seeds"),
        (LeaksBackwards, r"environment 0 has another episode where environments \[1\] have other seeds"),
        (LeaksIntoTheMiddle, r"environment 1 has another episode where environments \[0, 2\] wait"),
        (GoesWrongLate, "state has NaN or infinite values"),
        (GivesTheSeedOfTheFirstToAll, "begin alike"),
        (StepsTheOthersToo, r"actions for environments \[0, 2\] gives results of \[0, 1, 2\]"),
        (LosesAResult, "gives results of"),
        (ActsOnAll, r"environment 2 has another episode where environments \[0, 1\] wait"),
        (MixesUpPictures, r"environment 2 has another episode where environments \[0, 1\] have other seeds"),
        (TakesAnyWidth, "one value too long"),
        (TakesAnyNumber, "step takes an environment that there is not"),
        (ResetsAnyNumber, "reset takes the number of an environment that there is not"),
        (ScalesTheCallersAction, "changes the action"),
        (WritesIntoTheLastObservation, "changes the observation before it"),
        (Unseeded, "the same seeds give another first observation"),
        (NoisySteps, "the same seeds and actions give another episode"),
        (AlwaysTheSame, "other seeds give the same episode"),
        (RestartsAlike, "begin alike"),
        (NeedsItsSeedsTogether, "another first observation where it is reset alone"),
        (Fails, "environment 1 fails in an ordinary step: boiled over"),
        (ShowsAnotherInstant, "another instant"),
        (PicturesMoveWithOthers, "environment 2: camera top changes where another is reset"),
        (ForgetsItsSeedAfterAnEnd, "begins otherwise after an end"),
        (StartsTheClockAgain, "time_s is 0.0 after"),
        (HasBegunAgain, "the same whatever the last action is, and is where episodes begin, so it has reset itself"),
        (HasBegunAgainByOtherNumbers, "and from there to another last one, so it has reset itself"),
        (EndsInTheFirstObservation, "episodes end in their first observation"),
        (TellsOfBeginnings, "though resets_itself is False"),
        (ShowsTheNextForTheLast, "is the first of the next"),
        (DrawsTheNextForTheLast, "the last picture of camera top is the first of the next episode"),
        (NeverBegins, "does not begin anew"),
        (BeginsTwice, "once for each end"),
        (BeginsLate, "time_s is 0.02 in `begun`"),
        (UnseenInBetween, "`unseen` in the middle"),
        (UnseenAndShown, "does not show the observation before"),
        (CannotBeLookedAt, "a picture of the present instant cannot be made: camera 'top'"),
        (GivesAList, "list, not a VectorStep"),
        (results_changed(Sound, lambda env, result: dataclasses.replace(result, reward=1)), "reward is 1"),
        (results_changed(Sound, observed(state=np.zeros(4, np.float32))), "float32"),
        (results_changed(Sound, observed(time_s=1.0)), "time_s is 1.0"),
        (results_changed(Sound, observed(images={})), "pictures of"),
        (results_changed(Sound, lambda env, result: StepResult(None, 0.0, False, False)), "not an Observation"),
    ],
)
def test_a_broken_environment_is_found_out(broken, words):
    with pytest.raises(ContractError, match=words):
        check_env(broken)


def test_one_that_cannot_be_closed_twice_is_found_out():
    with pytest.raises(AssertionError, match="closed twice"):
        check_env(CannotBeClosedTwice)


def test_environments_whose_seeds_do_not_matter_may_say_so():
    check_env(AlwaysTheSame, seeded=False)
