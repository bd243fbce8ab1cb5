"""What `check_env` asks of environments that step together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from taketwo.envs.base import VectorEnvironment
from taketwo.testing.contract import ContractError, check_observation, check_state, require, require_raises, same
from taketwo.testing.endings import Ending, check_endings, seen
from taketwo.testing.environment_contract import (
    SEED,
    STEPS,
    check_pictures_of_their_instant,
    check_spec,
    check_verdict,
    longest_episode,
    rendered,
    small_actions,
)
from taketwo.types import FloatArray, Observation, StepResult, VectorStep

LOOKS = 200
"""Steps in which pictures are looked at on the way to an end, since to draw them all may take long."""

BEGINS_WITHIN = 10
"""Steps after its end in which an environment that resets itself is to begin anew."""


class Shown(NamedTuple):
    """What came of one action, or of a reset."""

    observation: Observation
    reward: float
    over: bool


Rollouts = dict[int, list[Shown]]


def check_vector(environment: VectorEnvironment, *, seeded: bool) -> None:
    """Whether it keeps the contract of `taketwo.envs.base.VectorEnvironment`.

    Args:
        seeded: see `check_env`.

    Raises:
        ContractError: with what was broken.
    """
    num_envs, resets_itself = environment.num_envs, environment.resets_itself
    check_spec(environment.spec)
    require(isinstance(num_envs, int) and num_envs > 0, f"num_envs is {num_envs!r}, not a number of environments")
    require(isinstance(resets_itself, bool), f"resets_itself is {resets_itself!r}, not a bool")
    _check_refusals(environment)
    _check_waiting(environment)
    _check_reproducible(environment)
    if seeded:
        _check_seeds_matter(environment)
    _check_pictures(environment)
    if resets_itself:
        _check_begins_anew(environment)
    else:
        _check_first_observations_alone(environment)
        _check_whatever_the_others_do(environment)
        check_endings(environment, _check_to_the_end(environment))


class _Driver:
    """Goes through episodes and checks everything that comes.

    Attributes:
        under_way: the environments that may get an action.
        ended: those whose episode has ended, and which have not begun another; with the last two observations, where
            the end was seen.
        look: whether to look at every picture, and check it.
        last: what each has shown last.
    """

    def __init__(self, environment: VectorEnvironment, *, look: bool = True) -> None:
        """Nothing has begun.

        Args:
            look: at every picture, and check it.
        """
        self.environment = environment
        self.spec = environment.spec
        self.under_way: set[int] = set()
        self.look = look
        self.ended: dict[int, tuple[Observation, Observation] | None] = {}
        self.last: dict[int, Observation] = {}
        self._steps: dict[int, int | None] = {}  # None where it has waited: then it may have moved on, or not
        self._actions = _actions(environment)

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation]:
        """Begin episodes."""
        begun = dict(self.environment.reset(dict(seeds)))
        require(set(begun) == set(seeds), f"reset of environments {sorted(seeds)} gives those of {sorted(begun)}")
        for env, observation in begun.items():
            self._begin(env, observation, "after reset")
        return begun

    def step(self, envs: Iterable[int]) -> VectorStep:
        """Give these an action each."""
        actions = {env: self._actions[env][(self._steps[env] or 0) % STEPS] for env in envs}
        kept = {env: action.copy() for env, action in actions.items()}
        states = {env: self.last[env].state.copy() for env in actions}
        step = self.environment.step(dict(actions))
        require(isinstance(step, VectorStep), f"step gives {type(step).__name__}, not a VectorStep")
        for env, fault in step.faults.items():
            raise ContractError(f"environment {env} fails in an ordinary step: {fault}")
        given, told = sorted(actions), sorted(step.results)
        require(given == told, f"step with actions for environments {given} gives results of {told}")
        for env, action in actions.items():
            require(np.array_equal(action, kept[env]), "step changes the action it is given")
            require(np.array_equal(self.last[env].state, states[env]), "step changes the observation before it")
        for env in self.under_way - actions.keys():
            self._steps[env] = None
        for env, result in step.results.items():
            self._take(env, result, unseen=env in step.unseen)
        self._take_begun(step, actions)
        return step

    def _take(self, env: int, result: StepResult, *, unseen: bool) -> None:
        require(isinstance(result, StepResult), f"step gives {type(result).__name__}, not a StepResult")
        check_verdict(result)
        over, before, steps = result.terminated or result.truncated, self.last[env], self._steps[env]
        told = result.observation
        if not unseen:
            check = check_observation if self.look or over else check_state
            check(told, self.spec, f"environment {env} after a step")
        if unseen:
            require(over, f"environment {env} says `unseen` in the middle of an episode")
            unmoved = np.array_equal(told.state, before.state) and told.time_s == before.time_s
            require(unmoved, f"environment {env} says `unseen` and does not show the observation before")
        elif steps is not None:
            expected = (steps + 1) / self.spec.control_hz
            require(
                abs(told.time_s - expected) < 1e-6,
                f"environment {env}: time_s is {told.time_s} after {expected} s; the observation is of the episode that"
                " the action was for, at its end the terminal one or, if it cannot be had, the one before and `unseen`",
            )
        self._steps[env] = None if steps is None else steps + 1
        self.last[env] = told
        if over:
            self.under_way.discard(env)
            self.ended[env] = None if unseen else (before, told)

    def _take_begun(self, step: VectorStep, actions: Mapping[int, FloatArray]) -> None:
        if not self.environment.resets_itself:
            require(not step.begun, "step tells of `begun` episodes, though resets_itself is False")
        for env, observation in step.begun.items():
            self._check_begun(env, observation, waited=env not in actions)
            self._begin(env, observation, "in `begun`")

    def _check_begun(self, env: int, observation: Observation, *, waited: bool) -> None:
        require(
            waited or env in self.ended,
            f"environment {env} has `begun` an episode, and the one before had not ended: it comes once for each end",
        )
        if (seen := self.ended.get(env)) is None:
            return
        before, terminal = seen
        must = "it must be the terminal one, or `unseen`"
        require(
            not same(terminal, rendered(observation)),
            f"environment {env}: the last observation of an episode is the first of the next; {must}",
        )
        for name, image in before.images.items():
            last = terminal.images[name].pixels
            require(
                not image.rendered  # one that never changes shows nothing
                or np.array_equal(last, image.pixels)
                or not np.array_equal(last, observation.images[name].pixels),
                f"environment {env}: the last picture of camera {name} is the first of the next episode; {must}",
            )

    def _begin(self, env: int, observation: Observation, when: str) -> None:
        check_observation(observation, self.spec, f"environment {env} {when}")
        require(observation.time_s == 0.0, f"environment {env}: time_s is {observation.time_s} {when}, not 0")
        self.under_way.add(env)
        self.ended.pop(env, None)
        self.last[env], self._steps[env] = observation, 0


def _actions(environment: VectorEnvironment) -> dict[int, list[FloatArray]]:
    return {env: small_actions(environment.spec, env) for env in range(environment.num_envs)}


def _seeds(environment: VectorEnvironment, first: int = SEED) -> dict[int, int]:
    return {env: first + env for env in range(environment.num_envs)}


def _rollouts(environment: VectorEnvironment, seeds: Mapping[int, int]) -> Rollouts:
    """A few steps of all environments, each up to its first end."""
    driver = _Driver(environment)
    begun = driver.reset(seeds)
    shown = {env: [Shown(rendered(observation), 0.0, False)] for env, observation in begun.items()}
    for _ in range(STEPS):
        _go_on(driver, shown, driver.under_way & {env for env in shown if not shown[env][-1].over})
    return shown


def _go_on(driver: _Driver, shown: Rollouts, envs: Iterable[int]) -> None:
    for env, result in driver.step(sorted(envs)).results.items():
        over = result.terminated or result.truncated
        shown.setdefault(env, []).append(Shown(rendered(result.observation), result.reward, over))


def _same(first: Iterable[Shown], second: Iterable[Shown]) -> bool:
    one, other = list(first), list(second)
    return len(one) == len(other) and all(
        same(a.observation, b.observation) and a[1:] == b[1:] for a, b in zip(one, other, strict=True)
    )


def _check_refusals(environment: VectorEnvironment) -> None:
    driver, seeds, num_envs = _Driver(environment), _seeds(environment), environment.num_envs
    driver.reset(seeds)
    wide = np.zeros(environment.spec.action_dim + 1)
    _require_refused(environment, 0, wide, "step takes an action that is one value too long")
    driver.reset(seeds)
    _require_refused(
        environment, num_envs, small_actions(environment.spec)[0], "step takes an environment that there is not"
    )
    require_raises(
        lambda: environment.reset({**seeds, num_envs: SEED}),
        "reset takes the number of an environment that there is not",
    )


def _require_refused(environment: VectorEnvironment, env: int, action: FloatArray, broken: str) -> None:
    """It may raise, or tell of a fault of this environment."""

    def refuse() -> None:
        faults = environment.step({env: action}).faults
        if env in faults:
            raise faults[env]

    require_raises(refuse, broken)


def _check_waiting(environment: VectorEnvironment) -> None:
    """Some get actions, and then the others again."""
    driver = _Driver(environment)
    driver.reset(_seeds(environment))
    for first in (0, 1):
        driver.step(env for env in sorted(driver.under_way) if env % 2 == first)
    if not environment.resets_itself:
        begun = driver.reset({0: SEED})
        require(begun[0].time_s == 0.0, "an environment that has waited cannot be reset")


def _check_reproducible(environment: VectorEnvironment) -> None:
    seeds = _seeds(environment)
    first, second = _rollouts(environment, seeds), _rollouts(environment, seeds)
    for env in seeds:
        require(
            same(first[env][0].observation, second[env][0].observation),
            f"environment {env}: the same seeds give another first observation",
        )
        require(_same(first[env], second[env]), f"environment {env}: the same seeds and actions give another episode")


def _check_seeds_matter(environment: VectorEnvironment) -> None:
    several = [_rollouts(environment, _seeds(environment, SEED + 1000 * times)) for times in range(3)]
    allowed = "(which seeded=False allows)"
    for env in range(environment.num_envs):
        require(
            not all(_same(several[0][env], other[env]) for other in several[1:]),
            f"environment {env}: other seeds give the same episode {allowed}",
        )
    firsts = [[rollout[0].observation for rollout in rollouts.values()] for rollouts in several]
    begins_by_seed = not all(same(firsts[0][0], other[0]) for other in firsts)
    require(
        environment.num_envs == 1
        or not begins_by_seed
        or not all(same(row[0], other) for row in firsts for other in row),
        f"environments with different seeds begin alike {allowed}",
    )


def _check_first_observations_alone(environment: VectorEnvironment) -> None:
    """The same seed gives the same first observation, with the others and alone."""
    seeds = _seeds(environment)
    together = {env: rendered(observation) for env, observation in _Driver(environment).reset(seeds).items()}
    _rollouts(environment, _seeds(environment, SEED + 1000))
    for env, seed in seeds.items():
        require(
            same(together[env], rendered(_Driver(environment).reset({env: seed})[env])),
            f"environment {env}: the same seed gives another first observation where it is reset alone",
        )


def _check_whatever_the_others_do(environment: VectorEnvironment) -> None:
    """An environment's episode is the same when others begin otherwise, wait, or are reset meanwhile."""
    seeds = _seeds(environment)
    expected = _rollouts(environment, seeds) if environment.num_envs > 1 else {}
    for others, these in _splits(environment.num_envs):
        shown = _rollouts(environment, {**seeds, **{env: SEED + env + 1000 for env in others}})
        _require_expected(shown, expected, these, f"{others} have other seeds")
        for what in ("wait", "are reset"):
            driver = _Driver(environment)
            begun = driver.reset(seeds)
            shown = {env: [Shown(rendered(begun[env]), 0.0, False)] for env in these}
            for step in range(STEPS):
                if what == "are reset" and step == 2:
                    _require_still(driver, others, these)
                going = driver.under_way & {env for env in these if not shown[env][-1].over}
                _go_on(driver, shown, going if what == "wait" else going | (driver.under_way & set(others)))
            _require_expected(shown, expected, these, f"{others} {what}")


def _splits(num_envs: int) -> Iterator[tuple[list[int], list[int]]]:
    """Environments in two parts, so often that each is in the first part, and each other one then in the second."""
    for bit in range((num_envs - 1).bit_length()):
        for value in (0, 1):
            first = [env for env in range(num_envs) if (env >> bit) & 1 == value]
            yield first, [env for env in range(num_envs) if env not in first]


def _require_expected(shown: Rollouts, expected: Rollouts, envs: Iterable[int], where: str) -> None:
    for env in envs:
        require(_same(expected[env], shown[env]), f"environment {env} has another episode where environments {where}")


def _require_still(driver: _Driver, others: Iterable[int], these: Iterable[int]) -> None:
    """Reset some environments; the pictures of the others must be of where they stand, or not to be had."""
    before = {(env, name): image for env in these for name, image in driver.last[env].images.items()}
    kept = {key: image.pixels.copy() for key, image in before.items()}
    driver.reset({env: SEED + env + 2000 for env in others})
    for (env, name), image in before.items():
        require(
            np.array_equal(image.pixels, kept[env, name]),
            f"environment {env}: camera {name} changes where another is reset",
        )


def _check_to_the_end(environment: VectorEnvironment) -> dict[int, Ending]:
    """Time goes on to the end, and who has ended can be reset while the others go on. The ends that were seen."""
    driver, seeds = _Driver(environment, look=False), _seeds(environment)
    first = {env: rendered(observation) for env, observation in driver.reset(seeds).items()}
    endings: dict[int, Ending] = {}
    for index in range(1, longest_episode(environment.spec) + 1):
        before = {env: seen(observation) for env, observation in driver.last.items()}
        driver.step(sorted(driver.under_way))
        for env in sorted(driver.ended.keys() - endings.keys()):
            endings[env] = Ending(index, before[env], seen(driver.last[env]))
            again = driver.reset({env: seeds[env]})[env]
            require(
                same(first[env], rendered(again)), f"environment {env}: the same seed begins otherwise after an end"
            )
        if len(endings) == environment.num_envs:
            break
    return endings


def _check_begins_anew(environment: VectorEnvironment) -> None:
    """Every end is followed by one beginning, and the new episode goes on from there."""
    driver = _Driver(environment)
    driver.reset(_seeds(environment))
    waited = dict.fromkeys(range(environment.num_envs), 0)
    began_again: set[int] = set()
    for index in range(longest_episode(environment.spec) + BEGINS_WITHIN):
        driver.look = index < LOOKS
        waiting = set(driver.ended)
        step = driver.step(sorted(driver.under_way))
        began_again |= step.begun.keys()
        for env in waiting:
            waited[env] = 0 if env in step.begun else waited[env] + 1
            require(waited[env] < BEGINS_WITHIN, f"environment {env} has ended and does not begin anew")
        if len(began_again) == environment.num_envs:
            driver.step(sorted(driver.under_way))
            return


def _check_pictures(environment: VectorEnvironment) -> None:
    def step() -> dict[int, Observation]:
        results = environment.step({env: actions[0] for env, actions in _actions(environment).items()}).results
        return {env: result.observation for env, result in results.items()}

    check_pictures_of_their_instant(lambda: environment.reset(_seeds(environment)), step)
