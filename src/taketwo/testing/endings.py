"""Whether the last observation of an episode is its own, where the environment does not say that it resets itself.

An environment that resets itself in the step that ends an episode shows the first observation of the next. That hangs
on nothing that was done before: neither on the last action, nor, where it is drawn by other random numbers, on the
seed. So the episode is gone through again, as it was and with another last action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from taketwo.envs.base import VectorEnvironment
from taketwo.testing.contract import ContractError, require
from taketwo.testing.environment_contract import SEED, STEPS, longest_episode, small_actions
from taketwo.types import FloatArray, Observation

FIRSTS = 16
"""Resets that show where episodes begin."""

LIKE_A_FIRST = 0.9
"""Part of the last observation's values that are where episodes begin, if it is the first of another episode."""

EPISODES = 3
"""Episodes that end as they began before that is no chance."""

MUST = "the last observation of an episode must be the terminal one"


class Ending(NamedTuple):
    """How an episode that began by `SEED` plus the number of its environment has ended.

    Attributes:
        steps: after how many.
        before: what `seen` gives of the last observation but one.
        terminal: the same of the last one.
    """

    steps: int
    before: FloatArray
    terminal: FloatArray


class Course:
    """An episode that is gone through.

    Attributes:
        first: what `seen` gives of the first observation.
        before: the same of the last observation but one.
        last: the same of the last one.
        largest: (n,) the largest change of each value in a step, the last step left out.
        steps: how many there were.
        over: whether it came to an end.
    """

    def __init__(self, first: FloatArray) -> None:
        self.first = self.before = self.last = first
        self.largest = np.zeros_like(first)
        self.steps = 0
        self.over = False

    def add(self, shown: FloatArray, *, over: bool) -> None:
        """What a step has led to."""
        self.largest = np.maximum(self.largest, np.abs(self.last - self.before))
        self.before, self.last = self.last, shown
        self.steps += 1
        self.over = over


def seen(observation: Observation) -> FloatArray:
    """(n,) the state, or the values of all pictures where there is none; a copy."""
    if observation.state.size:
        return observation.state.copy()
    return np.concatenate([[], *(image.pixels.ravel() for image in observation.images.values())]).astype(np.float64)


def check_endings(environment: VectorEnvironment, endings: Mapping[int, Ending]) -> None:
    """Whether these ends are those of their episodes.

    Args:
        endings: by environment, of episodes with `small_actions`, over and over.

    Raises:
        ContractError: an environment has reset itself.
    """
    if not endings:
        return
    steps = {env: ending.steps for env, ending in endings.items()}
    again = _play(environment, steps)
    again = {env: course for env, course in again.items() if _comes_to(course, endings[env])}
    for env, course in again.items():
        require(
            np.array_equal(course.last, endings[env].terminal),
            f"environment {env}: the same seed and actions lead to the same last observation but one, and from there "
            f"to another last one, so it has reset itself; {MUST}",
        )
    hanging_on_nothing = _ends_alike_whatever_is_done(environment, again)
    _check_no_first(environment, {env: again[env] for env in hanging_on_nothing})
    _check_not_as_they_began(environment, {env: again[env] for env in again.keys() - hanging_on_nothing})


def _comes_to(course: Course, ending: Ending) -> bool:
    return course.over and course.steps == ending.steps and np.array_equal(course.before, ending.before)


def _ends_alike_whatever_is_done(environment: VectorEnvironment, courses: Mapping[int, Course]) -> set[int]:
    """Those whose last observation is the same after other last actions, though the action before does something."""
    alike: set[int] = set()
    left = {env: course.steps for env, course in courses.items() if course.steps > 1}
    for shift in (1.0, -1.0):
        ended = _play(environment, left, shift=shift)
        left = {
            env: steps
            for env, steps in left.items()
            if ended[env].over and ended[env].steps == steps and np.array_equal(ended[env].last, courses[env].last)
        }
        earlier = _play(environment, {env: steps - 1 for env, steps in left.items()}, shift=shift)
        alike |= {env for env in left if not np.array_equal(earlier[env].last, courses[env].before)}
    return alike & left.keys()


def _check_no_first(environment: VectorEnvironment, courses: Mapping[int, Course]) -> None:
    """The last observation is not where episodes begin, or the way there was short."""
    if not courses:
        return
    firsts: dict[int, list[FloatArray]] = {env: [] for env in courses}
    for times in range(FIRSTS):
        begun = environment.reset(_seeds(environment, times))
        for env in courses:
            firsts[env].append(seen(begun[env]))
    for env, course in courses.items():
        low, high = np.min(firsts[env], axis=0), np.max(firsts[env], axis=0)
        margin = high - low + 1e-9
        inside = (low - margin <= course.last) & (course.last <= high + margin)
        leaps = np.abs(course.last - course.before) > course.largest
        require(
            inside.mean() < LIKE_A_FIRST or not leaps.any(),
            f"environment {env}: the last observation of an episode is the same whatever the last action is, and is "
            f"where episodes begin, so it has reset itself; {MUST}",
        )


def _check_not_as_they_began(environment: VectorEnvironment, courses: Mapping[int, Course]) -> None:
    """Episodes do not end in the first observation of their own, having been elsewhere just before."""
    suspects = {env for env, course in courses.items() if _is_as_it_began(course)}
    limit = longest_episode(environment.spec)
    for times in range(1, EPISODES):
        played = _play(environment, dict.fromkeys(suspects, limit), times=times)
        suspects = {env for env in suspects if _is_as_it_began(played[env])}
    for env in sorted(suspects):
        raise ContractError(f"environment {env}: episodes end in their first observation: it has reset itself; {MUST}")


def _is_as_it_began(course: Course) -> bool:
    return course.over and np.array_equal(course.first, course.last) and not np.array_equal(course.before, course.last)


def _seeds(environment: VectorEnvironment, times: int) -> dict[int, int]:
    return {env: SEED + env + 1000 * times for env in range(environment.num_envs)}


def _play(
    environment: VectorEnvironment, steps: Mapping[int, int], *, times: int = 0, shift: float = 0.0
) -> dict[int, Course]:
    """Go through an episode in each of some environments.

    Args:
        steps: how many at most, by environment; no more where it ends or fails.
        times: 0 for the seeds of `Ending`, others for others.
        shift: is added to the last of these actions, within the limits.
    """
    if not steps:
        return {}
    spec = environment.spec
    begun = environment.reset(_seeds(environment, times))
    courses = {env: Course(seen(begun[env])) for env in steps}
    actions = {env: small_actions(spec, env) for env in steps}
    going = set(steps)
    for index in range(max(steps.values())):
        going = {env for env in going if index < steps[env] and not courses[env].over}
        given = {env: actions[env][index % STEPS].copy() for env in sorted(going)}
        for env in going:
            if index == steps[env] - 1:
                given[env] = np.clip(given[env] + shift, spec.action_low, spec.action_high)
        results = environment.step(given).results if given else {}
        going &= results.keys()
        for env in going:
            courses[env].add(seen(results[env].observation), over=results[env].terminated or results[env].truncated)
    return courses
