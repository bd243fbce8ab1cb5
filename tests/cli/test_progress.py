import io
from dataclasses import replace

import pytest
from rich.console import Console

from taketwo.cli.progress import LiveProgress, PlainProgress, Standing
from taketwo.cli.summary import successes
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeEnd, EpisodeStart, StepTaken
from taketwo.testing import PointEnvironment, check_sink
from taketwo.types import Episode, EpisodeInfo, Outcome
from tests.support import Keep, run_session


class Hand:
    """A clock that is moved by hand."""

    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


def events_of(**options):
    keep = Keep()
    result = run_session(PointEnvironment(), sinks=[keep], **options)
    return keep.events, result


def play(events, limits, seconds_per_event=0.0):
    lines, clock = [], Hand()
    sink = PlainProgress(limits, lines.append, clock)
    for event in events:
        clock.s += seconds_per_event
        sink.on(event)
    return lines


LIMITS = SessionConfig(num_episodes=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PlainProgress(LIMITS, [].append),
        lambda: LiveProgress(LIMITS, Console(file=io.StringIO(), force_terminal=True)),
    ],
    ids=["plain", "live"],
)
def test_it_keeps_the_contract_of_a_sink(make):
    check_sink(make)


def test_a_stored_episode_gets_a_line_in_either_kind():
    lines, terminal = [], io.StringIO()
    PlainProgress(LIMITS, lines.append).stored(1, 151)
    LiveProgress(SessionConfig(total_seconds=1), Console(file=terminal)).stored(1, 151)
    assert lines == ["Stored episode 2/3 (151 frames)"]
    assert terminal.getvalue() == "Stored episode 2 (151 frames)\n"


def test_every_episode_gets_a_line_with_its_verdict():
    events, result = events_of(num_episodes=2, seed=5)
    first, second = result.episodes
    assert play(events, SessionConfig(num_episodes=2)) == [
        f"Episode 1/2: {first.outcome} in {first.steps} steps (seed {first.seed})",
        f"Episode 2/2: {second.outcome} in {second.steps} steps (seed {second.seed})",
    ]


def test_the_number_of_episodes_is_left_out_where_it_is_not_known():
    events, _ = events_of(total_seconds=2)
    assert play(events, SessionConfig(total_seconds=2))[0].startswith("Episode 1: ")


def test_long_episodes_get_a_line_every_ten_seconds():
    events, result = events_of(num_episodes=1, max_episode_steps=5)
    assert result.episodes[0].steps == 5
    lines = play(events, SessionConfig(num_episodes=1, max_episode_steps=5), seconds_per_event=4.0)
    assert lines[:2] == ["Episode 1/1: step 1/5", "Episode 1/1: step 4/5, 0.2 steps/s"]


def test_an_episode_that_was_no_attempt_says_why():
    events, _ = events_of(num_episodes=3, max_total_steps=4)
    assert play(events, SessionConfig(num_episodes=3))[-1].endswith(": the session reached its 4 steps")


@pytest.mark.parametrize("options", [{"num_episodes": 2}, {"total_seconds": 3.0}, {"max_total_steps": 40}])
def test_the_fraction_done_grows_to_one(options):
    events, _ = events_of(**options)
    standing = Standing(SessionConfig(**options))
    fractions = []
    for event in events:
        standing.take(event)
        fractions.append(standing.fraction)
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == pytest.approx(1.0, abs=0.03)


def test_a_discarded_episode_counts_as_not_done():
    standing = Standing(SessionConfig(num_episodes=2), step_limit=4)
    step = next(event for event in events_of(num_episodes=1)[0] if isinstance(event, StepTaken))
    fractions = []
    for index, outcome in enumerate([Outcome.DISCARDED, Outcome.SUCCESS, Outcome.DISCARDED, Outcome.TIMEOUT]):
        standing.take(EpisodeStart(EpisodeInfo(index, seed=1)))
        standing.take(replace(step, index=1))
        fractions.append(standing.fraction)
        standing.take(EpisodeEnd(replace(episode(outcome), index=index)))
        fractions.append(standing.fraction)
    assert fractions == [0.25, 0.0, 0.25, 0.5, 0.75, 0.5, 0.75, 1.0]


def test_dropped_steps_are_counted_all_the_same():
    events, result = events_of(num_episodes=3)
    standing = Standing(LIMITS)
    for event in events:
        if not isinstance(event, StepTaken) or event.index == 1:  # as if all the others had been dropped
            standing.take(event)
    assert standing.steps == sum(episode.steps for episode in result.episodes)
    assert standing.frames == sum(episode.frames for episode in result.episodes)


def episode(outcome):
    return Episode(0, 0, 1, 2, 0, outcome, "", False, False, 0.0, 0.0)


def test_faults_are_told_apart_from_the_success_rate():
    outcomes = [Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.FAILURE, Outcome.FAULT, Outcome.STOPPED]
    assert successes([episode(outcome) for outcome in outcomes]) == "1/3 (33 %); not counted: 1 stopped, 1 fault"
    assert successes([]) == "no attempt was finished"
