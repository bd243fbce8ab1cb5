import dataclasses
import threading
import time

import numpy as np
import pytest

from taketwo.errors import ConfigError, EnvironmentFault, PolicyError
from taketwo.seeding import episode_seed
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeEnd, EpisodeStart, SessionEnd, SessionStart, StepTaken, TerminalObservation
from taketwo.session.loop import Session
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import Decision, Outcome
from tests.session.test_clock import FakeClock
from tests.support import Keep, run_session


class Still(SteeringController):
    """Never moves, so that episodes only end by a limit."""

    def decide(self, observation):
        return Decision(asked=np.zeros(2), sent=np.zeros(2))


class RaisesAt(PointEnvironment):
    """Breaks in one step of one episode."""

    def __init__(self, step, episode=0):
        super().__init__()
        self._break_at, self._break_in, self._episode = step, episode, -1

    def reset(self, seed, options=None):
        self._episode += 1
        return super().reset(seed, options)

    def step(self, action):
        if self._episode == self._break_in and self._steps == self._break_at:
            raise ValueError("the simulator exploded")
        return super().step(action)


def test_a_limit_of_n_steps_applies_n_actions():
    keep = Keep()
    result = run_session(controller=Still(), sinks=[keep], num_episodes=1, max_episode_steps=7)
    assert result.episodes[0].steps == len(keep.steps) == 7
    assert result.episodes[0].outcome is Outcome.TIMEOUT
    assert result.episodes[0].truncated and not result.episodes[0].terminated
    assert keep.steps[-1].result.truncated


def test_a_limit_of_one_step_applies_one_action():
    assert run_session(controller=Still(), num_episodes=2, max_episode_steps=1).episodes[1].steps == 1


def test_the_environments_own_limit_holds_where_none_is_given():
    assert run_session(controller=Still(), num_episodes=1).episodes[0].steps == 100


def test_the_session_ends_at_its_total_steps_in_mid_episode():
    result = run_session(controller=Still(), max_total_steps=150)
    assert [episode.steps for episode in result.episodes] == [100, 50]
    assert result.episodes[1].outcome is Outcome.STOPPED
    assert "150 steps" in result.episodes[1].reason
    assert not result.episodes[1].truncated


@pytest.mark.parametrize("max_hz", [0.0, 25.0])
def test_total_seconds_counts_every_frame_shown_terminal_ones_too(max_hz):
    result = run_session(controller=Still(), total_seconds=6, max_hz=max_hz, clock=FakeClock())
    frames = sum(episode.frames for episode in result.episodes)
    assert abs(frames - 6 * (max_hz or 50)) <= 1


def test_whichever_limit_comes_first_ends_the_session():
    assert len(run_session(num_episodes=2, max_total_steps=10_000, total_seconds=999).episodes) == 2


def test_real_time_takes_its_time_and_no_more():
    clock = FakeClock()
    began = clock.now()
    result = run_session(controller=Still(), num_episodes=1, max_episode_steps=100, max_hz=50, clock=clock)
    assert clock.now() - began == pytest.approx(100 / 50)
    assert result.loop.overruns == 0


def test_the_terminal_observation_is_an_event_of_its_own_and_not_the_reset_one():
    keep = Keep()
    result = run_session(sinks=[keep], num_episodes=2)
    ends = keep.of(TerminalObservation)
    assert len(ends) == 2
    for episode, end in zip(result.episodes, ends, strict=True):
        assert episode.outcome is Outcome.SUCCESS
        assert np.linalg.norm(end.observation.state[:2] - end.observation.state[2:]) < 0.02
        assert end.index == episode.steps
        assert end.frame == episode.first_frame + episode.steps


def test_frames_are_numbered_through_the_session():
    keep = Keep()
    result = run_session(sinks=[keep], num_episodes=3)
    numbers = [event.frame for event in keep.events if isinstance(event, StepTaken | TerminalObservation)]
    assert numbers == list(range(len(numbers)))
    assert [episode.first_frame for episode in result.episodes] == list(
        np.cumsum([0] + [episode.frames for episode in result.episodes])[:-1]
    )


def test_the_pictures_of_a_step_show_the_state_before_its_action():
    keep = Keep(cameras=("top",))
    run_session(PointEnvironment(), sinks=[keep], num_episodes=1)
    twin = PointEnvironment()
    observation = twin.reset(episode_seed(0, 0))
    for event in keep.steps:
        assert np.array_equal(event.observation.images["top"].pixels, observation.images["top"].pixels)
        observation = twin.step(event.decision.sent).observation


def test_only_pictures_that_someone_wants_are_made():
    environment = PointEnvironment()
    run_session(environment, sinks=[Keep()], num_episodes=1)
    assert environment.pictures_made == 0

    class EveryTenth(Keep):
        def cameras(self, frame):
            return ("top",) if frame % 10 == 0 else ()

    result = run_session(environment, Still(), sinks=[EveryTenth(), EveryTenth()], num_episodes=1, max_episode_steps=39)
    assert result.episodes[0].frames == 40
    assert environment.pictures_made == 4


def test_the_same_session_seed_gives_the_same_episodes_step_for_step():
    first, second, other = Keep(), Keep(), Keep()
    run_session(sinks=[first], num_episodes=3, seed=5)
    run_session(sinks=[second], num_episodes=3, seed=5)
    run_session(sinks=[other], num_episodes=3, seed=6)
    states = [[tuple(event.observation.state) for event in keep.steps] for keep in (first, second, other)]
    assert states[0] == states[1]
    assert states[0][0] != states[2][0]


def test_an_episodes_seed_depends_on_the_session_seed_and_its_index_alone():
    seeds = [episode_seed(5, index) for index in range(100)]
    assert len(set(seeds)) == 100
    assert run_session(num_episodes=4, seed=5).episodes[3].seed == seeds[3]


def test_an_exception_of_the_environment_is_a_fault_and_every_episode_still_ends():
    keep = Keep()
    result = run_session(RaisesAt(step=3), sinks=[keep], num_episodes=5)
    (episode,) = result.episodes
    assert episode.outcome is Outcome.FAULT
    assert not episode.outcome.is_attempt
    assert episode.steps == 3
    assert "ValueError: the simulator exploded" in episode.reason
    assert isinstance(result.fault, EnvironmentFault)
    kinds = [type(event) for event in keep.events]
    assert kinds == [SessionStart, EpisodeStart, *[StepTaken] * 3, TerminalObservation, EpisodeEnd, SessionEnd]
    assert np.array_equal(keep.of(TerminalObservation)[0].observation.state, keep.steps[-1].result.observation.state)


def test_faults_up_to_the_limit_do_not_end_the_session():
    result = run_session(RaisesAt(step=0, episode=1), num_episodes=3, max_faults=1)
    assert [episode.outcome for episode in result.episodes] == [Outcome.SUCCESS, Outcome.FAULT, Outcome.SUCCESS]
    assert result.fault is None


def test_a_failing_reset_is_a_fault_too():
    class NoReset(PointEnvironment):
        def reset(self, seed, options=None):
            raise RuntimeError("no power")

    result = run_session(NoReset(), num_episodes=1)
    assert result.episodes[0].outcome is Outcome.FAULT
    assert result.episodes[0].steps == result.episodes[0].frames == 0


def test_a_failing_policy_is_a_fault_and_its_last_observation_is_shown():
    class Dies(SteeringController):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def decide(self, observation):
            self.calls += 1
            if self.calls > 4:
                raise PolicyError("the server went away")
            return super().decide(observation)

    keep = Keep()
    result = run_session(controller=Dies(), sinks=[keep], num_episodes=1)
    assert result.episodes[0].outcome is Outcome.FAULT
    assert result.episodes[0].reason == "the server went away"
    assert [event.index for event in keep.of(TerminalObservation)] == [4]


def test_the_controller_is_reset_with_the_first_observation_of_each_episode():
    seen = []

    class Remembers(SteeringController):
        def reset(self, episode, observation):
            seen.append((episode.index, episode.seed, tuple(observation.state)))

    result = run_session(controller=Remembers(), num_episodes=3)
    assert [(index, seed) for index, seed, _ in seen] == [(e.index, e.seed) for e in result.episodes]
    assert seen[1][2] == tuple(PointEnvironment().reset(result.episodes[1].seed).state)


def test_a_step_keeps_what_was_asked_and_what_was_sent():
    class Halves(SteeringController):
        def decide(self, observation):
            decision = super().decide(observation)
            return dataclasses.replace(decision, sent=decision.asked / 2)

    keep = Keep()
    run_session(controller=Halves(), sinks=[keep], num_episodes=1)
    first, second = keep.steps[:2]
    assert np.allclose(first.decision.asked, 2 * first.decision.sent)
    moved = second.observation.state[:2] - first.observation.state[:2]
    assert np.allclose(moved, first.decision.sent)


class PassesThrough(PointEnvironment):
    """Reports success in its third step only, and ends by itself after six."""

    def step(self, action):
        result = super().step(action)
        return dataclasses.replace(result, success=self._steps == 3, terminated=self._steps == 6)


@pytest.mark.parametrize(("rule", "outcome"), [("ever", Outcome.SUCCESS), ("last", Outcome.FAILURE)])
def test_success_ever_and_success_at_the_last_step_differ(rule, outcome):
    result = run_session(PassesThrough(), Still(), num_episodes=1, success=rule)
    assert result.episodes[0].steps == 6
    assert result.episodes[0].outcome is outcome


def test_an_episode_cut_short_after_it_was_solved_is_no_attempt():
    result = run_session(PassesThrough(), Still(), max_total_steps=4)
    assert result.episodes[0].outcome is Outcome.STOPPED
    assert result.episodes[0].reason == "the session reached its 4 steps; it had been solved"


def test_an_environment_that_does_not_judge_gets_no_verdict():
    class Silent(PointEnvironment):
        def step(self, action):
            return dataclasses.replace(super().step(action), success=None)

    result = run_session(Silent(), num_episodes=1)
    assert result.episodes[0].outcome is Outcome.UNJUDGED
    assert not result.episodes[0].outcome.is_attempt


def test_a_stop_ends_the_episode_under_way_and_the_session():
    keep = Keep()
    environment = PointEnvironment()

    class StopsAtTen(Still):
        count = 0

        def decide(self, observation):
            self.count += 1
            if self.count == 10:
                commands.stop("enough")
            return super().decide(observation)

    commands = Commands()
    session = Session(environment, StopsAtTen(), SessionConfig(num_episodes=3), [keep], commands=commands)
    result = session.run()
    (episode,) = result.episodes
    assert (episode.steps, episode.outcome, episode.reason) == (10, Outcome.STOPPED, "enough")
    assert result.reason == "enough"
    assert result.fault is None
    assert isinstance(keep.events[-1], SessionEnd)


def test_a_keyboard_interrupt_in_a_blocked_policy_still_saves_everything():
    class Interrupted(SteeringController):
        def decide(self, observation):
            raise KeyboardInterrupt

    keep = Keep()
    result = run_session(controller=Interrupted(), sinks=[keep], num_episodes=3)
    assert [episode.outcome for episode in result.episodes] == [Outcome.STOPPED]
    assert [type(event) for event in keep.events[-2:]] == [EpisodeEnd, SessionEnd]


def test_a_prompt_is_put_into_every_observation_and_may_change_on_the_way():
    prompts = iter(["left", *["right"] * 1000])
    keep = Keep()
    run_session(sinks=[keep], num_episodes=1, prompt=lambda: next(prompts))
    assert [event.observation.prompt for event in keep.steps[:3]] == ["left", "right", "right"]


def test_an_episode_keeps_its_prompts_and_the_steps_that_the_guard_held_back():
    class Guarded(SteeringController):
        def decide(self, observation):
            return dataclasses.replace(super().decide(observation), guarded=observation.prompt == "right")

    prompts = iter(["left", "left", "right", "right", "right", *["left"] * 1000])
    (episode,) = run_session(controller=Guarded(), num_episodes=1, prompt=lambda: next(prompts)).episodes
    assert episode.prompts == ("left", "right", "left")
    assert episode.guarded_steps == 3


def test_a_step_that_fails_because_it_is_stopped_is_no_fault():
    class WaitsForever(SteeringController):
        def decide(self, observation):
            commands.stop("enough")
            raise PolicyError("the connection was closed")

    commands = Commands()
    session = Session(PointEnvironment(), WaitsForever(), SessionConfig(num_episodes=1), commands=commands)
    result = session.run()
    assert result.fault is None
    assert result.episodes[0].outcome is Outcome.STOPPED
    assert result.episodes[0].reason == "enough; then: the connection was closed"


def test_without_a_prompt_the_environments_own_stays():
    keep = Keep()
    run_session(sinks=[keep], num_episodes=1)
    assert keep.steps[0].observation.prompt == "Move the point onto the target"


class FailsInOn(Keep):
    def on(self, event):
        super().on(event)
        if isinstance(event, StepTaken) and event.index == 2:
            raise OSError(28, "No space left on device")


class ExitsInOn(Keep):
    def on(self, event):
        super().on(event)
        if isinstance(event, StepTaken):
            raise SystemExit("No space left on device")


class FailsInCameras(Keep):
    def cameras(self, frame):
        if frame == 2:
            raise OSError(28, "No space left on device")
        return ()


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("failing", [FailsInOn, ExitsInOn, FailsInCameras])
def test_a_sink_that_raises_ends_the_session_only_if_it_is_required(failing, required, lossless):
    other = Keep()
    sink = failing("disk", required=required, lossless=lossless)
    result = run_session(controller=Still(), sinks=[sink, other], num_episodes=2, max_episode_steps=5000)
    assert isinstance(other.events[-1], SessionEnd)
    frames = sum(episode.frames for episode in result.episodes)
    taken = len(sink.steps) + len(sink.of(TerminalObservation))
    assert taken + result.dropped["disk"] == frames
    if required:
        assert result.episodes[-1].outcome is Outcome.FAULT
        assert "No space left" in str(result.fault)
    else:
        assert result.fault is None
        assert [episode.steps for episode in result.episodes] == [5000, 5000]


def test_a_sink_that_wants_a_camera_that_there_is_not_is_detached_and_named(caplog):
    result = run_session(sinks=[Keep("viewer", cameras=("tpo",))], num_episodes=1)
    assert result.fault is None
    assert (
        "viewer failed and is detached; the session goes on: unknown camera 'tpo'. Did you mean 'top'?" in caplog.text
    )


def test_a_camera_that_cannot_be_drawn_is_a_fault_of_the_episode():
    class Dark(PointEnvironment):
        def render(self, camera, height, width):
            raise RuntimeError("no context")

    result = run_session(Dark(), sinks=[Keep(cameras=("top",))], num_episodes=1)
    assert result.episodes[0].reason == "camera 'top' cannot be drawn: RuntimeError: no context"


def test_a_slow_lossless_sink_loses_nothing_and_its_wait_is_counted():
    class Slow(Keep):
        def on(self, event):
            super().on(event)
            time.sleep(0.002)

    slow = Slow("slow")
    result = run_session(controller=Still(), sinks=[slow], num_episodes=1, max_episode_steps=200)
    assert [event.index for event in slow.steps] == list(range(200))
    assert result.dropped["slow"] == 0
    assert result.waited_s["slow"] > 0


@pytest.mark.parametrize(("episodes", "steps"), [(1, 500), (200, 1)])
def test_a_latest_sink_never_holds_up_the_loop_and_its_losses_are_counted(episodes, steps):
    done = threading.Event()

    class Stuck(Keep):
        def on(self, event):
            super().on(event)
            done.wait()

    class Finishes(Keep):
        def __init__(self, episodes):
            super().__init__()
            self.left = episodes

        def on(self, event):
            self.left -= isinstance(event, EpisodeEnd)
            if not self.left:
                done.set()

    stuck = Stuck("stuck", lossless=False)
    result = run_session(
        controller=Still(), sinks=[stuck, Finishes(episodes)], num_episodes=episodes, max_episode_steps=steps
    )
    assert result.dropped["stuck"] > 0
    frames = stuck.steps + stuck.of(TerminalObservation)
    assert len(frames) + result.dropped["stuck"] == episodes * (steps + 1)
    assert len(frames) <= 33  # the queue, and the one it held
    assert len(stuck.of(EpisodeStart)) == len(stuck.of(EpisodeEnd)) == episodes
    assert stuck.of(TerminalObservation)[-1].frame == episodes * (steps + 1) - 1
    assert isinstance(stuck.events[-1], SessionEnd)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_episodes": 0},
        {"num_episodes": -1},
        {"total_seconds": 0},
        {"total_seconds": float("inf")},
        {"total_seconds": float("nan")},
        {"num_episodes": 1, "max_hz": -1},
        {"num_episodes": 1, "seed": -1},
        {"num_episodes": 1, "max_episode_steps": 0},
    ],
)
def test_limits_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError):
        SessionConfig(**options)


def test_episodes_begin_from_one_recorded_initial_state_after_the_other():
    environment = PointEnvironment()
    environment.spec = dataclasses.replace(environment.spec, num_init_states=50)
    begun = []
    reset, environment.reset = environment.reset, lambda seed, options=None: begun.append(options) or reset(seed)
    run_session(environment, num_episodes=2, seed_offset=3)
    assert begun == [{"init_state": 3}, {"init_state": 4}]


def test_an_environment_without_recorded_initial_states_is_told_of_none():
    environment = PointEnvironment()
    begun = []
    reset, environment.reset = environment.reset, lambda seed, options=None: begun.append(options) or reset(seed)
    run_session(environment, num_episodes=1)
    assert begun == [None]
